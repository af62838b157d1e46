//! ARCHITECTURE.md: every `file::function` that it names is there.
//!
//! A reference is a code span with `::`. Its last word must be defined in the file that the words before it name:
//! `forward::decide` in some `forward.rs` or below `forward/`, `l7/serve.rs::serve` in just that file.

use super::code::is_word;
use super::{Code, Fault, File, Tree};

/// Files with references.
const DOCUMENTS: [&str; 1] = ["ARCHITECTURE.md"];

/// What the name of an item stands after.
const DEFINERS: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "mod",
    "macro_rules!",
];

/// Checks the references of each document.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for file in tree
        .files
        .iter()
        .filter(|file| DOCUMENTS.contains(&file.path.as_str()))
    {
        for (index, line) in file.text.lines().enumerate() {
            for span in line.split('`').skip(1).step_by(2) {
                if let Err(remedy) = look_up(tree, span) {
                    faults.push(file.fault(index + 1, "reference", remedy));
                }
            }
        }
    }
}

fn look_up(tree: &Tree, span: &str) -> Result<(), String> {
    let span = span.trim_end_matches("()");
    let names = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| is_word(letter) || "/.-".contains(letter))
    };
    if span.ends_with(".rs") && !span.contains("::") && names(span) {
        return if files(tree, span).is_empty() {
            Err(format!("no file is called `{span}`"))
        } else {
            Ok(())
        };
    }
    let parts: Vec<&str> = span.split("::").collect();
    let Some((item, modules)) = parts.split_last().filter(|(_, modules)| !modules.is_empty()) else {
        return Ok(());
    };
    if !parts.iter().all(|part| names(part)) || is_foreign(tree, modules) {
        return Ok(());
    }
    if !module_files(tree, &parts).is_empty() {
        // The last word is a module, too.
        return Ok(());
    }
    let found = module_files(tree, modules);
    if found.is_empty() {
        return Err(format!(
            "`{span}`: no file or type is called `{}`",
            modules.join("::")
        ));
    }
    if found.iter().any(|(_, code)| defines(code, item)) {
        return Ok(());
    }
    let places: Vec<&str> = found.iter().map(|(file, _)| file.path.as_str()).collect();
    Err(format!(
        "`{span}`: `{item}` is not defined in {}",
        places.join(" or ")
    ))
}

/// Files that the modules, or a file name and a type, stand for.
fn module_files<'a>(tree: &'a Tree, modules: &[&str]) -> Vec<(&'a File, &'a Code)> {
    let path = match modules.split_first() {
        // A crate's name adds nothing to the names of its files.
        Some((first, rest)) if first.starts_with("gateway") && !rest.is_empty() && !first.contains('.') => {
            rest.join("/")
        }
        _ => modules.join("/"),
    };
    let found = files(tree, path.trim_end_matches(".rs"));
    if !found.is_empty() {
        return found;
    }
    // `Type::method`, or `file::Type::method`: the type says where.
    let Some((kind, before)) = modules
        .split_last()
        .filter(|(kind, _)| kind.starts_with(char::is_uppercase))
    else {
        return Vec::new();
    };
    let within = if before.is_empty() {
        tree.rust().collect()
    } else {
        module_files(tree, before)
    };
    within
        .into_iter()
        .filter(|(_, code)| defines(code, kind))
        .collect()
}

/// Rust files whose path ends with `path`, or that lie in a folder so called.
fn files<'a>(tree: &'a Tree, path: &str) -> Vec<(&'a File, &'a Code)> {
    let path = path.trim_start_matches("./").trim_end_matches(".rs");
    let matches = |file: &File| {
        let whole = format!("/{}", file.path.trim_end_matches(".rs"));
        let wanted = format!("/{path}");
        whole.ends_with(&wanted) || whole.contains(&format!("{wanted}/"))
    };
    tree.rust().filter(|(file, _)| matches(file)).collect()
}

/// True when the first word is another project's crate, or the language's own.
fn is_foreign(tree: &Tree, modules: &[&str]) -> bool {
    let Some(first) = modules.first() else { return true };
    if ["std", "core", "alloc"].contains(first) {
        return true;
    }
    let lock = tree.files.iter().find(|file| file.path == "Cargo.lock");
    let crates = lock
        .into_iter()
        .flat_map(|lock| lock.text.lines().filter_map(|line| line.strip_prefix("name = ")));
    let foreign = |name: &str| !name.starts_with("gateway") && name != "xtask";
    crates
        .map(|name| name.trim_matches('"').replace('-', "_"))
        .any(|name| name == *first && foreign(&name))
}

fn defines(code: &Code, item: &str) -> bool {
    code.lines().any(|(_, line)| {
        let mut words = line
            .split(|letter: char| !(is_word(letter) || letter == '!'))
            .filter(|word| !word.is_empty());
        let mut defining = false;
        words.any(|word| {
            let found = defining && word == item;
            // `const fn` and the like: the name comes after the last of them.
            defining = DEFINERS.contains(&word)
                || (defining && ["mut", "unsafe", "async", "extern"].contains(&word));
            found
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(text: &str, expected: usize) {
        let tree = Tree::of(&[
            ("ARCHITECTURE.md", text),
            ("Cargo.lock", "name = \"tokio-util\"\nname = \"gateway-common\"\n"),
            (
                "gateway-common/src/forward.rs",
                "pub fn decide<F>(f: F) {}\n// fn gone\npub const fn size() {}\n",
            ),
            (
                "gateway-userspace/src/l7/serve.rs",
                "pub struct Work;\nimpl Work {\n    async fn step(self) {}\n}\n",
            ),
        ]);
        let mut faults = Vec::new();
        check(&tree, &mut faults);
        assert_eq!(faults.len(), expected, "{text}: {faults:?}");
    }

    #[test]
    fn references_that_hold_are_passed() {
        finds(
            "`forward::decide`, `gateway_common::forward::decide()`, `forward::size`\n",
            0,
        );
        finds("`gateway-common/src/forward.rs::decide` and `l7/serve.rs`\n", 0);
        finds(
            "`l7::serve::Work`, `Work::step`, `serve::Work::step`, `l7::serve`\n",
            0,
        );
        finds(
            "`tokio_util::sync`, `std::fs`, `a::<T>`, `plain`, forward::gone\n",
            0,
        );
    }

    #[test]
    fn references_to_what_is_gone_are_found() {
        finds("`forward::gone`\n", 1);
        finds("`backward::decide`\n", 1);
        finds("`gateway-common/src/forward.rs::gone`, `l7/gone.rs`\n", 2);
        finds("`Work::gone`, `Gone::step`\n", 2);
    }
}
