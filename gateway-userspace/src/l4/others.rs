//! Who else has an XDP program on an interface: what the kernel, its file system and `/proc` tell of it.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use aya::programs::links::LinkType;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::{Uid, User};
use serde::Serialize;

use super::bpf;
use super::interfaces::{Attached, Mode};

/// Pins looked at for the one of a program; who has more looks for himself.
const PINS_MAX: usize = 4_096;
/// How deep directories of pins are looked into.
const DEPTH_MAX: usize = 6;

/// An XDP program that is not this node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its interface.
    pub interface: String,
    /// How it is attached.
    pub mode: Option<Mode>,
    /// The kernel's number of it.
    pub id: u32,
    /// Its name.
    pub name: Option<String>,
    /// Hash of its instructions, as `bpftool prog` writes it.
    pub tag: Option<String>,
    /// The user who loaded it.
    pub loaded_by: Option<String>,
    /// What keeps it there.
    pub by: By,
    /// Where it or its link is pinned.
    pub pinned: Vec<PathBuf>,
    /// The processes that hold it or its link.
    pub held_by: Vec<Holder>,
}

/// What keeps a program on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// This process may not list links (that takes CAP_SYS_ADMIN).
    #[default]
    Unknown,
    /// Nothing but the interface: it was attached by netlink.
    Netlink,
    /// The link of that number.
    Link(u32),
}

/// A process that holds a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

impl Other {
    /// Finds out what there is to know of a program. `pins`: a directory on the BPF file system to look through, too.
    pub fn find(interface: &str, attached: Attached, pins: &Path) -> Self {
        let id = attached.program;
        let mut other = Self {
            interface: interface.to_owned(),
            mode: Some(attached.mode),
            id,
            ..Self::default()
        };
        let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
        if let Some(info) = programs.find(|info| info.id() == id) {
            other.name = info
                .name_as_str()
                .filter(|name| !name.is_empty())
                .map(str::to_owned);
            other.tag = Some(format!("{:016x}", info.tag()));
            other.loaded_by = info.created_by_uid().map(user);
        }
        other.by = by(id);
        let roots = BTreeSet::from([Path::new("/sys/fs/bpf"), root_of(pins)]);
        let mut left = PINS_MAX;
        for root in roots.into_iter().filter(|root| is_bpffs(root)) {
            look_through(root, DEPTH_MAX, &mut left, &mut |path| {
                let pinned = bpf::open(path)
                    .ok()
                    .and_then(|object| told_of(std::process::id(), object.as_raw_fd()));
                if pinned == Some(id) {
                    other.pinned.push(path.to_owned());
                }
            });
        }
        other.pinned.sort();
        other.pinned.dedup();
        other.held_by = holders(id);
        other
    }

    /// What takes it off.
    pub fn remedy(&self) -> String {
        let interface = &self.interface;
        let kind = match self.mode {
            Some(Mode::Generic) => "xdpgeneric",
            Some(Mode::Native) => "xdpdrv",
            _ => "xdp",
        };
        let off =
            format!("stop what attached it, or take it off with `ip link set dev {interface} {kind} off`");
        let link = match self.by {
            By::Link(link) => link,
            By::Netlink => return off,
            By::Unknown => {
                return format!(
                    "{off}; where a link holds it, as root with `bpftool link detach id N`, N by `bpftool link`"
                );
            }
        };
        let gateway = "if it is the gateway of another node.name, stop that one, or remove its pins";
        match (self.pinned.as_slice(), self.held_by.as_slice()) {
            ([], []) => format!("take it off with `bpftool link detach id {link}`; {gateway}"),
            ([], holders) => format!("stop {}, which holds its link; {gateway}", list(holders)),
            (pins, []) => {
                let pins: Vec<_> = pins.iter().map(|path| path.display().to_string()).collect();
                format!(
                    "take it off with `rm {}`, which unpins it; {gateway}",
                    pins.join(" ")
                )
            }
            (_, holders) => format!(
                "stop {}, then take it off with `bpftool link detach id {link}`; {gateway}",
                list(holders)
            ),
        }
    }
}

/// All that is known of it, in one line.
impl Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("without a name");
        write!(f, "{name} (id {}", self.id)?;
        if let Some(tag) = &self.tag {
            write!(f, ", tag {tag}")?;
        }
        match self.mode {
            Some(Mode::Native) => f.write_str(", native mode")?,
            Some(Mode::Generic) => f.write_str(", generic mode")?,
            Some(Mode::Other) => f.write_str(", in the card or in several modes")?,
            None => {}
        }
        match self.by {
            By::Link(link) => write!(f, ", by link {link}")?,
            By::Netlink => f.write_str(", by netlink")?,
            By::Unknown => {}
        }
        if let Some(user) = &self.loaded_by {
            write!(f, ", loaded by {user}")?;
        }
        if !self.held_by.is_empty() {
            write!(f, ", held by {}", list(&self.held_by))?;
        }
        for path in &self.pinned {
            write!(f, ", pinned at {}", path.display())?;
        }
        f.write_char(')')
    }
}

