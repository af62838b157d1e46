//! Rules for one Rust file: documentation, length, and what must not stand in it.

use super::{Code, Fault, File, Tree, code};

/// Longest file, in lines before its tests: past that it holds more than one idea.
const LINES_MAX: usize = 400;

/// Macros that mark unfinished work.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Checks every Rust file.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for (file, code) in tree.rust() {
        shape(file, code, faults);
        words(file, code, faults);
    }
}

fn shape(file: &File, code: &Code, faults: &mut Vec<Fault>) {
    if !file.text.starts_with("//!") {
        faults.push(file.fault(
            1,
            "module-docs",
            "open with `//!`: what this is, and what it leaves to others",
        ));
    }
    let length = code.count_before_tests();
    if length > LINES_MAX && !file.is_test {
        let remedy = format!(
            "{length} lines before the tests, {LINES_MAX} at most: move an idea to a file of its own"
        );
        faults.push(file.fault(LINES_MAX + 1, "file-length", remedy));
    }
    if file.path.ends_with("/mod.rs") {
        faults.push(file.fault(1, "no-mod-rs", "call it after its folder: `foo.rs` beside `foo/`"));
    }
}

fn words(file: &File, code: &Code, faults: &mut Vec<Fault>) {
    for (line, text) in code.lines() {
        for name in UNFINISHED.into_iter().filter(|name| has_word(text, name)) {
            faults.push(file.fault(
                line,
                "unfinished",
                format!("`{name}` must not stay: do the work or leave it out"),
            ));
        }
        if has_attribute(text, "ignore") && !is_run_by_a_test(file, code, line) {
            let remedy =
                "a test runs or fails; what a test runs as another process is `#[ignore = \"run by NAME\"]`";
            faults.push(file.fault(line, "ignored-test", remedy));
        }
        if has_attribute(text, "allow") {
            faults.push(file.fault(
                line,
                "allow",
                "write `#[expect(lint, reason = \"…\")]`: it ends with its cause",
            ));
        }
    }
    if file.is_test {
        return;
    }
    for (line, text) in code.lines_before_tests() {
        if text.contains(".unwrap()") {
            faults.push(file.fault(
                line,
                "unwrap",
                "return the error, with what was being done, or make it impossible",
            ));
        }
    }
}

/// True for `#[ignore = "run by NAME"]`, where NAME is a function of the same file: the body of a helper process.
fn is_run_by_a_test(file: &File, code: &Code, line: usize) -> bool {
    let text = file.text.lines().nth(line - 1).unwrap_or_default();
    let name = text
        .split_once("#[ignore = \"run by ")
        .and_then(|(_, name)| name.split_once("\"]"));
    name.is_some_and(|(name, _)| {
        code.lines()
            .any(|(_, text)| text.contains(&format!("fn {name}(")))
    })
}

/// True when `text` has `name` as a word of its own.
fn has_word(text: &str, name: &str) -> bool {
    let before = text
        .match_indices(name)
        .map(|(at, _)| text.get(..at).and_then(|before| before.chars().last()));
    before
        .into_iter()
        .any(|letter| !letter.is_some_and(code::is_word))
}

/// True when `text` has the attribute `name`, with or without arguments.
fn has_attribute(text: &str, name: &str) -> bool {
    ["#[", "#!["].iter().any(|open| {
        let after = text
            .split_once(open)
            .and_then(|(_, inside)| inside.trim_start().strip_prefix(name));
        after.is_some_and(|after| !after.chars().next().is_some_and(code::is_word))
    })
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    fn finds(path: &str, text: &str, expected: &[(usize, &str)]) {
        expect(check, path, text, expected);
    }

    #[test]
    fn a_file_opens_with_its_documentation() {
        finds("a/src/b.rs", "//! What it is.\nfn f() {}\n", &[]);
        finds("a/src/b.rs", "fn f() {}\n", &[(1, "module-docs")]);
        finds("a/src/b.rs", "// a comment\n//! late\n", &[(1, "module-docs")]);
        finds("a/b.md", "no rust\n", &[]);
    }

    #[test]
    fn a_file_is_short_without_its_tests() {
        let code = |lines| format!("//! x\n{}", "fn f() {}\n".repeat(lines - 1));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn t() {}\n".repeat(500));
        finds("a/src/b.rs", &(code(LINES_MAX) + &tests), &[]);
        finds(
            "a/src/b.rs",
            &(code(LINES_MAX + 1) + &tests),
            &[(LINES_MAX + 1, "file-length")],
        );
        finds("a/tests/b.rs", &code(LINES_MAX + 1), &[]);
    }

    #[test]
    fn modules_are_named_after_their_folder() {
        finds("a/src/b/mod.rs", "//! x\n", &[(1, "no-mod-rs")]);
        finds("a/src/b/amod.rs", "//! x\n", &[]);
    }

    #[test]
    fn unfinished_work_is_found_in_tests_too() {
        finds("a/src/b.rs", "//! x\nfn f() { todo!() }\n", &[(2, "unfinished")]);
        finds(
            "a/src/b.rs",
            "//! x\nfn f() { std::dbg!(1); }\n",
            &[(2, "unfinished")],
        );
        finds(
            "a/src/b.rs",
            "//! x\n#[cfg(test)]\nmod tests {\nunimplemented!()\n}\n",
            &[(4, "unfinished")],
        );
        finds("a/src/b.rs", "//! todo!\nfn f() { my_todo!(\"todo!\") }\n", &[]);
    }

    #[test]
    fn a_test_is_not_ignored_and_a_lint_not_allowed() {
        finds(
            "a/src/b.rs",
            "//! x\n#[ignore]\nfn f() {}\n",
            &[(2, "ignored-test")],
        );
        finds(
            "a/src/b.rs",
            "//! x\n#[ignore = \"slow\"]\nfn f() {}\n",
            &[(2, "ignored-test")],
        );
        finds(
            "a/src/b.rs",
            "//! x\n#[ignore = \"run by g\"]\nfn f() {}\nfn g() {}\n",
            &[],
        );
        finds(
            "a/src/b.rs",
            "//! x\n#[ignore = \"run by gone\"]\nfn f() {}\n",
            &[(2, "ignored-test")],
        );
        finds("a/src/b.rs", "//! x\n#![allow(dead_code)]\n", &[(2, "allow")]);
        finds(
            "a/src/b.rs",
            "//! x\n#[expect(dead_code, reason = \"a\")]\n#[ignored]\n",
            &[],
        );
    }

    #[test]
    fn unwrap_is_for_tests() {
        finds(
            "a/src/b.rs",
            "//! x\nfn f() { g().unwrap(); }\n",
            &[(2, "unwrap")],
        );
        finds("a/src/b.rs", "//! x\nfn f() { g().unwrap_or(1); }\n", &[]);
        finds(
            "a/src/b.rs",
            "//! x\n#[cfg(test)]\nmod tests {\nfn f() { g().unwrap(); }\n}\n",
            &[],
        );
        finds("a/tests/b.rs", "//! x\nfn f() { g().unwrap(); }\n", &[]);
        finds(
            "tests/src/b.rs",
            "//! x\nfn f() { g().unwrap(); }\n",
            &[(2, "unwrap")],
        );
    }
}
