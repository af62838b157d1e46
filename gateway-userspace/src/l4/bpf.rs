//! Calls of bpf(2) that aya does not wrap: opening a pin whatever it is, and probing for memory-mapped arrays.
//!
//! Source: include/uapi/linux/bpf.h, `union bpf_attr`.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_CREATE: libc::c_int = 0;
const OBJ_GET: libc::c_int = 7;

const MAP_TYPE_ARRAY: u32 = 2;
const F_MMAPABLE: u32 = 1 << 10;

/// The first fields of the attributes of `BPF_MAP_CREATE`; the kernel takes the rest for zeroes.
#[repr(C)]
struct NewMap {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

/// The attributes of `BPF_OBJ_GET`.
#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Opens what is pinned there: a program, a map or a link.
///
/// # Errors
/// Nothing is, or it may not be opened.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut pin = Pin {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    open_by(OBJ_GET, &mut pin)
}

/// Whether the kernel makes arrays that can be mapped into memory (5.5); `None`: it makes no maps for this process.
pub(super) fn has_mappable_arrays() -> Option<bool> {
    let made = |flags| {
        let mut map = NewMap {
            kind: MAP_TYPE_ARRAY,
            key_bytes: 4,
            value_bytes: 8,
            entries: 1,
            flags,
        };
        open_by(MAP_CREATE, &mut map).is_ok()
    };
    made(0).then(|| made(F_MMAPABLE))
}

/// A call that gives a descriptor.
fn open_by<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let at = std::ptr::from_mut(attributes);
    // SAFETY: the attributes are as the command wants them, and live through the call, as what they point at does.
    let given = unsafe { libc::syscall(libc::SYS_bpf, command, at, size_of::<T>()) };
    let descriptor = RawFd::try_from(given)
        .ok()
        .filter(|given| *given >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel gave it to this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
