//! `compression`: answers in a coding that the client takes.
//!
//! This file decides by heads alone and changes them; `compression/coder.rs` has the codecs, and who leads the answer back
//! sends its body through one. Sources: RFC 9110, sections 8.8.1 (weak tags), 12.5.3 (Accept-Encoding) and 12.5.5 (Vary);
//! RFC 9111, section 5.2 (no-transform); RFC 9530 (digests).

pub mod coder;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::vary::vary;
use super::{Asked, Mark, Reply, Step};
use coder::Coder;

/// How a body may be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

impl Algorithm {
    /// As Content-Encoding has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Whether clients mean it by that word; `x-gzip` is an old one.
    fn is_meant_by(self, word: &[u8]) -> bool {
        word.eq_ignore_ascii_case(self.name().as_bytes())
            || (self == Self::Gzip && word.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// Types of content, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Types {
    /// One: `text/html`.
    One(String),
    /// All of a kind, with its slash: `text/`.
    Kind(String),
}

impl Types {
    fn has(&self, essence: &[u8]) -> bool {
        match self {
            Self::One(one) => essence.eq_ignore_ascii_case(one.as_bytes()),
            Self::Kind(kind) => starts_with(essence, kind),
        }
    }
}

/// Whether content of that type is never compressed, whatever is listed: it is delivered event by event, and frames its
/// messages, or compresses them, itself.
pub fn is_never_compressed(essence: &[u8]) -> bool {
    essence.eq_ignore_ascii_case(b"text/event-stream") || starts_with(essence, "application/grpc")
}

fn starts_with(essence: &[u8], start: &str) -> bool {
    let head = essence.get(..start.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

/// `compression`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Not empty; where the client likes several as much, the first of them.
    pub algorithms: Vec<Algorithm>,
    /// Bytes of a body at least, where its length is known.
    pub min_bytes: u64,
    /// What is worth it.
    pub types: Vec<Types>,
    /// 1 to 6.
    pub level: u8,
}

/// In which coding a client would have the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// As it is.
    Plain,
    /// In that one.
    Coded(Algorithm),
}

/// What does not hold for the coded body: ranges of bytes, and digests.
const UNTRUE: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// What clients weigh codings by: thousandths, 0 to 1,000.
type Weight = u16;
const WEIGHT_MAX: Weight = 1_000;

impl Compression {
    /// Reads what the client takes. Endpoints are told, too: what they code themselves stays as it is.
    pub fn request(&self, asked: &Asked<'_>, mark: &mut Mark) -> Step {
        let head = &asked.head;
        let wish = if head.method == Method::HEAD || forbids_change(&head.headers) {
            Wish::Plain
        } else {
            self.wish(&head.headers)
        };
        *mark = Mark::Coding(wish);
        Step::Next
    }

    /// Has the body compressed, if it may be and the client likes it.
    pub fn response(&self, wish: Wish, reply: &mut Reply<'_>) {
        if reply.status == StatusCode::NOT_MODIFIED {
            // The answer that it stands for may have been one of several.
            return vary(reply.headers, "Accept-Encoding");
        }
        if !self.may(reply) {
            return;
        }
        vary(reply.headers, "Accept-Encoding");
        let Wish::Coded(algorithm) = wish else { return };
        // Else as many are compressed as the node has memory for.
        let Some(coder) = Coder::new(algorithm, self.level) else {
            return;
        };
        for name in UNTRUE {
            reply.headers.remove(name);
        }
        weaken(reply.headers);
        let name = HeaderValue::from_static(algorithm.name());
        reply.headers.insert(header::CONTENT_ENCODING, name);
        reply.coder = Some(coder);
    }

    /// Whether that answer would be compressed for some client.
    fn may(&self, reply: &Reply<'_>) -> bool {
        let has_content = !reply.status.is_informational()
            && !matches!(
                reply.status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
            );
        let headers = &*reply.headers;
        let is_changed = headers.contains_key(header::CONTENT_ENCODING)
            || headers.contains_key(header::CONTENT_RANGE)
            || forbids_change(headers);
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
        let is_long = announced
            .or(reply.length)
            .is_none_or(|bytes: u64| bytes >= self.min_bytes);
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let essence = content_type.and_then(|value| value.split(|byte| *byte == b';').next());
        let is_worth_it = essence.map(<[u8]>::trim_ascii).is_some_and(|essence| {
            self.types.iter().any(|types| types.has(essence)) && !is_never_compressed(essence)
        });
        has_content && !is_changed && is_long && is_worth_it
    }

    /// The coding of ours that the client likes best. What it says nothing of it does not take.
    fn wish(&self, headers: &HeaderMap) -> Wish {
        if !headers.contains_key(header::ACCEPT_ENCODING) {
            return Wish::Plain;
        }
        let mut best = (plain_weight(headers), Wish::Plain);
        for algorithm in &self.algorithms {
            let named = weight(headers, |word| algorithm.is_meant_by(word));
            let weight = named
                .or_else(|| weight(headers, |word| word == b"*"))
                .unwrap_or(0);
            let is_better = match best.1 {
                // At the same weight the client would rather have fewer bytes.
                Wish::Plain => weight > 0 && weight >= best.0,
                Wish::Coded(_) => weight > best.0,
            };
            if is_better {
                best = (weight, Wish::Coded(*algorithm));
            }
        }
        best.1
    }
}

/// How much the client likes the answer as it is; nothing where it does not say so, for then it is but what is left.
fn plain_weight(headers: &HeaderMap) -> Weight {
    weight(headers, |word| word.eq_ignore_ascii_case(b"identity")).unwrap_or(0)
}

/// How much the client likes the first coding that is meant.
fn weight(headers: &HeaderMap, is_meant: impl Fn(&[u8]) -> bool) -> Option<Weight> {
    let fields = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let mut members = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.find_map(|member| {
        let mut parts = member.splitn(2, |byte| *byte == b';');
        let word = parts.next()?.trim_ascii();
        if !is_meant(word) {
            return None;
        }
        // What cannot be read is not taken.
        Some(parts.next().map_or(WEIGHT_MAX, |text| quality(text).unwrap_or(0)))
    })
}

/// `q=0.5` in thousandths. Source: RFC 9110, section 12.4.2.
fn quality(text: &[u8]) -> Option<Weight> {
    let (name, value) = text.trim_ascii().split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths: Weight = match whole {
        b'0' => 0,
        b'1' => WEIGHT_MAX,
        _ => return None,
    };
    let mut place = 100;
    for digit in digits {
        let digit = char::from(*digit).to_digit(10)?;
        thousandths += Weight::try_from(digit).ok()? * place;
        place /= 10;
    }
    (thousandths <= WEIGHT_MAX).then_some(thousandths)
}

/// Whether the message says `no-transform`.
fn forbids_change(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::CACHE_CONTROL).into_iter();
    let mut words = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// The coded body is as good as the other, and not the same byte for byte.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else {
        return;
    };
    if !tag.as_bytes().starts_with(b"W/") {
        let weak = [b"W/", tag.as_bytes()].concat();
        match HeaderValue::from_bytes(&weak) {
            Ok(weak) => drop(headers.insert(header::ETAG, weak)),
            // Cannot be: what was a value is one with two letters more.
            Err(_) => drop(headers.remove(header::ETAG)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;

    fn compression(algorithms: &[Algorithm]) -> Compression {
        Compression {
            algorithms: algorithms.to_vec(),
            min_bytes: 1_024,
            types: vec![
                Types::One("application/json".to_owned()),
                Types::Kind("text/".to_owned()),
            ],
            level: 4,
        }
    }

    const ALL: [Algorithm; 3] = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

    fn fields(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn clients_get_what_they_like_best() {
        let rows: [(&[&'static str], &[Algorithm], &str); 26] = [
            (&[], &ALL, "-"),
            (&[""], &ALL, "-"),
            (&["gzip"], &ALL, "gzip"),
            (&["x-gzip"], &ALL, "gzip"),
            (&["GZip, BR"], &ALL, "br"),
            (&["gzip, deflate, br, zstd"], &ALL, "zstd"),
            (
                &["gzip, deflate, br, zstd"],
                &[Algorithm::Gzip, Algorithm::Brotli],
                "gzip",
            ),
            (&["gzip", "br"], &ALL, "br"),
            (&["gzip;q=1.0, br;q=0.9"], &ALL, "gzip"),
            (&["gzip;q=0.001, br; q=0.002"], &ALL, "br"),
            (&["gzip ; Q=1"], &ALL, "gzip"),
            (&["gzip;q=0"], &ALL, "-"),
            (&["gzip;q=0.000"], &ALL, "-"),
            (&["*"], &ALL, "zstd"),
            (&["zstd;q=0, *"], &ALL, "br"),
            (&["*;q=0, gzip"], &ALL, "gzip"),
            (&["*;q=0.1, gzip;q=0.5"], &ALL, "gzip"),
            (&["identity"], &ALL, "-"),
            (&["identity, gzip;q=0.5"], &ALL, "-"),
            (&["identity;q=0.5, gzip;q=0.5"], &ALL, "gzip"),
            (&["identity;q=0, deflate"], &ALL, "-"),
            (&["deflate"], &ALL, "-"),
            (&["gzip;q=2, br;q=0.1"], &ALL, "br"),
            (&["gzip;q=0.1234, br;q=0.1"], &ALL, "br"),
            (&["gzip;q=1.001"], &ALL, "-"),
            (&["gzip;x=1"], &ALL, "-"),
        ];
        for (values, ours, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            let got = match compression(ours).wish(&headers) {
                Wish::Plain => "-",
                Wish::Coded(algorithm) => algorithm.name(),
            };
            assert_eq!(got, expected, "{values:?}");
        }
    }

    #[test]
    fn heads_and_unchangeable_answers_are_asked_for_as_they_are() {
        let rows = [
            ("GET", "no-cache", Wish::Coded(Algorithm::Gzip)),
            ("POST", "", Wish::Coded(Algorithm::Gzip)),
            ("HEAD", "", Wish::Plain),
            ("GET", "max-age=0, No-Transform", Wish::Plain),
        ];
        for (method, cache_control, expected) in rows {
            let request = http::Request::builder().method(method);
            let request = request
                .header("accept-encoding", "gzip")
                .header("cache-control", cache_control);
            let mut head = request.body(()).unwrap().into_parts().0;
            let mut mark = Mark::default();
            let step = compression(&ALL).request(&asked(&mut head, "192.0.2.1"), &mut mark);
            assert_eq!(step, Step::Next);
            assert!(
                matches!(mark, Mark::Coding(wish) if wish == expected),
                "{method} {cache_control}: {mark:?}"
            );
            assert!(
                head.headers.contains_key("accept-encoding"),
                "endpoints may code, too"
            );
        }
    }

    /// Whether an answer is compressed, and what its fields are then.
    fn answer(status: u16, length: Option<u64>, wish: Wish, headers: &mut HeaderMap) -> bool {
        let mut reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            length,
            coder: None,
        };
        compression(&ALL).response(wish, &mut reply);
        reply.coder.is_some()
    }

    #[test]
    fn what_is_worth_it_and_may_be_changed_is_compressed() {
        type Fields = &'static [(&'static str, &'static str)];
        const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
        let rows: [(u16, Option<u64>, Fields, bool, bool); 22] = [
            // Status, length, fields; whether it is compressed, whether it varies.
            (200, None, &[HTML], true, true),
            (200, Some(1_024), &[HTML], true, true),
            (200, Some(1_023), &[HTML], false, false),
            (200, Some(0), &[HTML, ("content-length", "5000")], true, true),
            (200, None, &[HTML, ("content-length", "1023")], false, false),
            (404, None, &[HTML], true, true),
            (500, None, &[("content-type", "Application/JSON")], true, true),
            (
                200,
                None,
                &[("content-type", "application/json-seq")],
                false,
                false,
            ),
            (200, None, &[("content-type", "image/png")], false, false),
            (200, None, &[], false, false),
            (200, None, &[("content-type", "text/event-stream")], false, false),
            (
                200,
                None,
                &[("content-type", "text/event-stream; x=y")],
                false,
                false,
            ),
            (101, None, &[HTML], false, false),
            (204, None, &[HTML], false, false),
            (205, None, &[HTML], false, false),
            (206, None, &[HTML], false, false),
            (304, None, &[], false, true),
            (200, None, &[HTML, ("content-range", "bytes 0-1/2")], false, false),
            (200, None, &[HTML, ("content-encoding", "gzip")], false, false),
            (200, None, &[HTML, ("content-encoding", "identity")], false, false),
            (
                200,
                None,
                &[HTML, ("cache-control", "public, no-transform")],
                false,
                false,
            ),
            (200, None, &[HTML, ("cache-control", "public")], true, true),
        ];
        for (status, length, given, is_coded, varies) in rows {
            for wish in [Wish::Coded(Algorithm::Gzip), Wish::Plain] {
                let mut headers = fields(given);
                let got = answer(status, length, wish, &mut headers);
                assert_eq!(
                    got,
                    is_coded && wish != Wish::Plain,
                    "{status} {length:?} {given:?} {wish:?}"
                );
                assert_eq!(
                    headers.contains_key("vary"),
                    varies,
                    "{status} {given:?} {wish:?}"
                );
                let coding = headers.get("content-encoding").filter(|_| got);
                assert_eq!(coding.is_some_and(|coding| coding == "gzip"), got, "{given:?}");
            }
        }
        let all = Types::Kind("application/".to_owned());
        assert!(all.has(b"application/grpc+proto") && is_never_compressed(b"application/grpc+proto"));
    }

    #[test]
    fn fields_that_are_not_true_any_more_go_and_tags_become_weak() {
        let mut headers = fields(&[
            ("content-type", "text/css"),
            ("content-length", "5000"),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("digest", "x"),
            ("content-digest", "x"),
            ("repr-digest", "x"),
            ("etag", "\"a\""),
            ("vary", "Origin, accept-encoding"),
            ("last-modified", "x"),
        ]);
        assert!(answer(200, None, Wish::Coded(Algorithm::Brotli), &mut headers));
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        let expected = [
            "content-encoding: br",
            "content-type: text/css",
            "etag: W/\"a\"",
            "last-modified: x",
            "vary: Origin, accept-encoding",
        ];
        assert_eq!(left, expected);
        let mut weak = fields(&[("content-type", "text/css"), ("etag", "W/\"a\"")]);
        assert!(answer(200, None, Wish::Coded(Algorithm::Zstd), &mut weak));
        assert_eq!(weak["etag"], "W/\"a\"");
        let mut plain = fields(&[
            ("content-type", "text/css"),
            ("etag", "\"a\""),
            ("content-length", "5000"),
        ]);
        assert!(!answer(200, None, Wish::Plain, &mut plain));
        assert_eq!(
            (&plain["etag"], &plain["content-length"]),
            (&"\"a\"".parse().unwrap(), &"5000".parse().unwrap())
        );
    }
}
