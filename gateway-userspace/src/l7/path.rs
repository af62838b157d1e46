//! The request's path, brought to one form: what is matched, authorised and logged is what is forwarded.
//!
//! Refused are bad escapes, encoded or raw control characters and spaces, and dot segments that lead above the root.
//! Escapes of unreserved characters are decoded, the others get upper-case digits; characters that no URI has raw
//! (8-bit, backslash, braces and the like) are escaped; then dot segments are resolved, and at last slashes merged.
//! Escaped slashes stay what they are, data: whether a route takes them is for the caller to judge after the match.
//! The query is no concern of this file, which stands alone so that a fuzz target can include it.
//! Source: RFC 3986, sections 2.3, 3.3, 5.2.4 and 6.2.2.

use std::borrow::Cow;
use std::fmt;

/// A path in normal form: ASCII, nothing in it that could be read in two ways but an escaped slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal<'p> {
    /// With each row of slashes as one; borrowed where nothing had to be changed.
    pub merged: Cow<'p, str>,
    /// With its empty segments, only where that differs: for routes that say `merge_slashes = false`.
    pub unmerged: Option<Cow<'p, str>>,
    /// Whether `%2F` or `%5C` is in it.
    pub encoded_slash: Presence,
}

impl<'p> Normal<'p> {
    fn borrowed(path: &'p str) -> Self {
        Self {
            merged: Cow::Borrowed(path),
            unmerged: None,
            encoded_slash: Presence::Absent,
        }
    }
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    #[default]
    Absent,
    /// It is.
    Present,
}

/// Why a path cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It is neither `*` nor begins with a slash.
    NotAbsolute,
    /// A percent sign without two hexadecimal digits.
    Escape,
    /// A control character, raw or escaped, or a raw space, `?` or `#`.
    Character,
    /// Dot segments lead above the root.
    AboveRoot,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::Escape => "the path has a percent sign without two hexadecimal digits",
            Self::Character => "the path has a character that no path has",
            Self::AboveRoot => "the path leads above its root",
        })
    }
}

impl std::error::Error for PathFault {}

/// What a byte of a path calls for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing.
    Plain,
    Dot,
    Slash,
    Percent,
    /// To be escaped.
    Encoded,
    Refused,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Encoded; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        classes[byte as usize] = match byte {
            0..=b' ' | 0x7f | b'?' | b'#' => Class::Refused,
            b'.' => Class::Dot,
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            _ if is_unreserved(byte) => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                Class::Plain
            }
            _ => Class::Encoded,
        };
        byte += 1;
    }
    classes
}

/// Of a byte: whether it is a slash, whether it matters after one, whether it matters anywhere.
const SLASH: u8 = 1;
const AFTER_SLASH: u8 = 2;
const ANYWHERE: u8 = 4;

static MARKS: [u8; 256] = marks();

const fn marks() -> [u8; 256] {
    let classes = classes();
    let mut marks = [ANYWHERE; 256];
    let mut byte = 0;
    while byte < marks.len() {
        marks[byte] = match classes[byte] {
            Class::Plain => 0,
            Class::Slash => SLASH | AFTER_SLASH,
            Class::Dot => AFTER_SLASH,
            Class::Percent | Class::Encoded | Class::Refused => ANYWHERE,
        };
        byte += 1;
    }
    marks
}

/// Whether there is certainly nothing to do: most paths are settled by this pass, which has no branch inside.
fn is_plain(path: &str) -> bool {
    let (mut before, mut seen, mut doubtful) = (0, 0, 0);
    for byte in path.bytes() {
        let mark = MARKS.get(usize::from(byte)).copied().unwrap_or(ANYWHERE);
        seen |= mark;
        doubtful |= (before << 1) & mark;
        before = mark & SLASH;
    }
    (seen & ANYWHERE) | (doubtful & AFTER_SLASH) == 0
}

fn class(byte: u8) -> Class {
    // The table has every byte.
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Refused)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What one pass over the bytes found.
#[derive(Default)]
struct Seen {
    /// Escapes to decode or to write in upper case, or bytes to escape.
    rewritten: Presence,
    /// A segment that begins with a dot.
    dotted: Presence,
    /// Two slashes in a row.
    doubled: Presence,
    encoded_slash: Presence,
}

