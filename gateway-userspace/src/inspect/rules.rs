//! What a listener, or the client side of an upstream, takes.

use super::refusal::{Class, Noted, Refusal};

/// What becomes of faults of syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are refused.
    Strict,
    /// They pass.
    Lenient,
    /// They pass, and whoever set this counts them. Here it is the same as lenient: both note.
    Monitor,
}

/// The limits of heads, and the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What becomes of faults of syntax.
    pub mode: Mode,
    /// Bytes of a head, its first line and last empty one included. hyper's own limit is some 400 kB.
    pub head_bytes_max: usize,
    /// Fields of a head. hyper's own limit is 100, unless it is told otherwise (`max_headers`).
    pub fields_max: usize,
    /// Bytes of a request's target. hyper's own limit is 65,534.
    pub target_bytes_max: usize,
}

impl Default for Rules {
    /// Strict; 64 kB of head, 100 fields, 8 kB of target.
    fn default() -> Self {
        Self {
            mode: Mode::Strict,
            head_bytes_max: 65_536,
            fields_max: 100,
            target_bytes_max: 8_192,
        }
    }
}

impl Rules {
    /// Lets a fault of syntax pass, noted, or refuses it.
    ///
    /// # Errors
    /// The fault.
    pub(super) fn judge(&self, fault: Refusal, noted: &mut Noted) -> Result<(), Refusal> {
        if self.mode == Mode::Strict || fault.class() == Class::Framing {
            return Err(fault);
        }
        noted.add(fault);
        Ok(())
    }
}
