//! Array maps mapped into memory, so that a table is written in microseconds and a word is flipped by one store.
//!
//! aya wraps no `mmap`. Source: `BPF_F_MMAPABLE` (kernel 5.5); each element takes 8 bytes, whatever its size.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use gateway_common::maglev::Slot;
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

    /// Writes as many words from `start` on; `false` if there are not that many, and then none.
    ///
    /// Nobody may read them meanwhile: they are of the half of a table that is not live, and the grace period since it
    /// was is over. `flip` makes them seen.
    #[must_use]
    pub fn store_all(&mut self, start: usize, values: &[Slot]) -> bool {
        let fits = start
            .checked_add(values.len())
            .is_some_and(|end| end <= self.words);
        if !fits {
            return false;
        }
        // SAFETY: `start` lies within the words that are mapped, as was just compared.
        let to = unsafe { self.start.add(start) };
        // SAFETY: a slot is a word; the words from `to` on are mapped, and `values` is memory of this process alone.
        unsafe {
            to.as_ptr()
                .cast::<Slot>()
                .copy_from_nonoverlapping(values.as_ptr(), values.len())
        };
        true
    }

    /// Flips a half word, after all that was stored before; `false` if there is no such word.
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
