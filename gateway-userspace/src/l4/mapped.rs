//! Array maps mapped into memory, so that a table is written in microseconds and a word is flipped by one store.
//!
//! aya wraps no `mmap`. Source: `BPF_F_MMAPABLE` (kernel 5.5); each element takes 8 bytes, whatever its size.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::Pod;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes between the elements of an array map.
const STRIDE_BYTES: usize = 8;

/// An array map in memory.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<u64>,
    words: usize,
}

// SAFETY: the memory is shared with the kernel, and touched by atomic operations, or while nobody reads it.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Maps an array of `entries` words.
    ///
    /// # Errors
    /// The map was not made with `BPF_F_MMAPABLE`, or has fewer entries.
    pub fn new(map: impl AsFd, entries: u32) -> io::Result<Self> {
        let words = entries as usize;
        let bytes = NonZeroUsize::new(words * STRIDE_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self {
            start: start.cast(),
            words,
        })
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    fn word(&self, index: usize) -> Option<NonNull<u64>> {
        if index >= self.words {
            return None;
        }
        // SAFETY: `index` is below the number of words that are mapped.
        Some(unsafe { self.start.add(index) })
    }

    /// Writes one whole word; `false` if there is no such word.
    #[must_use]
    pub fn store(&self, index: usize, value: u64) -> bool {
        let Some(word) = self.word(index) else {
            return false;
        };
        // SAFETY: the word is mapped for as long as `self` lives, and aligned.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        word.store(value, Ordering::Relaxed);
        true
    }

    /// Reads one whole word; `None` if there is no such word.
    pub fn load(&self, index: usize) -> Option<u64> {
        let word = self.word(index)?;
        // SAFETY: as in `store`.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        Some(word.load(Ordering::Relaxed))
    }

    /// Writes values, each of whole words, from the word `start` on; `false` if there are not that many words, and then
    /// none.
    ///
    /// Nobody may read them meanwhile: they are of a half that is not live, and the grace period since it was is over.
    /// `flip` makes them seen.
    #[must_use]
    pub fn store_all<T: Pod>(&mut self, start: usize, values: &[T]) -> bool {
        const { assert!(size_of::<T>().is_multiple_of(STRIDE_BYTES)) };
        let fits = start
            .checked_add(size_of_val(values) / STRIDE_BYTES)
            .is_some_and(|end| end <= self.words);
        if !fits {
            return false;
        }
        // SAFETY: `start` lies within the words that are mapped, as was just compared.
        let to = unsafe { self.start.add(start) };
        // SAFETY: the words from `to` on are mapped, as many as `values` has, which is memory of this process alone.
        unsafe {
            to.as_ptr()
                .cast::<T>()
                .copy_from_nonoverlapping(values.as_ptr(), values.len())
        };
        true
    }

    /// Reads a value of whole words at the word `start`; `None` if there are not that many words.
    ///
    /// It may be half of a change, where another process writes: for what is read before anything is written, and for
    /// explanations.
    pub fn load_all<T: Pod>(&self, start: usize) -> Option<T> {
        const { assert!(size_of::<T>().is_multiple_of(STRIDE_BYTES)) };
        let end = start.checked_add(size_of::<T>() / STRIDE_BYTES)?;
        if end > self.words {
            return None;
        }
        // SAFETY: `start` lies within the words that are mapped, as was just compared.
        let from = unsafe { self.start.add(start) };
        // SAFETY: the words from `from` on are mapped, and any bytes are a value of a `Pod` type.
        Some(unsafe { from.as_ptr().cast::<T>().read_unaligned() })
    }

    /// Writes a half word, after all that was stored before; `false` if there is no such word.
    #[must_use]
    pub fn flip(&self, index: usize, half: u32) -> bool {
        let Some(word) = self.word(index) else {
            return false;
        };
        // SAFETY: as in `store`; the kernel reads the first four bytes of an element of four.
        let word = unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) };
        word.store(half, Ordering::Release);
        true
    }

    /// Reads a half word; `None` if there is no such word.
    pub fn half(&self, index: usize) -> Option<u32> {
        let word = self.word(index)?;
        // SAFETY: as in `flip`.
        let word = unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) };
        Some(word.load(Ordering::Acquire))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the whole of what `new` mapped, and no pointer into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.cast(), self.words * STRIDE_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Waits until every packet is done that may have read what was live before.
///
/// # Kernel
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` (4.3) waits for an RCU grace period, and XDP runs within one. Where it is
/// refused, a rest as long as any packet could take does the same.
pub(super) fn wait_for_readers() {
    /// Packets take microseconds; this allows for a host that stole the CPU.
    const REST: std::time::Duration = std::time::Duration::from_millis(20);
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call without pointers.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        std::thread::sleep(REST);
    }
}
