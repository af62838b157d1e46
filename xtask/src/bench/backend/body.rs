//! The body of a request, which the backend reads only to be rid of it: by `Content-Length`, or in chunks.
//!
//! Pure: it is shown what has arrived, and says how much of that belongs to the body. What it is shown need not be
//! kept, except for a line that is not whole yet, which is bounded. Source: RFC 9112, sections 6 and 7.

use std::io::{self, ErrorKind};

/// Longest body, in bytes: the training's largest has 256 kB, and the gateway lets 8 MB through.
const BODY_BYTES_MAX: u64 = 16 * 1_024 * 1_024;
/// Longest line between chunks, in bytes: a size with its extensions, or a trailer.
const LINE_BYTES_MAX: usize = 1_024;
/// Trailers of one body, in lines: as many as the gateway lets through.
const TRAILERS_MAX: u32 = 100;

/// What is still to come of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// This many bytes.
    Length(u64),
    /// Chunks; this many bytes more are allowed in all of them.
    Chunks(Chunk, u64),
    /// Nothing.
    Whole,
}

/// What comes next of a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Chunk {
    /// A line with a size.
    Size,
    /// This many bytes of data, and behind them an end of line.
    Data(u64),
    /// Trailers, this many of which are allowed, or the empty line that ends it all.
    Trailers(u32),
}

impl Body {
    /// The body that a request's head announces.
    ///
    /// # Errors
    /// When it says so in a way that cannot be read, or announces too much.
    pub fn announced(head: &[u8]) -> io::Result<Self> {
        let mut body = Self::Whole;
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            let value = value.trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = number(value, 10).filter(|length| *length <= BODY_BYTES_MAX);
                body = Self::Length(length.ok_or_else(|| nonsense("a content-length"))?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(nonsense("a transfer-encoding"));
                }
                return Ok(Self::Chunks(Chunk::Size, BODY_BYTES_MAX));
            }
        }
        Ok(body)
    }

    /// Takes what belongs to the body from the front of `input`, and says how many bytes that is.
    ///
    /// # Errors
    /// When the chunks cannot be read, or are too much.
    pub fn discard(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let (taken, next) = match self {
                Self::Whole => return Ok(used),
                Self::Length(left) => {
                    let (taken, left) = part(*left, rest);
                    (taken, Self::Length(left))
                }
                Self::Chunks(Chunk::Data(left), allowed) if *left > 0 => {
                    let (taken, left) = part(*left, rest);
                    (taken, Self::Chunks(Chunk::Data(left), *allowed))
                }
                Self::Chunks(chunk, allowed) => match line(rest)? {
                    None => return Ok(used),
                    Some((line, taken)) => (taken, chunk.after(line, *allowed)?),
                },
            };
            *self = if next == Self::Length(0) {
                Self::Whole
            } else {
                next
            };
            used += taken;
            if taken == 0 {
                return Ok(used);
            }
        }
    }
}

impl Chunk {
    /// What follows when `line`, without its end, was read.
    fn after(self, line: &[u8], allowed: u64) -> io::Result<Body> {
        match self {
            Self::Data(_) if line.is_empty() => Ok(Body::Chunks(Self::Size, allowed)),
            Self::Data(_) => Err(nonsense("the end of a chunk")),
            Self::Size => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                match number(digits.trim_ascii_end(), 16) {
                    Some(0) => Ok(Body::Chunks(Self::Trailers(TRAILERS_MAX), allowed)),
                    Some(size) if size <= allowed => Ok(Body::Chunks(Self::Data(size), allowed - size)),
                    _ => Err(nonsense("the size of a chunk")),
                }
            }
            Self::Trailers(_) if line.is_empty() => Ok(Body::Whole),
            Self::Trailers(0) => Err(nonsense("so many trailers")),
            Self::Trailers(more) => Ok(Body::Chunks(Self::Trailers(more - 1), allowed)),
        }
    }
}

/// How much of `rest` belongs to `left` bytes, and what is left then.
fn part(left: u64, rest: &[u8]) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (taken, left.saturating_sub(taken as u64))
}

/// The first line, without its end, and how long it is with it; nothing while its end is not there.
fn line(rest: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let mut halves = rest.splitn(2, |byte| *byte == b'\n');
    match (halves.next(), halves.next()) {
        (Some(line), Some(_)) if line.len() <= LINE_BYTES_MAX => match line.strip_suffix(b"\r") {
            Some(bare) => Ok(Some((bare, line.len() + 1))),
            None => Err(nonsense("the end of a line")),
        },
        (_, None) if rest.len() <= LINE_BYTES_MAX => Ok(None),
        _ => Err(nonsense("so long a line")),
    }
}

