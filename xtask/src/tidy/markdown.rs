//! Documents: links lead to files that are there, and the commands they name exist.

use super::{Fault, File, Tree};

/// How documents, messages and scripts name xtask's commands.
const INVOCATION: &str = "cargo xtask ";

/// The script that CI runs, and the commands it must consist of, in order.
const CI: &str = ".ci/run";
const CI_COMMANDS: [&str; 2] = ["cargo xtask test", "cargo xtask check"];

/// Checks links in Markdown, and xtask's commands in Markdown, code and scripts.
pub fn check(tree: &Tree, commands: &[String], faults: &mut Vec<Fault>) {
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        links(tree, file, faults);
    }
    for file in &tree.files {
        invocations(file, commands, faults);
    }
    for file in tree.files.iter().filter(|file| file.path == CI) {
        let called: Vec<&str> = file
            .text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("cargo"))
            .collect();
        if called != CI_COMMANDS {
            let remedy = format!(
                "CI runs `{}` and nothing else: automation lives in xtask",
                CI_COMMANDS.join("`, then `")
            );
            faults.push(file.fault(1, "ci", remedy));
        }
    }
}

fn links(tree: &Tree, file: &File, faults: &mut Vec<Fault>) {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut fenced = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(line) {
            let path = target.split(['#', '?']).next().unwrap_or_default();
            if path.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !resolved(folder, path).is_some_and(|path| tree.has(&path)) {
                let remedy = format!("`{path}` is not in the tree: mend the link, or add the file");
                faults.push(file.fault(index + 1, "link", remedy));
            }
        }
    }
}

/// Targets of `[text](target)` and of a definition `[name]: target`; code spans are left out.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for prose in line.split('`').step_by(2) {
        for (_, rest) in prose
            .match_indices("](")
            .filter_map(|(at, mark)| Some((at, prose.get(at + mark.len()..)?)))
        {
            if let Some((target, _)) = rest.split_once(')') {
                targets.push(
                    target
                        .split_whitespace()
                        .next()
                        .unwrap_or_default()
                        .trim_matches(['<', '>']),
                );
            }
        }
    }
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        targets.push(target.split_whitespace().next().unwrap_or_default());
    }
    targets
}

/// `path` as seen from `folder`, from the root; nothing when it leads out of the tree.
fn resolved(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    if path.starts_with('/') {
        parts.clear();
    }
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

fn invocations(file: &File, commands: &[String], faults: &mut Vec<Fault>) {
    // The tests of this rule name commands that do not exist.
    let shown = file
        .code
        .as_ref()
        .map_or(usize::MAX, |code| code.count_before_tests());
    for (index, line) in file.text.lines().take(shown).enumerate() {
        for (at, _) in line.match_indices(INVOCATION) {
            let rest = line.get(at + INVOCATION.len()..).unwrap_or_default();
            let end = rest
                .find(|letter: char| !(letter.is_ascii_lowercase() || letter == '-'))
                .unwrap_or(rest.len());
            let name = rest.get(..end).unwrap_or_default();
            if !name.is_empty() && !name.starts_with('-') && !commands.iter().any(|command| command == name) {
                let remedy = format!("there is no `cargo xtask {name}`: `cargo xtask` lists what there is");
                faults.push(file.fault(index + 1, "command", remedy));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(files: &[(&str, &str)], expected: &[(&str, usize, &str)]) {
        let mut faults = Vec::new();
        check(
            &Tree::of(files),
            &["test".into(), "check".into(), "build-ebpf".into()],
            &mut faults,
        );
        let found: Vec<_> = faults
            .iter()
            .map(|fault| (fault.path.as_str(), fault.line, fault.rule))
            .collect();
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn links_lead_to_files_of_the_tree() {
        let tree = |text| {
            [
                ("README.md", text),
                ("docs/a.md", "[up](../README.md)\n"),
                ("examples/q.toml", ""),
            ]
        };
        finds(
            &tree("[a](docs/a.md) and [b](docs/a.md#part) and [folder](examples/)\n"),
            &[],
        );
        finds(&tree("[a](docs/b.md)\n"), &[("README.md", 1, "link")]);
        finds(&tree("ok\n[a]: docs/b.md\n"), &[("README.md", 2, "link")]);
        finds(
            &tree("[w](https://example.org/x) [m](mailto:a@example.org) [h](#here)\n"),
            &[],
        );
        finds(&tree("`[a](docs/b.md)`\n```\n[a](docs/c.md)\n```\n"), &[]);
        finds(&tree("[out](../../elsewhere.md)\n"), &[("README.md", 1, "link")]);
    }

    #[test]
    fn commands_that_documents_and_messages_name_exist() {
        finds(
            &[(
                "README.md",
                "`cargo xtask test`, `cargo xtask build-ebpf --help`, `cargo xtask COMMAND`\n",
            )],
            &[],
        );
        finds(
            &[("README.md", "run `cargo xtask fly`\n")],
            &[("README.md", 1, "command")],
        );
        finds(
            &[("a/src/b.rs", "//! `cargo xtask tes`\n")],
            &[("a/src/b.rs", 1, "command")],
        );
    }

    #[test]
    fn ci_runs_what_people_run() {
        finds(
            &[(".ci/run", "set -e\ncargo xtask test\ncargo xtask check\n")],
            &[],
        );
        finds(&[(".ci/run", "cargo xtask test\n")], &[(".ci/run", 1, "ci")]);
        finds(
            &[(".ci/run", "cargo test\ncargo xtask check\n")],
            &[(".ci/run", 1, "ci")],
        );
    }
}
