//! Why a head or body is refused: the reason, its class, and what the client gets.
//!
//! Reasons are the values of the metric label and of the access-log field; each names one cause.

use std::fmt;

/// Whether a setting may admit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It can be read in two ways, or not at all: refused in every mode.
    Framing,
    /// It is wrong, but can be read in one way only: what happens is for the listener's mode to say.
    Syntax,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $class:ident, $status:literal, $option:expr, $sentence:literal;)*) => {
        /// Why a head or body is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $variant,)*
        }

        impl Refusal {
            /// Every one, in the order of [`Refusal::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code: metric label, and access-log field.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Whether a setting may admit it.
            pub fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// What a client gets for such a request. A response that is refused is a 502 to the client, whatever
            /// this says.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The listener's option that would admit it, as the log names it; `None`: nothing does.
            pub fn admitted_by(self) -> Option<&'static str> {
                match self { $(Self::$variant => $option,)* }
            }

            fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

/// What admits faults of syntax.
const LENIENT: Option<&str> = Some("mode = \"lenient\"");

refusals! {
    /// Both ways of saying where the body ends.
    LengthAndEncoding = "length-and-encoding", Framing, 400, None, "the message has both Content-Length and Transfer-Encoding";
    /// Even where all are equal.
    ContentLengthRepeated = "content-length-repeated", Framing, 400, None, "the message has more than one Content-Length";
    /// A list, a sign, a leading zero, no digits, or too many.
    ContentLengthBad = "content-length-bad", Framing, 400, None, "Content-Length is not one plain number";
    /// Repeated, with parameters, or not ending in chunked.
    TransferEncodingBad = "transfer-encoding-bad", Framing, 400, None, "Transfer-Encoding is not exactly `chunked`";
    /// Readable, but with codings before chunked that nobody here decodes.
    TransferEncodingUnknown = "transfer-encoding-unknown", Framing, 501, None, "Transfer-Encoding names a coding other than `chunked`";
    /// HTTP/1.0 has none.
    TransferEncodingOld = "transfer-encoding-old", Framing, 400, None, "Transfer-Encoding in an HTTP/1.0 message";
    /// `Host : a`.
    SpaceBeforeColon = "space-before-colon", Framing, 400, None, "a field's name is followed by space";
    /// A field line that begins with space.
    Folding = "folding", Framing, 400, None, "a field is folded over several lines";
    /// A byte of value 0.
    Nul = "nul", Framing, 400, None, "the head has a NUL";
    /// Not followed by a line feed.
    BareCr = "bare-cr", Framing, 400, None, "the head has a carriage return inside a line";
    /// Other control characters.
    Control = "control-character", Framing, 400, None, "the head has a control character";
    /// No colon, no name, or characters that no name has.
    FieldBad = "field-bad", Framing, 400, None, "a field has no readable name";
    /// Required in HTTP/1.1; in HTTP/1.0 the target may name it.
    HostMissing = "host-missing", Framing, 400, None, "the request names no host";
    /// Even where both are equal.
    HostRepeated = "host-repeated", Framing, 400, None, "the request has more than one Host";
    /// Empty, a list, user information, a path, a bad port or bracket.
    HostBad = "host-bad", Framing, 400, None, "the request's host cannot be read";
    /// A sign, a prefix, space, no digits, or too many.
    ChunkSizeBad = "chunk-size-bad", Framing, 400, None, "a chunk's size is not a plain hexadecimal number";
    /// Of all chunks of one body together.
    ChunkExtensionsLong = "chunk-extensions-long", Framing, 400, None, "the chunks have more than 1 kB of extensions";
    /// A control character in them.
    ChunkExtensionBad = "chunk-extension-bad", Framing, 400, None, "a chunk's extension has a control character";
    /// After a chunk's size or data.
    ChunkBareLf = "chunk-bare-lf", Framing, 400, None, "a chunk's line ends in a bare line feed";
    /// More data than the size says.
    ChunkEndBad = "chunk-end-bad", Framing, 400, None, "a chunk is longer than its size says";
    /// A field after the last chunk that no head may have either.
    TrailerBad = "trailer-bad", Framing, 400, None, "a trailer field cannot be read";
    /// More than 8 kB of them, or more fields than a head may have.
    TrailerLarge = "trailer-large", Framing, 431, None, "the trailer fields are too large";
    /// More fields than the listener takes.
    FieldsTooMany = "fields-too-many", Framing, 431, Some("fields_max"), "the head has too many fields";
    /// More bytes than the listener takes.
    HeadTooLarge = "head-too-large", Framing, 431, Some("head_bytes_max"), "the head is too large";
    /// More bytes than the listener takes.
    TargetTooLong = "target-too-long", Framing, 414, Some("target_bytes_max"), "the request's target is too long";
    /// Not `METHOD TARGET VERSION` with one space between each.
    RequestLineBad = "request-line-bad", Framing, 400, None, "the request line cannot be read";
    /// Of no form that its method may have, or with characters that no target has.
    TargetBad = "target-bad", Framing, 400, None, "the request's target cannot be read";
    /// Neither 1.0 nor 1.1.
    VersionUnsupported = "version-unsupported", Framing, 505, None, "the message is neither HTTP/1.0 nor HTTP/1.1";
    /// Answers would show fields that were not meant to be shown.
    MethodTrace = "method-trace", Framing, 405, None, "TRACE is refused";
    /// `*` is for OPTIONS.
    TargetAsterisk = "target-asterisk", Framing, 400, None, "the target `*` is for OPTIONS alone";
    /// CONNECT has no body, and what follows it is the tunnel's.
    ConnectBody = "connect-body", Framing, 400, None, "a CONNECT request announces a body";
    /// Other than 100-continue.
    ExpectUnknown = "expect-unknown", Framing, 417, None, "the request expects what nobody here can do";
    /// As the end of a line of a head.
    BareLf = "bare-lf", Syntax, 400, LENIENT, "a line of the head ends in a bare line feed";
    /// Clients keep fragments to themselves; what follows `#` is dropped.
    Fragment = "fragment", Syntax, 400, LENIENT, "the request's target has a fragment";
    /// Some servers take it for a slash.
    Backslash = "backslash", Syntax, 400, LENIENT, "the request's path has a backslash";
    /// Neither escaped nor ASCII.
    EightBit = "eight-bit", Syntax, 400, LENIENT, "the request's path has characters that are not ASCII";
    /// Methods are compared with their case.
    MethodLowerCase = "method-lower-case", Syntax, 400, LENIENT, "the request's method has lower-case letters";
    /// Upstreams that turn `-` into `_` take it for the field of that name.
    UnderscoreShadow = "underscore-shadow", Syntax, 400, LENIENT, "a field's name with an underscore shadows one of ours";
    /// Responses: not `HTTP/1.x CODE REASON`.
    StatusLineBad = "status-line-bad", Framing, 502, None, "the status line cannot be read";
    /// Responses: bytes that no request asked for, or after a body.
    Unsolicited = "unsolicited", Framing, 502, None, "bytes came that no request asked for";
    /// Responses: more than 100 of 1xx before a final one.
    InterimMany = "interim-many", Framing, 502, None, "interim responses do not end";
    /// Responses: the connection ended inside a head.
    HeadTruncated = "head-truncated", Framing, 502, None, "the connection ended inside a head";
    /// Responses: the connection ended inside a body.
    BodyTruncated = "body-truncated", Framing, 502, None, "the connection ended inside a body";
}

