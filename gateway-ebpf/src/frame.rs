//! A frame between the pointers that the kernel gives, each access compared with the frame's end.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_csum_diff;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use gateway_common::frame::{Frame, HEADERS_BYTES_MAX, OutOfBounds, Wire};

use crate::words;

/// Two headers as they follow each other in a frame.
#[repr(C, packed)]
struct Both<A, B>(A, B);

/// The frame of one run of the program.
pub struct XdpFrame<'a> {
    context: &'a XdpContext,
}

impl<'a> XdpFrame<'a> {
    /// The frame of that context.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// A pointer to `H` at `at`, if the frame holds all of it.
    #[inline(always)]
    fn pointer<H>(&self, at: usize) -> Option<*mut H> {
        if at > HEADERS_BYTES_MAX {
            return None;
        }
        let start = self.context.data() + at;
        // Compared as a pointer with the end of the frame: the verifier believes no other check.
        if start + size_of::<H>() > self.context.data_end() {
            return None;
        }
        Some(start as *mut H)
    }

    /// Adds so many bytes of unknown content before the start.
    ///
    /// # Errors
    /// There is no such headroom.
    #[inline(always)]
    pub fn grow_by(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        self.adjust(-(bytes as i32))
    }

    #[inline(always)]
    fn adjust(&mut self, delta: i32) -> Result<(), OutOfBounds> {
        // SAFETY: the context is the one that the kernel called us with. All pointers into the frame are made anew at
        // each access, so that none outlives this call.
        match unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), delta) } {
            0 => Ok(()),
            _ => Err(OutOfBounds),
        }
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.context.data_end() - self.context.data()
    }

    #[inline(always)]
    fn read<H: Wire>(&self, at: usize) -> Option<H> {
        let pointer = self.pointer::<H>(at)?;
        let mut header = MaybeUninit::<H>::uninit();
        // SAFETY: `pointer` was compared with the end of the frame, and `header` is as long as what is copied.
        unsafe { words::load(pointer.cast(), header.as_mut_ptr().cast(), size_of::<H>()) };
        // SAFETY: all of it was written, and every pattern is a value of a `Wire` type.
        Some(unsafe { header.assume_init() })
    }

    #[inline(always)]
    fn read_two<A: Wire, B: Wire>(&self, at: usize) -> Option<(A, B)> {
        let pointer = self.pointer::<Both<A, B>>(at)?.cast::<u8>();
        let mut both = MaybeUninit::<Both<A, B>>::uninit();
        let to = both.as_mut_ptr().cast::<u8>();
        // SAFETY: `pointer` was compared with the end of the frame for both, and `both` has room for them.
        unsafe { words::load(pointer, to, size_of::<A>()) };
        // SAFETY: the second begins where the first ends: nothing lies between them.
        let second = unsafe { pointer.add(size_of::<A>()) };
        // SAFETY: the same in the copy.
        let to = unsafe { to.add(size_of::<A>()) };
        // SAFETY: as for the first.
        unsafe { words::load(second, to, size_of::<B>()) };
        // SAFETY: both were written, and every pattern is a value of a `Wire` type.
        let Both(first, second) = unsafe { both.assume_init() };
        Some((first, second))
    }

    #[inline(always)]
    fn sum<const BYTES: usize>(&self, at: usize) -> Option<u32> {
        let pointer = self.pointer::<[u8; BYTES]>(at)?;
        // SAFETY: nothing is subtracted, and what is added lies within the frame, as `pointer` compared.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, pointer.cast(), BYTES as u32, 0) };
        // The helper refuses only lengths that are no multiple of 4.
        u32::try_from(sum).ok()
    }

    #[inline(always)]
    fn write<H: Wire>(&mut self, at: usize, header: H) -> Result<(), OutOfBounds> {
        let pointer = self.pointer::<H>(at).ok_or(OutOfBounds)?;
        // SAFETY: as in `read`, the other way.
        unsafe {
            words::store(
                pointer.cast(),
                core::ptr::from_ref(&header).cast(),
                size_of::<H>(),
            )
        };
        Ok(())
    }

    #[inline(always)]
    fn write_two<A: Wire, B: Wire>(&mut self, at: usize, first: A, second: B) -> Result<(), OutOfBounds> {
        let pointer = self.pointer::<Both<A, B>>(at).ok_or(OutOfBounds)?.cast::<u8>();
        // SAFETY: as in `read_two`, the other way.
        unsafe { words::store(pointer, core::ptr::from_ref(&first).cast(), size_of::<A>()) };
        // SAFETY: as in `read_two`.
        let behind = unsafe { pointer.add(size_of::<A>()) };
        // SAFETY: as for the first.
        unsafe { words::store(behind, core::ptr::from_ref(&second).cast(), size_of::<B>()) };
        Ok(())
    }

    #[inline(always)]
    fn grow_head<const BYTES: usize>(&mut self) -> Result<(), OutOfBounds> {
        self.adjust(-(BYTES as i32))
    }

    #[inline(always)]
    fn shrink_head(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        self.adjust(bytes as i32)
    }

    #[inline(always)]
    fn truncate(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        let length = self.len();
        if bytes > length {
            return Err(OutOfBounds);
        }
        let delta = bytes as i32 - length as i32;
        // SAFETY: as in `adjust`.
        match unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), delta) } {
            0 => Ok(()),
            _ => Err(OutOfBounds),
        }
    }
}
