//! What the defaults depend on outside the file: cores, who runs the program, where its state lies.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use super::limits;

/// The machine and the user, as far as defaults depend on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Cores this process may use.
    pub cores: usize,
    /// Directory of the state that outlives the process.
    pub state_directory: PathBuf,
    /// What becomes of certificates that are not valid now.
    pub invalid: Invalid,
}

/// Certificates that are not valid now, by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The configuration is refused: somebody is there to read why.
    Refused,
    /// They are served, and the log says so: a node that starts by itself, or with a wrong clock, must not take all its
    /// other names down with one.
    Served,
}

impl Surroundings {
    /// Those of this process.
    pub fn here() -> Self {
        let cores = available_parallelism()
            .map_or(1, usize::from)
            .min(limits::WORKERS_MAX);
        Self {
            cores,
            state_directory: state_directory(),
            invalid: Invalid::Refused,
        }
    }

    /// Where the admin token lies unless the file says otherwise.
    pub fn token_file(&self) -> PathBuf {
        self.state_directory.join("admin.token")
    }

    /// Where the key of the ACME account lies, unless the file says otherwise.
    pub fn acme_account_key_file(&self) -> PathBuf {
        self.state_directory.join("acme").join("account.key")
    }

    /// Where the routes of that node lie that the admin API set, unless the file says otherwise. Nodes on one machine
    /// have one each.
    pub fn routes_file(&self, node: &str) -> PathBuf {
        self.state_directory.join("routes").join(format!("{node}.toml"))
    }
}

/// `/var/lib/gateway` as root, else `gateway` below `$XDG_STATE_HOME` or `~/.local/state`.
fn state_directory() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/gateway");
    }
    let directory = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        directory("XDG_STATE_HOME").or_else(|| directory("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| Path::new("/tmp").join(format!("user-{}", nix::unistd::geteuid())))
        .join("gateway")
}
