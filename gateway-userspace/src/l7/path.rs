//! The request's path, read once: what is matched is what is forwarded.
//!
//! Refused are bad percent escapes, an encoded or raw NUL or control character, and dot segments that lead above
//! the root. Dot segments are resolved (RFC 3986, section 5.2.4), encoded dots too, for an upstream would otherwise
//! serve what no route here was asked for. The whole rules (unreserved escapes, slashes) are a later issue.

use std::borrow::Cow;

use super::error::ProxyError;

/// The path to match and forward; borrowed where nothing had to be resolved.
///
/// # Errors
/// [`ProxyError::PathBad`].
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, ProxyError> {
    if !path.starts_with('/') {
        return Err(ProxyError::PathBad);
    }
    let mut dotted = false;
    let mut after_slash = false;
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let mut is_dot = byte == b'.';
        match byte {
            0..=b' ' | 0x7f => return Err(ProxyError::PathBad),
            b'%' => {
                let high = bytes.next().and_then(digit).ok_or(ProxyError::PathBad)?;
                let low = bytes.next().and_then(digit).ok_or(ProxyError::PathBad)?;
                let value = high << 4 | low;
                if value < b' ' || value == 0x7f {
                    return Err(ProxyError::PathBad);
                }
                is_dot = value == b'.';
            }
            _ => {}
        }
        dotted |= is_dot && after_slash;
        after_slash = byte == b'/';
    }
    if dotted {
        resolve(path)
    } else {
        Ok(Cow::Borrowed(path))
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Takes out dot segments; borrowed if no segment that begins with a dot is one.
fn resolve(path: &str) -> Result<Cow<'_, str>, ProxyError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut changed = false;
    let mut open_end = false;
    for segment in path.split('/').skip(1) {
        let dots = dots(segment);
        open_end = dots.is_some();
        match dots {
            Some(1) => {}
            Some(_) => {
                kept.pop().ok_or(ProxyError::PathBad)?;
            }
            None => kept.push(segment),
        }
        changed |= open_end;
    }
    if !changed {
        return Ok(Cow::Borrowed(path));
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in &kept {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if open_end || resolved.is_empty() {
        resolved.push('/');
    }
    Ok(Cow::Owned(resolved))
}

/// How many dots the segment is, if it is one or two and nothing else.
fn dots(segment: &str) -> Option<u8> {
    let mut count = 0;
    let mut rest = segment;
    while !rest.is_empty() {
        let encoded = rest
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case("%2e"));
        rest = match rest.strip_prefix('.') {
            Some(after) => after,
            None if encoded => rest.get(3..)?,
            None => return None,
        };
        count += 1;
        if count > 2 {
            return None;
        }
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_matched_is_resolved_and_the_unreadable_is_refused() {
        let rows = [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a/./b", Some("/a/b")),
            ("/a/../b", Some("/b")),
            ("/a/b/..", Some("/a/")),
            ("/a/b/.", Some("/a/b/")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a/.%2e/b", Some("/b")),
            ("/.well-known/x", Some("/.well-known/x")),
            ("/a/...", Some("/a/...")),
            ("/..a", Some("/..a")),
            ("/a//b", Some("/a//b")),
            ("/a%20b", Some("/a%20b")),
            ("/..", None),
            ("/a/../..", None),
            ("/%2e%2e/etc/passwd", None),
            ("/%", None),
            ("/%2", None),
            ("/%zz", None),
            ("/%00", None),
            ("/a%0ab", None),
            ("*", None),
            ("", None),
        ];
        for (path, expected) in rows {
            let got = normalise(path);
            assert_eq!(got.as_deref().ok(), expected, "{path:?}");
        }
        assert!(
            matches!(normalise("/a/.b"), Ok(Cow::Borrowed(_))),
            "no copy without need"
        );
    }
}
