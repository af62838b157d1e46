//! Bytes of a frame, copied by the longest words there are.
//!
//! A network header lies at an odd multiple of two bytes, so the compiler copies it by words of two bytes, or by single
//! ones: it may not assume that longer ones could be read there. The kernel's verifier may, on each architecture whose
//! processors can (x86-64 and ARM64), and these instructions say so: an IPv6 header is five loads, not twenty.

use core::arch::asm;

/// Most bytes that are copied at once: an IPv6 header.
const BYTES_MAX: usize = 40;

macro_rules! access {
    ($load:ident, $store:ident, $word:ty, $load_text:literal, $store_text:literal) => {
        /// Copies the word at `at` out of a frame.
        #[inline(always)]
        unsafe fn $load(from: *const u8, to: *mut u8, at: usize) {
            // SAFETY: the caller says that the bytes are the frame's.
            let from = unsafe { from.add(at) };
            let word: u64;
            // SAFETY: as above; nothing else is touched.
            unsafe {
                asm!($load_text, word = out(reg) word, from = in(reg) from, options(pure, readonly, nostack, preserves_flags));
            };
            // SAFETY: the caller says that there is room.
            let to = unsafe { to.add(at) };
            // SAFETY: as above.
            unsafe { to.cast::<$word>().write_unaligned(word as $word) };
        }

        /// Copies the word at `at` into a frame.
        #[inline(always)]
        unsafe fn $store(to: *mut u8, from: *const u8, at: usize) {
            // SAFETY: the caller says that the bytes are there.
            let from = unsafe { from.add(at) };
            // SAFETY: as above.
            let word = unsafe { from.cast::<$word>().read_unaligned() };
            // SAFETY: the caller says that they are the frame's.
            let to = unsafe { to.add(at) };
            // SAFETY: as above; nothing else is touched.
            unsafe {
                asm!($store_text, word = in(reg) u64::from(word), to = in(reg) to, options(nostack, preserves_flags));
            };
        }
    };
}

access!(
    load_8,
    store_8,
    u64,
    "{word} = *(u64 *)({from} + 0)",
    "*(u64 *)({to} + 0) = {word}"
);
access!(
    load_4,
    store_4,
    u32,
    "{word} = *(u32 *)({from} + 0)",
    "*(u32 *)({to} + 0) = {word}"
);
access!(
    load_2,
    store_2,
    u16,
    "{word} = *(u16 *)({from} + 0)",
    "*(u16 *)({to} + 0) = {word}"
);

/// Does something for each word of eight bytes, then for one of four and one of two that are left.
macro_rules! each_word {
    ($bytes:expr, $at:ident, $eight:expr, $four:expr, $two:expr) => {
        // No loop: what the compiler unrolls later it has not kept in registers before.
        each_word!(@eight $bytes, $at, $eight, 0, 8, 16, 24, 32);
        let $at = $bytes & !7;
        if $bytes & 4 != 0 {
            $four;
        }
        let $at = $bytes & !3;
        if $bytes & 2 != 0 {
            $two;
        }
    };
    (@eight $bytes:expr, $at:ident, $eight:expr, $($offset:literal),+) => {
        $(
            let $at = $offset;
            if $bytes >= $offset + 8 {
                $eight;
            }
        )+
    };
}

/// Copies `bytes` bytes of a frame, a number that is even and known to the compiler.
///
/// # Safety
/// All of them must be the frame's, and `to` must have room for them.
#[inline(always)]
pub unsafe fn load(from: *const u8, to: *mut u8, bytes: usize) {
    debug_assert!(bytes <= BYTES_MAX);
    each_word!(
        bytes,
        at,
        // SAFETY: the caller's promise, for these eight bytes.
        unsafe { load_8(from, to, at) },
        // SAFETY: the same for four.
        unsafe { load_4(from, to, at) },
        // SAFETY: the same for two.
        unsafe { load_2(from, to, at) }
    );
}

/// Copies `bytes` bytes into a frame, as `load` does out of one.
///
/// # Safety
/// As for `load`, the other way.
#[inline(always)]
pub unsafe fn store(to: *mut u8, from: *const u8, bytes: usize) {
    debug_assert!(bytes <= BYTES_MAX);
    each_word!(
        bytes,
        at,
        // SAFETY: the caller's promise, for these eight bytes.
        unsafe { store_8(to, from, at) },
        // SAFETY: the same for four.
        unsafe { store_4(to, from, at) },
        // SAFETY: the same for two.
        unsafe { store_2(to, from, at) }
    );
}
