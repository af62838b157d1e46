//! A frame as the packet's way sees it: bounds-checked reads and writes, and room made or taken at its head.
//!
//! It hands out whole headers by value. It never hands out a slice: the verifier wants each pointer compared with the
//! end of the frame, and forgets that comparison for a length.

/// Headers lie within this many bytes of a frame's start.
///
/// Bounds the offsets that the verifier must follow: Ethernet with two tags (22), an outer header with GUE (64 behind an
/// IPv6 header), an inner one with all extension headers that are walked over (168), and what an ICMP error quotes (76)
/// leave ample room below it.
pub const HEADERS_BYTES_MAX: usize = 512;

/// Bytes of a header as they stand on the wire.
///
/// # Safety
/// Every bit pattern must be a value of the type, it must hold no padding, and it must be `repr(C)` or
/// `repr(transparent)`, for it is read from and written to frames as it is.
pub unsafe trait Wire: Copy {}

/// Words of a frame that are handed on as they are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Opaque<const WORDS: usize>(pub [u16; WORDS]);

// SAFETY: u16 only, no padding, every pattern valid.
unsafe impl<const WORDS: usize> Wire for Opaque<WORDS> {}

/// The frame ends before the bytes that were asked for, or has no room for those to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

/// A frame that headers can be read from, written to, added to and taken from.
pub trait Frame {
    /// Bytes from the start of the Ethernet header to the end.
    fn len(&self) -> usize;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The header at `at` bytes from the start; `None` if the frame ends before the header does.
    fn read<H: Wire>(&self, at: usize) -> Option<H>;

    /// Two headers, one behind the other: one look at the frame's end instead of two.
    #[inline(always)]
    fn read_two<A: Wire, B: Wire>(&self, at: usize) -> Option<(A, B)> {
        Some((self.read(at)?, self.read(at + size_of::<A>())?))
    }

    /// The sum of the words in `BYTES` bytes, a multiple of 4, at `at` bytes from the start, to be folded; `None` if the
    /// frame ends before they do.
    fn sum<const BYTES: usize>(&self, at: usize) -> Option<u32>;

    /// Puts a header at `at` bytes from the start.
    ///
    /// # Errors
    /// The frame ends before the header would.
    fn write<H: Wire>(&mut self, at: usize, header: H) -> Result<(), OutOfBounds>;

    /// Puts two headers there, one behind the other.
    ///
    /// # Errors
    /// The frame ends before the second would; the first may be written.
    #[inline(always)]
    fn write_two<A: Wire, B: Wire>(&mut self, at: usize, first: A, second: B) -> Result<(), OutOfBounds> {
        self.write(at, first)?;
        self.write(at + size_of::<A>(), second)
    }

    /// Adds `BYTES` bytes of unknown content before the start.
    ///
    /// # Errors
    /// There is no such headroom.
    fn grow_head<const BYTES: usize>(&mut self) -> Result<(), OutOfBounds>;

    /// Takes `bytes` bytes from the start, 20 to 64.
    ///
    /// # Errors
    /// The frame is not that long.
    fn shrink_head(&mut self, bytes: usize) -> Result<(), OutOfBounds>;

    /// Cuts the end off, so that `bytes` bytes are left.
    ///
    /// # Errors
    /// The frame is not that long.
    fn truncate(&mut self, bytes: usize) -> Result<(), OutOfBounds>;
}