/// Brings a path, without its query, to normal form; `*` (of `OPTIONS *`) stays.
///
/// Allocates nothing where the path is in normal form already.
///
/// # Errors
/// Where it cannot be read, or only in more than one way.
pub fn normalise(path: &str) -> Result<Normal<'_>, PathFault> {
    if !path.starts_with('/') {
        return match path {
            "*" => Ok(Normal::borrowed(path)),
            _ => Err(PathFault::NotAbsolute),
        };
    }
    if is_plain(path) {
        return Ok(Normal::borrowed(path));
    }
    let seen = scan(path)?;
    let mut whole = Cow::Borrowed(path);
    if seen.rewritten == Presence::Present {
        whole = Cow::Owned(rewritten(path)?);
    }
    if seen.dotted == Presence::Present
        && let Some(resolved) = resolved(&whole)?
    {
        whole = Cow::Owned(resolved);
    }
    let merged = match seen.doubled {
        Presence::Present => merged(&whole),
        Presence::Absent => None,
    };
    let (merged, unmerged) = match merged {
        Some(merged) => (Cow::Owned(merged), Some(whole)),
        None => (whole, None),
    };
    Ok(Normal {
        merged,
        unmerged,
        encoded_slash: seen.encoded_slash,
    })
}

fn scan(path: &str) -> Result<Seen, PathFault> {
    let mut seen = Seen::default();
    let mut previous = Class::Plain;
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let mut class = class(byte);
        match class {
            Class::Plain => {}
            Class::Slash => {
                if previous == Class::Slash {
                    seen.doubled = Presence::Present;
                }
            }
            Class::Dot => {
                if previous == Class::Slash {
                    seen.dotted = Presence::Present;
                }
            }
            Class::Encoded => seen.rewritten = Presence::Present,
            Class::Refused => return Err(PathFault::Character),
            Class::Percent => {
                let (high, low) = (bytes.next(), bytes.next());
                let value = escaped(high, low)?;
                match value {
                    b'.' if previous == Class::Slash => seen.dotted = Presence::Present,
                    b'/' | b'\\' => seen.encoded_slash = Presence::Present,
                    _ => {}
                }
                let is_lower = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_lowercase());
                if is_unreserved(value) || is_lower(high) || is_lower(low) {
                    seen.rewritten = Presence::Present;
                }
                class = Class::Plain;
            }
        }
        previous = class;
    }
    Ok(seen)
}

