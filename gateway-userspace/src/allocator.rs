//! mimalloc as the program's allocator: requests allocate and free small things on every core at once.
//!
//! Not by the crate `mimalloc`, which asks for the alignment of each allocation: mimalloc 3 serves that slowly wherever
//! the size is no power of two, though all of its blocks are aligned well enough (900 instructions a request). Built
//! without huge pages, of which 12 MB were resident at the start (`no_thp`).

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

unsafe extern "C" {
    /// mimalloc's; libmimalloc-sys declares it only beside much that is not needed here.
    fn mi_collect(force: bool);
}

/// Alignment of every block of at least that size (`MI_MAX_ALIGN_SIZE` in mimalloc's `types.h`); smaller blocks are
/// aligned to a machine word.
const ALIGNED_BYTES: usize = 16;
/// Alignment of every block.
const WORD_BYTES: usize = size_of::<usize>();

/// The allocator.
pub struct Allocator;

/// Gives the kernel back what this thread has freed: after something large that does not come again soon. A file of 10,000
/// routes takes some 55 MB while it is read.
///
/// Takes milliseconds, so that no worker calls it.
pub fn give_back() {
    // SAFETY: may be called at any time; of another allocator's blocks it knows nothing.
    unsafe { mi_collect(true) };
}

/// Whether a block of that size is aligned as asked without being told.
fn is_natural(size: usize, align: usize) -> bool {
    align <= WORD_BYTES || (align <= ALIGNED_BYTES && size >= ALIGNED_BYTES)
}

// SAFETY: mimalloc fulfils the contract of `malloc` and its aligned kin; blocks are given back to the same allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_natural(size, align) {
            // SAFETY: any size may be asked for.
            unsafe { mi_malloc(size) }.cast()
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi_malloc_aligned(size, align) }.cast()
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_natural(size, align) {
            // SAFETY: any size may be asked for.
            unsafe { mi_zalloc(size) }.cast()
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi_zalloc_aligned(size, align) }.cast()
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller got it from this allocator.
        unsafe { mi_free(block.cast::<c_void>()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        if is_natural(size, align) && is_natural(layout.size(), align) {
            // SAFETY: the caller got it from this allocator.
            unsafe { mi_realloc(block.cast::<c_void>(), size) }.cast()
        } else {
            // SAFETY: the caller got it from this allocator; a layout's alignment is a power of two.
            unsafe { mi_realloc_aligned(block.cast::<c_void>(), size, align) }.cast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_as_asked_also_after_they_grew() {
        for align in [1, 2, 4, 8, 16, 32, 64, 128, 4096] {
            for size in [1, 7, 8, 15, 16, 24, 40, 48, 100, 1000, 5000, 70_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero.
                let block = unsafe { Allocator.alloc(layout) };
                assert_eq!(block.addr() % align, 0, "{size} bytes to {align}");
                // SAFETY: as above, and the new size is not zero.
                let block = unsafe { Allocator.realloc(block, layout, size * 3) };
                assert_eq!(block.addr() % align, 0, "{size} bytes to {align}, grown");
                let grown = Layout::from_size_align(size * 3, align).unwrap();
                // SAFETY: it came from this allocator.
                unsafe { Allocator.dealloc(block, grown) };
            }
        }
    }
}
