//! The words of a set of flows, where it lies in a map that all CPUs share.

use gateway_common::flow::set::Words;

/// A set of flows in a map, whose words are read and written whole.
pub struct SetAt(pub *mut u64);

impl Words for SetAt {
    #[inline(always)]
    fn load(&self, index: usize) -> u64 {
        // SAFETY: `index` is one of the set's words: the verifier checks it.
        let at = unsafe { self.0.add(index) };
        // SAFETY: aligned, within the map's value, and read as one word, which another CPU may write.
        unsafe { at.read_volatile() }
    }

    #[inline(always)]
    fn store(&self, index: usize, word: u64) {
        // SAFETY: as in `load`.
        let at = unsafe { self.0.add(index) };
        // SAFETY: as in `load`; what two CPUs write at once matches no flow.
        unsafe { at.write_volatile(word) };
    }
}
