//! What was found last time, so that a build need not search again.
//!
//! A stamp holds as long as every file that it names is unchanged, by size and time of change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use super::compiler::Compiler;
use super::toolchain::Toolchain;
use crate::workspace;

fn place(root: &Path) -> PathBuf {
    workspace::ebpf_target(root).join("toolchain.stamp")
}

/// The toolchain of the last build, if all of it is still as it was.
pub fn load(root: &Path) -> Option<Toolchain> {
    parse(&fs::read_to_string(place(root)).ok()?)
}

/// Remembers `toolchain`.
///
/// # Errors
/// When one of its files cannot be looked at, or the stamp not be written.
pub fn store(root: &Path, toolchain: &Toolchain) -> Result<()> {
    let place = place(root);
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(&place, render(toolchain)?).with_context(|| format!("writing {}", place.display()))
}

fn render(toolchain: &Toolchain) -> Result<String> {
    let way = match &toolchain.compiler {
        Compiler::Debian => "debian".to_string(),
        Compiler::Rustup(name) => format!("rustup {name}"),
    };
    let mut text = format!(
        "way {way}\ndescription {}\nlinker {}\n",
        toolchain.description,
        toolchain.linker.display()
    );
    for file in toolchain.compiler.witnesses()?.iter().chain([&toolchain.linker]) {
        let print = print(file).with_context(|| format!("looking at {}", file.display()))?;
        text.push_str(&format!("file {print} {}\n", file.display()));
    }
    Ok(text)
}

fn parse(text: &str) -> Option<Toolchain> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    };
    let compiler = match value("way")?.split_once(' ') {
        None => Compiler::Debian,
        Some((_, name)) => Compiler::Rustup(name.into()),
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("file ")) {
        let (known, file) = line.split_once(' ')?;
        if print(Path::new(file)).as_deref() != Some(known) {
            return None;
        }
    }
    Some(Toolchain {
        compiler,
        linker: value("linker")?.into(),
        description: value("description")?.into(),
    })
}

/// Size and time of change of a file, which differ after an upgrade.
fn print(file: &Path) -> Option<String> {
    let meta = fs::metadata(file).ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{}-{}", meta.len(), changed.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_until_a_file_changes() {
        let file = std::env::current_exe().unwrap();
        let known = print(&file).unwrap();
        let stamp = |print: &str, file: &str| {
            format!("way rustup nightly\ndescription a b\nlinker /l/bpf-linker\nfile {print} {file}\n")
        };
        let loaded = parse(&stamp(&known, &file.to_string_lossy())).unwrap();
        assert_eq!(loaded.compiler, Compiler::Rustup("nightly".into()));
        assert_eq!(loaded.linker, Path::new("/l/bpf-linker"));
        assert_eq!(loaded.description, "a b");
        assert!(
            parse(&stamp("1-1", &file.to_string_lossy())).is_none(),
            "changed file"
        );
        assert!(parse(&stamp(&known, "/no/such/file")).is_none(), "file gone");
        assert!(parse("").is_none(), "empty stamp");
    }
}
