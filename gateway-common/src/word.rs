//! One word of a map that CPUs share: read, written and added to, each at once.
//!
//! On the host these are relaxed atomic operations. In the kernel they are the same instructions, written by hand: the
//! compiler has none of them for the machine that kernels before 5.12 know, but plain loads and stores, which are whole
//! for an aligned word.

use core::sync::atomic::AtomicU64;

/// A word.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(AtomicU64);

#[cfg(not(target_arch = "bpf"))]
impl Word {
    /// What it says.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        self.0.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Writes it.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        self.0.store(value, core::sync::atomic::Ordering::Relaxed);
    }

    /// Adds to it. What it comes to is not asked: kernels before 5.12 do not say it.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, core::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(target_arch = "bpf")]
impl Word {
    /// What it says.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        // SAFETY: aligned, and lives as long as its reference.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    /// Writes it.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        // SAFETY: as in `load`; interior mutability is the type's.
        unsafe { self.0.as_ptr().write_volatile(value) }
    }

    /// Adds to it.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        // SAFETY: as in `store`; BPF_XADD.
        unsafe {
            core::arch::asm!(
                "lock *(u64 *)({word} + 0) += {value}",
                word = in(reg) self.0.as_ptr(),
                value = in(reg) value,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_add_up() {
        let word = Word::default();
        word.store(40);
        word.add(2);
        assert_eq!(word.load(), 42);
    }
}