/// Digits and nothing else.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, radix).ok())?
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the backend does not understand {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_how_the_body_ends() {
        let rows: [(&str, Option<Body>, &str); 8] = [
            ("", Some(Body::Whole), "no word of a body"),
            ("Content-Length: 12", Some(Body::Length(12)), "a length"),
            (
                "content-length:0",
                Some(Body::Length(0)),
                "a length of nothing, in small letters",
            ),
            (
                "Transfer-Encoding: chunked",
                Some(Body::Chunks(Chunk::Size, BODY_BYTES_MAX)),
                "chunks",
            ),
            ("Transfer-Encoding: gzip", None, "a coding that it does not know"),
            ("Content-Length: +1", None, "a length with a sign"),
            ("Content-Length: 16777217", None, "a length beyond the bound"),
            (
                "Content-Length: 99999999999999999999",
                None,
                "a length beyond all bounds",
            ),
        ];
        for (field, expected, description) in rows {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            assert_eq!(Body::announced(head.as_bytes()).ok(), expected, "{description}");
        }
    }

    /// Shows `input` in pieces of `size`, keeping what was not taken; what is left at the end.
    fn left(mut body: Body, input: &[u8], size: usize) -> io::Result<Option<Vec<u8>>> {
        let mut kept = Vec::new();
        for piece in input.chunks(size) {
            kept.extend_from_slice(piece);
            let used = body.discard(&kept)?;
            kept.drain(..used);
            assert!(kept.len() <= LINE_BYTES_MAX + size);
        }
        Ok((body == Body::Whole).then_some(kept))
    }

    #[test]
    fn a_body_ends_where_it_says_however_it_arrives() {
        let chunks = || Body::Chunks(Chunk::Size, 40);
        let rows: [(Body, &str, Option<&str>, &str); 9] = [
            (Body::Length(5), "helloGET", Some("GET"), "a length"),
            (Body::Length(0), "GET", Some("GET"), "no byte at all"),
            (Body::Length(9), "hello", None, "half of it"),
            (chunks(), "5\r\nhello\r\n0\r\n\r\nGET", Some("GET"), "one chunk"),
            (
                chunks(),
                "5;a=b\r\nhello\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n",
                Some(""),
                "two, an extension, a trailer",
            ),
            (chunks(), "0\r\n\r\n", Some(""), "no chunk"),
            (
                chunks(),
                "5\r\nhello\r\n0\r\n",
                None,
                "all but the last empty line",
            ),
            (
                chunks(),
                "2\r\n\r\n\r\n0\r\n\r\n",
                Some(""),
                "data that looks like an end of line",
            ),
            (
                chunks(),
                "28\r\n0123456789012345678901234567890123456789\r\n0\r\n\r\n",
                Some(""),
                "all that is allowed",
            ),
        ];
        for (body, input, expected, description) in rows {
            for size in [1, 2, 7, 1_000] {
                let found = left(body.clone(), input.as_bytes(), size).unwrap();
                if let (Some(found), Some(expected)) = (&found, expected) {
                    // What came after the end with the same piece or later was never taken.
                    assert_eq!(found, expected.as_bytes(), "{description}, in pieces of {size}");
                }
                assert_eq!(
                    found.is_some(),
                    expected.is_some(),
                    "{description}, in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn nonsense_and_excess_are_refused() {
        let long = "1".repeat(LINE_BYTES_MAX + 2);
        let trailers = format!("0\r\n{}", "X: y\r\n".repeat(102));
        let rows = [
            ("x\r\n", "a size that is no number"),
            ("\r\n", "no size"),
            ("-1\r\n", "a size with a sign"),
            ("5\nhello", "a line without its carriage return"),
            ("2\r\nhello\r\n", "data that is longer than its size"),
            (
                "20\r\n01234567890123456789012345678901\r\n20\r\n",
                "more than is allowed",
            ),
            (
                "ffffffffffffffff\r\n",
                "a size that would overflow what is allowed",
            ),
            (long.as_str(), "a line without end"),
            (trailers.as_str(), "too many trailers"),
        ];
        for (input, description) in rows {
            for size in [1, 1_000_000] {
                let outcome = left(Body::Chunks(Chunk::Size, 40), input.as_bytes(), size);
                assert!(outcome.is_err(), "{description}, in pieces of {size}");
            }
        }
    }
}
