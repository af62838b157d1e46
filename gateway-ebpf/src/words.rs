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
        /// Copies the word at `AT` out of a frame.
        #[inline(always)]
        unsafe fn $load<const AT: usize>(from: *const u8, to: *mut u8) {
            let word: u64;
            // SAFETY: the caller says that the bytes are the frame's; nothing else is touched.
            unsafe {
                asm!(
                    $load_text,
                    word = out(reg) word,
                    from = in(reg) from,
                    at = const AT,
                    options(pure, readonly, nostack, preserves_flags)
                );
            };
            // SAFETY: the caller says that there is room.
            let to = unsafe { to.add(AT) };
            // SAFETY: as above.
            unsafe { to.cast::<$word>().write_unaligned(word as $word) };
        }

        /// Copies the word at `AT` into a frame.
        #[inline(always)]
        unsafe fn $store<const AT: usize>(to: *mut u8, from: *const u8) {
            // SAFETY: the caller says that the bytes are there.
            let from = unsafe { from.add(AT) };
            // SAFETY: as above.
            let word = unsafe { from.cast::<$word>().read_unaligned() };
            // SAFETY: the caller says that they are the frame's.
            unsafe {
                asm!(
                    $store_text,
                    word = in(reg) u64::from(word),
                    to = in(reg) to,
                    at = const AT,
                    options(nostack, preserves_flags)
                );
            };
        }
    };
}

access!(
    load_8,
    store_8,
    u64,
    "{word} = *(u64 *)({from} + {at})",
    "*(u64 *)({to} + {at}) = {word}"
);
access!(
    load_4,
    store_4,
    u32,
    "{word} = *(u32 *)({from} + {at})",
    "*(u32 *)({to} + {at}) = {word}"
);
access!(
    load_2,
    store_2,
    u16,
    "{word} = *(u16 *)({from} + {at})",
    "*(u16 *)({to} + {at}) = {word}"
);

/// Does something for each word of eight bytes, then for one of four and one of two that are left. All comparisons are of
/// what the compiler knows; offsets are literal, for an instruction has room for one.
macro_rules! each_word {
    ($bytes:expr, $eight:ident, $four:ident, $two:ident, $first:expr, $second:expr) => {
        each_word!(@whole $bytes, $eight, $first, $second, 0, 8, 16, 24, 32);
        if $bytes & 4 != 0 {
            each_word!(@rest $bytes & !7, $four, $first, $second, 0, 8, 16, 24, 32);
        }
        if $bytes & 2 != 0 {
            each_word!(@rest $bytes & !3, $two, $first, $second, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36);
        }
    };
    (@whole $bytes:expr, $copy:ident, $first:expr, $second:expr, $($at:literal),+) => {
        $(
            if $bytes >= $at + 8 {
                // SAFETY: the caller's promise, for these bytes.
                unsafe { $copy::<$at>($first, $second) };
            }
        )+
    };
    (@rest $at_bytes:expr, $copy:ident, $first:expr, $second:expr, $($at:literal),+) => {
        $(
            if $at_bytes == $at {
                // SAFETY: as above.
                unsafe { $copy::<$at>($first, $second) };
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
    each_word!(bytes, load_8, load_4, load_2, from, to);
}

/// Copies `bytes` bytes into a frame, as `load` does out of one.
///
/// # Safety
/// As for `load`, the other way.
#[inline(always)]
pub unsafe fn store(to: *mut u8, from: *const u8, bytes: usize) {
    debug_assert!(bytes <= BYTES_MAX);
    each_word!(bytes, store_8, store_4, store_2, to, from);
}