/// What two digits stand for.
fn escaped(high: Option<u8>, low: Option<u8>) -> Result<u8, PathFault> {
    let digit = |digit: Option<u8>| {
        let digit = char::from(digit?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let high = digit(high).ok_or(PathFault::Escape)?;
    let low = digit(low).ok_or(PathFault::Escape)?;
    match high << 4 | low {
        0..0x20 | 0x7f => Err(PathFault::Character),
        value => Ok(value),
    }
}

/// With its escapes in normal form.
fn rewritten(path: &str) -> Result<String, PathFault> {
    let mut text = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match class(byte) {
            Class::Percent => match escaped(bytes.next(), bytes.next())? {
                value if is_unreserved(value) => text.push(char::from(value)),
                value => push_escape(&mut text, value),
            },
            Class::Encoded => push_escape(&mut text, byte),
            _ => text.push(char::from(byte)),
        }
    }
    Ok(text)
}

fn push_escape(text: &mut String, byte: u8) {
    let digit = |value: u8| {
        let digit = char::from_digit(u32::from(value), 16).unwrap_or('0');
        digit.to_ascii_uppercase()
    };
    text.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
}

/// Without dot segments; `None`: it has none. An empty segment is one like others here, as in RFC 3986.
fn resolved(path: &str) -> Result<Option<String>, PathFault> {
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    if !path.split('/').any(is_dots) {
        return Ok(None);
    }
    let mut text = String::with_capacity(path.len());
    let mut is_open = false;
    for segment in path.split('/').skip(1) {
        is_open = is_dots(segment);
        match segment {
            "." => {}
            ".." => {
                let parent = text.rfind('/').ok_or(PathFault::AboveRoot)?;
                text.truncate(parent);
            }
            _ => {
                text.push('/');
                text.push_str(segment);
            }
        }
    }
    if is_open {
        text.push('/');
    }
    Ok(Some(text))
}

/// With each row of slashes as one; `None`: each is alone already.
fn merged(path: &str) -> Option<String> {
    if !path.contains("//") {
        return None;
    }
    let mut text = String::with_capacity(path.len());
    for part in path.split_inclusive('/') {
        if part != "/" || text.is_empty() {
            text.push_str(part);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_form_or_is_refused() {
        use PathFault::{AboveRoot, Character, Escape, NotAbsolute};
        let rows: &[(&str, Result<&str, PathFault>, &str)] = &[
            ("/", Ok("/"), "the root"),
            ("/a/b", Ok("/a/b"), "nothing to do"),
            ("/a/b/", Ok("/a/b/"), "a slash at the end says something"),
            ("*", Ok("*"), "OPTIONS *"),
            ("", Err(NotAbsolute), "nothing"),
            ("a", Err(NotAbsolute), "relative"),
            ("**", Err(NotAbsolute), "no asterisk form"),
            // Escapes.
            (
                "/%7Euser/%41%2d%5F%2e1",
                Ok("/~user/A-_.1"),
                "unreserved are decoded",
            ),
            ("/a%3a%c3%a4", Ok("/a%3A%C3%A4"), "hexadecimal in upper case"),
            ("/a%20b%25%3F%23", Ok("/a%20b%25%3F%23"), "others stay"),
            (
                "/a!$&'()*+,;=:@-._~",
                Ok("/a!$&'()*+,;=:@-._~"),
                "what may stand raw",
            ),
            ("/%21%2A", Ok("/%21%2A"), "reserved ones may mean something"),
            ("/%252e%252e/", Ok("/%252e%252e/"), "decoded once only"),
            ("/%", Err(Escape), "no digits"),
            ("/a%2", Err(Escape), "one digit"),
            ("/%zz", Err(Escape), "no hexadecimal"),
            ("/%+1", Err(Escape), "a sign is no digit"),
            ("/%%32e", Err(Escape), "an escape inside an escape"),
            ("/%u0041", Err(Escape), "no other coding"),
            ("/%00", Err(Character), "NUL"),
            ("/a%0d%0aSet-Cookie:%20x", Err(Character), "CR LF"),
            ("/%1f", Err(Character), "control"),
            ("/%7F", Err(Character), "DEL"),
            // Raw.
            ("/a b", Err(Character), "a space"),
            ("/a\tb", Err(Character), "a tab"),
            ("/a\0", Err(Character), "a raw NUL"),
            ("/\u{7f}", Err(Character), "a raw DEL"),
            ("/a?b", Err(Character), "a query is not for here"),
            ("/a#b", Err(Character), "nor is a fragment"),
            ("/ä/\u{ff}", Ok("/%C3%A4/%C3%BF"), "8-bit"),
            ("/a\\..\\b", Ok("/a%5C..%5Cb"), "a backslash is no separator"),
            (
                "/{a}|\"<>[]^`",
                Ok("/%7Ba%7D%7C%22%3C%3E%5B%5D%5E%60"),
                "not in any URI",
            ),
            // Dot segments.
            ("/a/./b", Ok("/a/b"), "one dot"),
            ("/a/../b", Ok("/b"), "two dots"),
            ("/a/b/..", Ok("/a/"), "two at the end name a directory"),
            ("/a/b/.", Ok("/a/b/"), "one at the end"),
            ("/.", Ok("/"), "the root itself"),
            ("/a/..", Ok("/"), "back to the root"),
            ("/a/b/../../c", Ok("/c"), "two levels"),
            ("/a/%2e%2E/b", Ok("/b"), "escaped dots"),
            ("/a/.%2e/b/%2e", Ok("/b/"), "half escaped"),
            ("/.well-known/x", Ok("/.well-known/x"), "a name with a dot"),
            ("/a/...", Ok("/a/..."), "three dots are a name"),
            ("/..a/b..", Ok("/..a/b.."), "so are these"),
            ("/a/..;/b", Ok("/a/..;/b"), "parameters make it a name"),
            ("/..", Err(AboveRoot), "above"),
            ("/../", Err(AboveRoot), "above with a slash"),
            ("/a/../..", Err(AboveRoot), "above after a way down"),
            ("/a/../../a/b", Err(AboveRoot), "and back again"),
            ("/%2e%2e/etc/passwd", Err(AboveRoot), "above, escaped"),
        ];
        for (path, expected, why) in rows {
            let got = normalise(path);
            let got = got.as_ref().map(|normal| &*normal.merged).map_err(|fault| *fault);
            assert_eq!(got, *expected, "{why}: {path:?}");
        }
    }

    #[test]
    fn slashes_are_merged_and_kept_beside_it() {
        let rows = [
            ("/a//b", "/a/b", Some("/a//b"), "two"),
            ("//", "/", Some("//"), "nothing but slashes"),
            ("///a////", "/a/", Some("///a////"), "everywhere"),
            (
                "//a.example/x",
                "/a.example/x",
                Some("//a.example/x"),
                "looks like a host",
            ),
            ("/a/b", "/a/b", None, "no difference, no copy"),
            (
                "/a//../b",
                "/a/b",
                None,
                "the empty segment is what two dots take away",
            ),
            ("/a/..//b", "/b", Some("//b"), "an empty segment after them"),
            ("//..", "/", None, "an empty segment is below the root"),
            ("/a//.", "/a/", Some("/a//"), "one dot at the end"),
            (
                "/%41//%2F",
                "/A/%2F",
                Some("/A//%2F"),
                "escaped ones are no separators",
            ),
        ];
        for (path, merged, unmerged, why) in rows {
            let normal = normalise(path).unwrap();
            assert_eq!(normal.merged, merged, "{why}: {path:?}");
            assert_eq!(normal.unmerged.as_deref(), unmerged, "{why}: {path:?}");
        }
    }

    #[test]
    fn escaped_slashes_stay_and_are_reported() {
        let rows = [
            ("/a%2Fb", "/a%2Fb", Presence::Present),
            ("/a%2fb", "/a%2Fb", Presence::Present),
            ("/a%5cb", "/a%5Cb", Presence::Present),
            ("/%2e%2e%2f", "/..%2F", Presence::Present),
            ("/@scope%2Fname/../x", "/x", Presence::Present),
            ("/a%252Fb", "/a%252Fb", Presence::Absent),
            ("/a/b", "/a/b", Presence::Absent),
        ];
        for (path, text, encoded_slash) in rows {
            let normal = normalise(path).unwrap();
            assert_eq!(normal.merged, text, "{path:?}");
            assert_eq!(normal.encoded_slash, encoded_slash, "{path:?}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed_and_stays() {
        let pieces = [
            "/", "//", ".", "..", "%2e", "%2F", "%5c", "a", "Z", "%41", "%c3%a4", "ä", "\\", "{x}", "~",
            "%20",
        ];
        // Every path of up to four pieces: the same invariants as in the fuzz target.
        let mut paths = vec![String::from("/")];
        for _ in 0..4 {
            let longer: Vec<_> = paths
                .iter()
                .flat_map(|path| pieces.iter().map(move |piece| format!("{path}{piece}")))
                .collect();
            paths = longer;
            for path in &paths {
                let Ok(normal) = normalise(path) else { continue };
                let forms = std::iter::once(&normal.merged).chain(&normal.unmerged);
                for form in forms {
                    assert!(form.starts_with('/') && form.is_ascii(), "{path:?}: {form:?}");
                    assert!(
                        !form.split('/').any(|s| s == "." || s == ".."),
                        "{path:?}: {form:?}"
                    );
                    let again = normalise(form).unwrap();
                    let text = again.unmerged.as_ref().unwrap_or(&again.merged);
                    assert_eq!(text, form, "{path:?}");
                    assert!(matches!(text, Cow::Borrowed(_)), "{path:?}: no copy without need");
                }
                assert!(!normal.merged.contains("//"), "{path:?}: {:?}", normal.merged);
                if let Some(unmerged) = &normal.unmerged {
                    assert!(unmerged.contains("//"), "{path:?}: {unmerged:?}");
                    assert_eq!(normalise(unmerged).unwrap().merged, normal.merged, "{path:?}");
                }
            }
        }
    }
}
