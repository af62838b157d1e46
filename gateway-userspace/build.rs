//! Embeds the kernel object, where `cargo xtask build-ebpf` has built one, so that one file is the whole program.
//!
//! Without it the build passes all the same, for hosts that lack the kernel's toolchain: `l4` then says what to do.
//! Writes `kernel_object.rs` into `OUT_DIR`, with `pub static KERNEL_OBJECT: Option<&[u8]>`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

/// Names another object than `target/ebpf/gateway.o`; empty means none.
const OBJECT_VARIABLE: &str = "GATEWAY_EBPF_OBJECT";

/// ELF headers are read in place, and the longest of their fields has 8 bytes.
const EMBEDDED: &str = r#"/// The kernel object that this program was built with.
pub static KERNEL_OBJECT: Option<&[u8]> = {
    #[repr(C, align(8))]
    struct Aligned<T: ?Sized>(T);
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/gateway.o")));
    Some(&OBJECT.0)
};
"#;

const ABSENT: &str =
    "/// The kernel object that this program was built with: none, as there was none at build time.
pub static KERNEL_OBJECT: Option<&[u8]> = None;
";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets no OUT_DIR"))?);
    let text = match object()? {
        Some(bytes) => {
            fs::write(out.join("gateway.o"), bytes)?;
            EMBEDDED
        }
        None => ABSENT,
    };
    fs::write(out.join("kernel_object.rs"), text)
}

/// The object's bytes, if there is one; tells cargo what to watch.
fn object() -> io::Result<Option<Vec<u8>>> {
    if let Some(named) = env::var_os(OBJECT_VARIABLE) {
        if named.is_empty() {
            return Ok(None);
        }
        let named = PathBuf::from(named);
        println!("cargo::rerun-if-changed={}", named.display());
        let explain = |error| io::Error::other(format!("{OBJECT_VARIABLE}={}: {error}", named.display()));
        return fs::read(&named).map(Some).map_err(explain);
    }
    // Relative to this package, not to the target directory, which CARGO_TARGET_DIR may have moved.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let folder = manifest.join("../target/ebpf");
    watch(&folder);
    match fs::read(folder.join("gateway.o")) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Watches the folder, not the file: cargo takes a watched file that is absent for a change, in every build.
fn watch(folder: &Path) {
    let fresh = !folder.exists();
    // Where the folder cannot be made, nothing will ever appear in it, and there is nothing to watch.
    if fs::create_dir_all(folder).is_err() {
        return;
    }
    println!("cargo::rerun-if-changed={}", folder.display());
    if fresh && let Err(error) = backdate(folder) {
        println!(
            "cargo::warning=the next build runs this once more, needlessly: {}: {error}",
            folder.display()
        );
    }
}

/// Gives a folder that was made just now an earlier time: else it is newer than this run, a change for the next one.
fn backdate(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.set_modified(SystemTime::now() - Duration::from_secs(3_600))
}