// `Noted` has a bit for each.
const _: () = assert!(Refusal::ALL.len() <= 64);

impl Refusal {
    /// Position in [`Refusal::ALL`], for tables of counters.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Refusal {}

/// Faults of syntax that the mode let through: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted(u64);

impl Noted {
    /// Adds one.
    pub fn add(&mut self, refusal: Refusal) {
        self.0 |= 1 << refusal.index();
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, once.
    pub fn iter(self) -> impl Iterator<Item = Refusal> {
        Refusal::ALL
            .iter()
            .copied()
            .filter(move |refusal| self.0 & (1 << refusal.index()) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_its_own_code_in_kebab_case() {
        let codes: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.reason()).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(refusal.index(), index);
            let kebab = |b: u8| b.is_ascii_lowercase() || b == b'-';
            assert!(refusal.reason().bytes().all(kebab), "{refusal:?}");
            assert!((400..600).contains(&refusal.status()), "{refusal:?}");
        }
    }

    #[test]
    fn all_of_syntax_and_nothing_of_framing_is_admitted_by_the_mode() {
        for refusal in Refusal::ALL {
            let by_mode = refusal
                .admitted_by()
                .is_some_and(|option| option.starts_with("mode"));
            assert_eq!(refusal.class() == Class::Syntax, by_mode, "{refusal:?}");
        }
    }

    #[test]
    fn a_set_holds_each_once() {
        let mut noted = Noted::default();
        assert!(noted.is_empty());
        for refusal in [Refusal::BareLf, Refusal::Fragment, Refusal::BareLf] {
            noted.add(refusal);
        }
        assert_eq!(
            noted.iter().collect::<Vec<_>>(),
            [Refusal::BareLf, Refusal::Fragment]
        );
    }
}
