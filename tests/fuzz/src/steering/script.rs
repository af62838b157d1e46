//! An input as a row of choices: each byte is one, and what is left of it is zeros.

/// The bytes of an input that are not used yet.
#[derive(Debug)]
pub struct Script<'i>(&'i [u8]);

impl<'i> Script<'i> {
    /// All of an input.
    pub fn new(input: &'i [u8]) -> Self {
        Self(input)
    }

    /// The next byte; 0 behind the end.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// The next two bytes, the high one first.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of some.
    pub fn one_of<T: Copy, const N: usize>(&mut self, some: [T; N]) -> T {
        some[usize::from(self.byte()) % N]
    }

    /// At most so many of the next bytes.
    pub fn take(&mut self, bytes: usize) -> &'i [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'i [u8] {
        self.take(usize::MAX)
    }
}
