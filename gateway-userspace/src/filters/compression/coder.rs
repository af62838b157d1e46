//! The codecs behind `compression`: zlib-rs, brotli and zstd, each with bounded memory.
//!
//! Windows are small (32 to 256 kB): what a node holds is bounded by `CODERS_MAX` times a megabyte. Levels stop where a
//! codec takes in more at once than it can deal with in a millisecond, for it runs on a worker.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use brotli::CompressorWriter;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;

use super::Algorithm;

/// Answers that are compressed at the same time, by all workers: with a megabyte for each at most, half a gigabyte. Beyond
/// it answers go out as they are.
const CODERS_MAX: u32 = 512;
static PLACES: Places = Places(AtomicU32::new(0));

/// brotli: 256 kB of window.
const BROTLI_WINDOW_LOG: u32 = 18;
/// brotli: bytes that it gives at once.
const BROTLI_OUTPUT_BYTES: usize = 4 << 10;
/// zstd: 128 kB of window, which is a block, too.
const ZSTD_WINDOW_LOG: u32 = 17;
/// zstd: 256 kB for each of its two tables.
const ZSTD_TABLE_LOG: u32 = 16;

/// One body on its way through a codec.
pub struct Coder {
    codec: Codec,
    _place: Place,
}

enum Codec {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Box<Encoder<'static, Vec<u8>>>),
}

/// How many are taken.
struct Places(AtomicU32);

/// One of [`CODERS_MAX`].
struct Place(&'static Places);

impl Places {
    fn take(&'static self) -> Option<Place> {
        let order = Ordering::Relaxed;
        let more = |held: u32| (held < CODERS_MAX).then_some(held + 1);
        self.0.fetch_update(order, order, more).ok().map(|_| Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.codec {
            Codec::Gzip(_) => "Coder(gzip)",
            Codec::Brotli(_) => "Coder(br)",
            Codec::Zstd(_) => "Coder(zstd)",
        })
    }
}

/// What a level from 1 to 6 is to brotli: from 4 on that takes in 64 kB at once.
fn brotli_quality(level: u8) -> u32 {
    if level <= 3 { 2 } else { 3 }
}

/// What it is to zstd, which has searched in the same time.
fn zstd_level(level: u8) -> i32 {
    match level {
        ..=2 => 1,
        3 => 2,
        4 | 5 => 3,
        _ => 4,
    }
}

impl Coder {
    /// One for a body; `None`: as many are under way as may be, or there is no memory.
    pub fn new(algorithm: Algorithm, level: u8) -> Option<Self> {
        let place = PLACES.take()?;
        let codec = match algorithm {
            Algorithm::Gzip => {
                let level = flate2::Compression::new(level.into());
                Codec::Gzip(Box::new(GzEncoder::new(Vec::new(), level)))
            }
            Algorithm::Brotli => {
                let quality = brotli_quality(level);
                let writer =
                    CompressorWriter::new(Vec::new(), BROTLI_OUTPUT_BYTES, quality, BROTLI_WINDOW_LOG);
                Codec::Brotli(Box::new(writer))
            }
            Algorithm::Zstd => Codec::Zstd(Box::new(zstd(level).ok()?)),
        };
        Some(Self { codec, _place: place })
    }

    /// Takes more of the body.
    ///
    /// # Errors
    /// What the codec says: of memory that is not there.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.writer().write_all(piece)
    }

    /// Lets go all that it took.
    ///
    /// # Errors
    /// As [`Coder::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    /// What came out since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.codec {
            Codec::Gzip(writer) => writer.get_mut(),
            Codec::Brotli(writer) => writer.get_mut(),
            Codec::Zstd(writer) => writer.get_mut(),
        })
    }

    /// The body has ended: the rest, which is never empty.
    ///
    /// # Errors
    /// As [`Coder::write`].
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.codec {
            Codec::Gzip(writer) => writer.finish(),
            Codec::Brotli(writer) => Ok(writer.into_inner()),
            Codec::Zstd(writer) => writer.finish(),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.codec {
            Codec::Gzip(writer) => &mut **writer,
            Codec::Brotli(writer) => &mut **writer,
            Codec::Zstd(writer) => &mut **writer,
        }
    }
}

fn zstd(level: u8) -> io::Result<Encoder<'static, Vec<u8>>> {
    let mut encoder = Encoder::new(Vec::new(), zstd_level(level))?;
    encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
    encoder.set_parameter(CParameter::HashLog(ZSTD_TABLE_LOG))?;
    encoder.set_parameter(CParameter::ChainLog(ZSTD_TABLE_LOG))?;
    Ok(encoder)
}

#[cfg(test)]
mod decoded;
#[cfg(test)]
pub(crate) use decoded::{decoded, decoded_so_far};

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 3] = [Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd];

    /// As compressible as pages are.
    fn text(bytes: usize) -> Vec<u8> {
        let words = [
            "gateway ",
            "upstream ",
            "request ",
            "<td class=\"n\">",
            "</td>\n",
            "route ",
        ];
        let mut text = Vec::new();
        let mut state = 1_u64;
        while text.len() < bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = words[usize::try_from(state >> 60).unwrap() % words.len()];
            text.extend_from_slice(word.as_bytes());
            text.extend_from_slice((state >> 40).to_string().as_bytes());
        }
        text.truncate(bytes);
        text
    }

    #[test]
    fn bodies_come_back_whole_however_they_are_cut() {
        let body = text(200_000);
        for algorithm in ALL {
            for level in 1..=6 {
                for cut in [1_000, 16_384, 200_000] {
                    let mut coder = Coder::new(algorithm, level).unwrap();
                    let mut coded = Vec::new();
                    for piece in body.chunks(cut) {
                        coder.write(piece).unwrap();
                        coded.extend(coder.take());
                    }
                    coded.extend(coder.finish().unwrap());
                    assert!(
                        coded.len() < body.len() / 2,
                        "{algorithm:?} {level}: {}",
                        coded.len()
                    );
                    assert!(
                        decoded(algorithm.name(), &coded) == body,
                        "{algorithm:?} {level} {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_flushed_can_be_read_at_once() {
        for algorithm in ALL {
            let mut coder = Coder::new(algorithm, 4).unwrap();
            coder.write(b"first").unwrap();
            coder.flush().unwrap();
            let mut coded = coder.take();
            assert!(!coded.is_empty(), "{algorithm:?}");
            assert_eq!(
                decoded_so_far(algorithm.name(), &coded),
                b"first",
                "{algorithm:?}"
            );
            coder.write(b" second").unwrap();
            coded.extend(coder.finish().unwrap());
            assert_eq!(
                decoded(algorithm.name(), &coded),
                b"first second",
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn an_empty_body_has_its_end_all_the_same() {
        for algorithm in ALL {
            let coded = Coder::new(algorithm, 1).unwrap().finish().unwrap();
            assert_eq!(decoded(algorithm.name(), &coded), b"", "{algorithm:?}");
            assert!(!coded.is_empty());
        }
    }

    #[test]
    fn so_many_are_compressed_at_once_and_no_more() {
        static OWN: Places = Places(AtomicU32::new(0));
        let mut places: Vec<_> = std::iter::from_fn(|| OWN.take()).collect();
        assert_eq!(places.len(), usize::try_from(CODERS_MAX).unwrap());
        places.pop();
        let again = OWN.take();
        assert!(again.is_some() && OWN.take().is_none());
    }
}