/// Whether the program on an interface is what a pinned link holds.
pub fn is_own(attached: Attached, link: &Path) -> bool {
    let held = bpf::open(link)
        .ok()
        .and_then(|link| told_of(std::process::id(), link.as_raw_fd()));
    held == Some(attached.program)
}

/// What keeps a program on its interface.
fn by(program: u32) -> By {
    let mut by = By::Netlink;
    for link in aya::programs::loaded_links() {
        match link {
            Ok(link) if link.program_id() == program && matches!(link.link_type(), Ok(LinkType::Xdp)) => {
                return By::Link(link.id());
            }
            Ok(_) => {}
            Err(_) => by = By::Unknown,
        }
    }
    by
}

fn list(holders: &[Holder]) -> String {
    let each = holders
        .iter()
        .map(|holder| format!("process {} ({})", holder.pid, holder.name));
    each.collect::<Vec<_>>().join(" and ")
}

fn user(id: u32) -> String {
    match User::from_uid(Uid::from_raw(id)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {id}"),
    }
}

/// Whether pins can be there.
fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|on| on.filesystem_type() == BPF_FS_MAGIC)
}

/// The nearest directory that exists.
fn root_of(pins: &Path) -> &Path {
    pins.ancestors().find(|path| path.exists()).unwrap_or(pins)
}

/// Calls `look` for each file below a directory, with bounds.
fn look_through(directory: &Path, depth: usize, left: &mut usize, look: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => look_through(&path, depth - 1, left, look),
            Ok(kind) if kind.is_file() => look(&path),
            _ => {}
        }
    }
}

/// The processes with a descriptor of a program, or of a link that holds it.
fn holders(program: u32) -> Vec<Holder> {
    let mut holders = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten();
        let holds = descriptors.filter_map(Result::ok).any(|entry| {
            let is_bpf =
                fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("bpf"));
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            is_bpf && number.is_some_and(|number| told_of(pid, number) == Some(program))
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let name = name.trim_end().to_owned();
            holders.insert(Holder { pid, name });
        }
    }
    holders.into_iter().collect()
}

/// The program that a descriptor of a process is of, or whose link it is.
fn told_of(pid: u32, descriptor: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(mode: Mode, by: By, pinned: &[&str], held_by: &[(u32, &str)]) -> Other {
        Other {
            interface: "eth0".to_owned(),
            mode: Some(mode),
            id: 7,
            name: Some("filter".to_owned()),
            tag: Some("3b185187f1855c4e".to_owned()),
            loaded_by: Some("root".to_owned()),
            by,
            pinned: pinned.iter().map(PathBuf::from).collect(),
            held_by: held_by
                .iter()
                .map(|(pid, name)| Holder {
                    pid: *pid,
                    name: (*name).to_owned(),
                })
                .collect(),
        }
    }

    #[test]
    fn the_remedy_is_one_that_takes_off_what_was_attached_so() {
        let held = [(12, "agent")];
        let rows = [
            (
                other(Mode::Native, By::Netlink, &[], &[]),
                "`ip link set dev eth0 xdpdrv off`",
            ),
            (
                other(Mode::Generic, By::Netlink, &[], &held),
                "`ip link set dev eth0 xdpgeneric off`",
            ),
            (
                other(Mode::Native, By::Link(3), &[], &held),
                "stop process 12 (agent), which holds its link",
            ),
            (other(Mode::Native, By::Link(3), &["/b/l"], &[]), "`rm /b/l`"),
            (
                other(Mode::Native, By::Link(3), &["/b/l"], &held),
                "stop process 12 (agent), then take it off with `bpftool link detach id 3`",
            ),
            (
                other(Mode::Native, By::Link(3), &[], &[]),
                "`bpftool link detach id 3`",
            ),
            (
                other(Mode::Native, By::Unknown, &[], &[]),
                "as root with `bpftool link detach id N`",
            ),
        ];
        for (other, expected) in rows {
            assert!(other.remedy().contains(expected), "{other}: {}", other.remedy());
        }
    }

    #[test]
    fn all_that_is_known_is_told() {
        let all = other(Mode::Generic, By::Link(3), &["/b/l"], &[(12, "agent")]);
        assert_eq!(
            all.to_string(),
            "filter (id 7, tag 3b185187f1855c4e, generic mode, by link 3, loaded by root, held by process 12 (agent), \
             pinned at /b/l)"
        );
        let little = Other {
            id: 9,
            ..Other::default()
        };
        assert_eq!(little.to_string(), "without a name (id 9)");
    }
}
