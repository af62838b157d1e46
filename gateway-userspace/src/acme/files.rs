//! A certificate's files: what is there, and how a new pair takes its place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Wanted;
use super::order::Issued;
use super::schedule::Found;
use crate::tls::{Facts, Pair};

/// Who may read a certificate, which is no secret, and a key, which is one.
const CERT_MODE: u32 = 0o644;
pub const KEY_MODE: u32 = 0o600;

/// Why a new pair is not kept.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What was issued is not what was ordered.
    #[error("what was issued cannot be used: {0}")]
    Unfit(String),
    /// The file system does not take it.
    #[error("it cannot be written to {file}")]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What is there of a certificate. Blocks on the file system.
pub fn found(wanted: &Wanted) -> Found {
    let is_absent =
        |file: &Path| fs::metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_absent(&wanted.cert_file) || is_absent(&wanted.key_file) {
        return Found::Missing;
    }
    match Pair::load(&wanted.cert_file, &wanted.key_file) {
        Ok(pair) => Found::Facts(Facts::clone(&pair.facts)),
        Err(fault) => Found::Broken(format!("{} {}", fault.file.display(), fault.fault)),
    }
}

/// Puts a new pair in the place of the old. Both files are whole and fit each other before either has its name; who reads
/// between the two renames finds that they do not fit, and keeps what it had. Blocks on the file system.
///
/// # Errors
/// It is not for the names that were ordered, or cannot be written; then the old pair is in its place, or, between the
/// renames, the new key alone.
pub fn replace(wanted: &Wanted, issued: &Issued) -> Result<Facts, Fault> {
    let (cert, key) = (unfinished(&wanted.cert_file), unfinished(&wanted.key_file));
    let written = take_over(wanted, issued, &cert, &key);
    if written.is_err() {
        // Those that are there yet; what keeps them from being removed kept them from being written.
        drop(fs::remove_file(&cert));
        drop(fs::remove_file(&key));
    }
    written
}

fn take_over(wanted: &Wanted, issued: &Issued, cert: &Path, key: &Path) -> Result<Facts, Fault> {
    put(cert, &issued.chain, CERT_MODE)?;
    put(key, &issued.key, KEY_MODE)?;
    let pair = Pair::load(cert, key).map_err(|fault| Fault::Unfit(fault.fault))?;
    // One that is not valid by this machine's clock would be ordered again and again.
    pair.facts.check(SystemTime::now()).map_err(Fault::Unfit)?;
    let lacks = |name: &&String| !pair.facts.dns_names.contains(name);
    if let Some(name) = wanted.names.iter().find(lacks) {
        return Err(Fault::Unfit(format!("it is not for {name}")));
    }
    rename(key, &wanted.key_file)?;
    rename(cert, &wanted.cert_file)?;
    Ok(Facts::clone(&pair.facts))
}

fn put(file: &Path, content: &str, mode: u32) -> Result<(), Fault> {
    write(file, content, mode).map_err(|source| failed(file, source))
}

/// Writes a file that is to get another name once it is whole.
pub fn write(file: &Path, content: &str, mode: u32) -> io::Result<()> {
    make_directory(file)?;
    // Of a process that ended early and had this one's number.
    if let Err(error) = fs::remove_file(file)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    let mut made = options.write(true).create_new(true).mode(mode).open(file)?;
    made.write_all(content.as_bytes())?;
    made.sync_all()
}

/// What a file is called until it is whole.
pub fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

/// Makes the directories of a file, for this user alone.
pub fn make_directory(file: &Path) -> io::Result<()> {
    let directory = file
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    directory.map_or(Ok(()), |directory| {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)
    })
}

/// A rename that outlives a power cut.
fn rename(from: &Path, to: &Path) -> Result<(), Fault> {
    let renamed = fs::rename(from, to).and_then(|()| match to.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    });
    renamed.map_err(|source| failed(to, source))
}

fn failed(file: &Path, source: io::Error) -> Fault {
    Fault::Write {
        file: file.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::testing::{Authority, Folder};

    fn wanted(folder: &Folder) -> Wanted {
        Wanted {
            names: vec!["a.example".to_owned()],
            cert_file: folder.path().join("certs/a.pem"),
            key_file: folder.path().join("keys/a.key"),
            listeners: vec!["web".to_owned()],
        }
    }

    fn issued((chain, key): (String, String)) -> Issued {
        Issued { chain, key }
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_pair_takes_the_place_of_the_old_and_nothing_else_is_left() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let wanted = wanted(&folder);
        assert_eq!(found(&wanted), Found::Missing);
        for _ in 0..2 {
            let facts = replace(&wanted, &issued(authority.issue(&["a.example"]))).unwrap();
            assert_eq!(found(&wanted), Found::Facts(facts));
            assert_eq!(mode(&wanted.key_file), 0o600);
            assert_eq!(mode(&wanted.cert_file), 0o644);
        }
        for file in [&wanted.cert_file, &wanted.key_file] {
            assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let wanted = wanted(&folder);
        replace(&wanted, &issued(authority.issue(&["a.example"]))).unwrap();
        let before = found(&wanted);
        let (chain, _) = authority.issue(&["a.example"]);
        let (_, key) = authority.issue(&["a.example"]);
        let rows = [
            (issued(authority.issue(&["b.example"])), "it is not for a.example"),
            (
                Issued {
                    chain,
                    key: key.clone(),
                },
                "is not the key of the certificate",
            ),
            (
                Issued {
                    chain: "{}".to_owned(),
                    key,
                },
                "holds no certificate",
            ),
        ];
        for (issued, expected) in rows {
            let fault = replace(&wanted, &issued).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
            assert_eq!(found(&wanted), before);
        }
        for file in [&wanted.cert_file, &wanted.key_file] {
            assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_pair_of_which_one_file_is_another_s_is_broken() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let wanted = wanted(&folder);
        replace(&wanted, &issued(authority.issue(&["a.example"]))).unwrap();
        // As between two renames.
        let (_, key) = authority.issue(&["a.example"]);
        fs::write(&wanted.key_file, key).unwrap();
        assert!(matches!(found(&wanted), Found::Broken(_)), "{:?}", found(&wanted));
        fs::remove_file(&wanted.cert_file).unwrap();
        assert_eq!(found(&wanted), Found::Missing);
    }
}
