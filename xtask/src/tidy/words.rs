//! Words that must not stand in any file: hosts of package registries, and folders of one machine.

use super::{Fault, Tree};

/// Hosts of package registries. The project names packages; where they come from is the user's setting.
///
/// In pieces, so that this file keeps its own rule.
const HOSTS: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("static.rust-lang", ".org"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Folders where people and machines keep their own things.
const FOLDERS: [&str; 4] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// Cargo writes its registry's address there; nobody else does.
const EXEMPT: &str = "Cargo.lock";

/// Checks every line of every file.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for file in tree
        .files
        .iter()
        .filter(|file| file.path.rsplit('/').next() != Some(EXEMPT))
    {
        for (index, line) in file.text.lines().enumerate() {
            for host in HOSTS.iter().filter(|host| line.contains(*host)) {
                let remedy = format!("`{host}`: name the package, not the host that it comes from");
                faults.push(file.fault(index + 1, "registry-host", remedy));
            }
            for folder in FOLDERS.iter().filter(|folder| begins_path(line, folder)) {
                let remedy = format!(
                    "`{folder}…` is one machine's: write it relative to the workspace, or by a variable"
                );
                faults.push(file.fault(index + 1, "absolute-path", remedy));
            }
        }
    }
}

/// True when `folder` begins a path in `line`, rather than going on with one.
fn begins_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().last());
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_-.~$}".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn registry_hosts_are_not_named() {
        let text = |host| format!("fine\nsee https://{host}/crates/x\n");
        expect(check, "README.md", &text(HOSTS[0]), &[(2, "registry-host")]);
        expect(check, "a/src/b.rs", &text(HOSTS[1]), &[(2, "registry-host")]);
        expect(check, "Cargo.lock", &text(HOSTS[0]), &[]);
        expect(check, "README.md", "https://example.org/crates/io\n", &[]);
    }

    #[test]
    fn folders_of_one_machine_are_not_named() {
        let text = |folder| format!("let path = \"{folder}x\";\n");
        for folder in FOLDERS {
            expect(check, "a/src/b.rs", &text(folder), &[(1, "absolute-path")]);
        }
        expect(
            check,
            "a.md",
            &format!("$HOME{}x target{}y\n", FOLDERS[3], FOLDERS[0]),
            &[],
        );
        expect(check, "a.md", "/etc/gateway/gateway.toml /var/lib/gateway\n", &[]);
    }
}
