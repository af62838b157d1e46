//! A body in chunks, followed byte by byte: it passes as it comes, so nothing of it is kept.
//!
//! Stricter than hyper, which takes space after a size. Source: RFC 9112, section 7.1.

use super::refusal::Refusal;
use super::table::{self, TOKEN};

/// Bytes of extensions in all chunks of a body, semicolons included: nobody uses them but attacks.
const EXTENSION_BYTES_MAX: usize = 1_024;
/// Bytes of all trailer fields with the empty line after them. hyper takes 16 kB.
const TRAILER_BYTES_MAX: usize = 8_192;
/// Digits of a chunk's size: 15 of them fit any file offset.
const SIZE_DIGITS_MAX: u8 = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the first byte of a trailer field or of the last line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// How far a chunked body has been followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    state: State,
    /// Of the chunk: its size while that is read, then what is left of its data.
    left: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

/// What followed bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// All of them belong to the body, and more is to come.
    All,
    /// The body ends after so many.
    Ends(usize),
}

impl Chunked {
    /// At the start of a body.
    pub(super) fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
        }
    }

    /// Follows further bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn follow(&mut self, bytes: &[u8], fields_max: usize) -> Result<Followed, Refusal> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Data {
                let rest = bytes.len() - at;
                let taken = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= taken as u64;
                at += taken;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            at += 1;
            if self.state == State::EndLf {
                return if byte == b'\n' {
                    Ok(Followed::Ends(at))
                } else {
                    Err(Refusal::TrailerBad)
                };
            }
            self.state = self.next(byte, fields_max)?;
        }
        Ok(Followed::All)
    }

    fn next(&mut self, byte: u8, fields_max: usize) -> Result<State, Refusal> {
        match self.state {
            State::Size => self.size(byte),
            State::Extension => match byte {
                b'\r' => Ok(State::SizeLf),
                b'\n' => Err(Refusal::ChunkBareLf),
                _ if byte.is_ascii_control() && byte != b'\t' => Err(Refusal::ChunkExtensionBad),
                _ => self.extension(),
            },
            State::SizeLf => match (byte, self.left) {
                (b'\n', 0) => Ok(State::Trailer),
                (b'\n', _) => Ok(State::Data),
                _ => Err(Refusal::ChunkSizeBad),
            },
            State::DataCr => match byte {
                b'\r' => Ok(State::DataLf),
                b'\n' => Err(Refusal::ChunkBareLf),
                _ => Err(Refusal::ChunkEndBad),
            },
            State::DataLf => match byte {
                b'\n' => {
                    self.digits = 0;
                    Ok(State::Size)
                }
                _ => Err(Refusal::ChunkEndBad),
            },
            // `follow` deals with these two.
            State::Data | State::EndLf => Ok(self.state),
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer(byte, fields_max)
            }
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\n' => return Err(Refusal::ChunkBareLf),
            _ if self.digits == 0 => return Err(Refusal::ChunkSizeBad),
            b'\r' => return Ok(State::SizeLf),
            b';' => return self.extension(),
            _ => return Err(Refusal::ChunkSizeBad),
        };
        if self.digits == 0 {
            self.left = 0;
        }
        if self.digits == SIZE_DIGITS_MAX {
            return Err(Refusal::ChunkSizeBad);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn extension(&mut self) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Refusal::ChunkExtensionsLong);
        }
        Ok(State::Extension)
    }

    fn trailer(&mut self, byte: u8, fields_max: usize) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Refusal::TrailerLarge);
        }
        let is_token = table::class(byte) & TOKEN != 0;
        match (self.state, byte) {
            (State::Trailer, b'\r') => Ok(State::EndLf),
            (State::Trailer, _) if is_token => {
                self.trailer_fields += 1;
                if self.trailer_fields > fields_max {
                    return Err(Refusal::TrailerLarge);
                }
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerName, _) if is_token => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if !byte.is_ascii_control() || byte == b'\t' => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            _ => Err(Refusal::TrailerBad),
        }
    }
}
