//! Calls of bpf(2) that aya does not wrap: opening a pin whatever it is, probing for memory-mapped arrays, and entries of hash
//! maps by the thousand.
//!
//! Source: include/uapi/linux/bpf.h, `union bpf_attr`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const OBJ_GET: libc::c_int = 7;
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_UPDATE_BATCH: libc::c_int = 26;

/// Only where there is no such key yet.
const NOEXIST: u64 = 1;

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

/// The attributes of `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    entry_flags: u64,
    flags: u64,
}

/// The attributes of `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct Entry {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Entries of a hash map that are read or written at once.
const BATCH_ENTRIES: usize = 4_096;

/// Reads a hash map, LRU or not, in batches.
///
/// Entries that come or go meanwhile are in there or not.
///
/// # Kernel
/// 5.6: `BPF_MAP_LOOKUP_BATCH` of hash maps.
#[derive(Debug)]
pub(super) struct Batches<'m> {
    map: BorrowedFd<'m>,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Where to go on, as the kernel counts.
    place: Option<u64>,
    is_over: bool,
}

impl<'m> Batches<'m> {
    /// From the start of a map with keys and values of so many bytes.
    pub(super) fn of(map: BorrowedFd<'m>, key_bytes: usize, value_bytes: usize) -> Self {
        Self {
            map,
            keys: vec![0; BATCH_ENTRIES * key_bytes],
            values: vec![0; BATCH_ENTRIES * value_bytes],
            place: None,
            is_over: false,
        }
    }

    /// The next keys and values, one after another; `None`: that was all.
    ///
    /// # Errors
    /// It is no hash map.
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        if self.is_over {
            return Ok(None);
        }
        let (key_bytes, value_bytes) = (self.keys.len() / BATCH_ENTRIES, self.values.len() / BATCH_ENTRIES);
        let mut next = 0_u64;
        let mut batch = Batch {
            from: self
                .place
                .as_ref()
                .map_or(0, |place| std::ptr::from_ref(place) as u64),
            next: std::ptr::from_mut(&mut next) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: BATCH_ENTRIES as u32,
            map: self.map.as_raw_fd() as u32,
            ..Batch::default()
        };
        match call(MAP_LOOKUP_BATCH, &mut batch) {
            Ok(_) => self.place = Some(next),
            // The last ones.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.is_over = true,
            Err(error) => return Err(error),
        }
        let count = batch.count as usize;
        let keys = self.keys.get(..count * key_bytes).unwrap_or_default();
        let values = self.values.get(..count * value_bytes).unwrap_or_default();
        Ok(Some((keys, values)))
    }
}

/// What kept entries from being written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// How many were written before.
    pub(super) written: usize,
    /// What the kernel said of the next.
    pub(super) source: io::Error,
}

/// Writes entries of a hash map or a trie in their order, over those that are there.
///
/// # Errors
/// It has no room, or the kernel writes no batches of it.
///
/// # Kernel
/// 5.6: `BPF_MAP_UPDATE_BATCH` of hash maps; of tries later.
pub(super) fn write_all(
    map: BorrowedFd<'_>,
    count: usize,
    keys: &[u8],
    values: &[u8],
) -> Result<(), Unwritten> {
    if count == 0 {
        return Ok(());
    }
    let mut batch = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: count as u32,
        map: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    let Err(source) = call(MAP_UPDATE_BATCH, &mut batch) else {
        return Ok(());
    };
    // Who refuses the call as a whole leaves the count as it was.
    let written = batch.count as usize;
    Err(Unwritten {
        written: if written < count { written } else { 0 },
        source,
    })
}

/// Writes an entry of a hash map, unless its key is there.
///
/// # Errors
/// It has no room, or is no hash map.
pub(super) fn write_absent(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut entry = Entry {
        map: map.as_raw_fd() as u32,
        zero: 0,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: NOEXIST,
    };
    match call(MAP_UPDATE_ELEM, &mut entry) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
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

/// A call; the number that it gives.
fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    let at = std::ptr::from_mut(attributes);
    // SAFETY: the attributes are as the command wants them, and live through the call, as what they point at does.
    let given = unsafe { libc::syscall(libc::SYS_bpf, command, at, size_of::<T>()) };
    RawFd::try_from(given)
        .ok()
        .filter(|given| *given >= 0)
        .ok_or_else(io::Error::last_os_error)
}

/// A call that gives a descriptor.
fn open_by<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the kernel gave it to this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
