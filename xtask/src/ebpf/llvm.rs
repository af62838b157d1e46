//! LLVM on this machine: where its libraries are, and which one a program is linked with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps;

/// Prefix of an installed LLVM `major` that programs can be linked with, if there is one.
pub fn prefix(major: u32) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    if linkable(&debian) {
        return Some(debian);
    }
    // Elsewhere llvm-config tells; a plain `llvm-config` may be of any version.
    for name in [
        format!("llvm-config-{major}"),
        format!("llvm-config-{major}-64"),
        "llvm-config".into(),
    ] {
        let Ok(version) = steps::ask(Command::new(&name).arg("--version")) else {
            continue;
        };
        if version
            .split('.')
            .next()
            .and_then(|number| number.trim().parse().ok())
            != Some(major)
        {
            continue;
        }
        let Ok(prefix) = steps::ask(Command::new(&name).arg("--prefix")) else {
            continue;
        };
        let prefix = PathBuf::from(prefix.trim());
        if linkable(&prefix) {
            return Some(prefix);
        }
    }
    None
}

/// True when the prefix has the shared library under the name that a linker looks for: the runtime package has not.
fn linkable(prefix: &Path) -> bool {
    ["lib/libLLVM.so", "lib64/libLLVM.so"]
        .iter()
        .any(|name| prefix.join(name).exists())
}

/// Major version of the LLVM that `program` was linked with, if its bytes tell.
///
/// A shared one stands there as the name of its library, a static one as the producer it writes into bitcode.
pub fn linked_with(program: &Path) -> Option<u32> {
    let bytes = fs::read(program).ok()?;
    ["libLLVM.so.", "libLLVM-", "LLVM"]
        .iter()
        .find_map(|mark| number_after(&bytes, mark.as_bytes()))
}

/// The first number of two digits or more that follows `mark` and ends with a dot or the string's end.
fn number_after(bytes: &[u8], mark: &[u8]) -> Option<u32> {
    let starts = bytes
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| *window == mark);
    for (start, _) in starts {
        let rest = bytes.get(start + mark.len()..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let ended = matches!(rest.get(digits), Some(b'.' | 0));
        let number = rest
            .get(..digits)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        if let (true, Some(number)) = (digits == 2 && ended, number) {
            return number.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn the_library_of_a_program_is_read_from_its_bytes() {
        for (bytes, mark, expected) in [
            (&b"\0libLLVM.so.22.1\0"[..], "libLLVM.so.", Some(22)),
            (&b"\0libLLVM-19\0"[..], "libLLVM-", Some(19)),
            (&b"LLVM ERROR: x\0LLVM23.1.0\0"[..], "LLVM", Some(23)),
            (&b"LLVM_2, LLVM 22 builds"[..], "LLVM", None),
            (&b"LLVM"[..], "LLVM", None),
        ] {
            assert_eq!(
                number_after(bytes, mark.as_bytes()),
                expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
