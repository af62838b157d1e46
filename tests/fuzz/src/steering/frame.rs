//! A frame in memory that holds its user to what the kernel allows.

use gateway_common::frame::{Frame, HEADERS_BYTES_MAX, OutOfBounds, Wire};
use gateway_common::memory::MemoryFrame;

/// What new headroom holds, for the kernel does not clear it.
const UNKNOWN: u8 = 0xa5;

/// Bytes that the program may take from a frame's start at once.
const SHRINK_BYTES: std::ops::RangeInclusive<usize> = 20..=64;

/// A frame whose every access is checked against the bounds that `Frame` and the kernel's frames have.
#[derive(Clone, Debug)]
pub struct StrictFrame(pub MemoryFrame);

impl StrictFrame {
    /// A frame with so much headroom.
    pub fn new(bytes: Vec<u8>, headroom: usize) -> Self {
        Self(MemoryFrame { bytes, headroom })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Frame for StrictFrame {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read<H: Wire>(&self, at: usize) -> Option<H> {
        assert!(
            at <= HEADERS_BYTES_MAX,
            "reads at {at}, where the kernel does not"
        );
        self.0.read(at)
    }

    fn sum<const BYTES: usize>(&self, at: usize) -> Option<u32> {
        assert!(at <= HEADERS_BYTES_MAX, "sums at {at}, where the kernel does not");
        self.0.sum::<BYTES>(at)
    }

    fn write<H: Wire>(&mut self, at: usize, header: H) -> Result<(), OutOfBounds> {
        assert!(
            at <= HEADERS_BYTES_MAX,
            "writes at {at}, where the kernel does not"
        );
        self.0.write(at, header)
    }

    fn grow_head<const BYTES: usize>(&mut self) -> Result<(), OutOfBounds> {
        self.0.grow_head::<BYTES>()?;
        self.0.bytes[..BYTES].fill(UNKNOWN);
        Ok(())
    }

    fn shrink_head(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        assert!(
            SHRINK_BYTES.contains(&bytes),
            "takes {bytes} bytes from the start"
        );
        self.0.shrink_head(bytes)
    }

    fn truncate(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        self.0.truncate(bytes)
    }
}
