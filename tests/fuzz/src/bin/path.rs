//! Paths: one form, reached in one go, with nothing in it that could be read in two ways.

#![no_main]

use gateway_fuzz::gateway::l7::path::{self, Presence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(normal) = path::normalise(text) else {
        return;
    };
    let merged = normal.merged.as_ref();
    check(merged);
    assert!(!merged.contains("//"), "{text:?}: {merged:?}");
    let again = path::normalise(merged).expect("a normal path can be read");
    assert_eq!(again.merged, merged, "{text:?}");
    assert_eq!(again.unmerged, None, "{text:?}");
    let has_slash = merged.contains("%2F") || merged.contains("%5C");
    assert_eq!(again.encoded_slash == Presence::Present, has_slash, "{text:?}");
    // What dot segments took away had an escaped slash all the same. A raw backslash is escaped, but is none that a
    // client escaped: the mode has let it through already.
    if has_slash && !text.contains('\\') {
        assert_eq!(normal.encoded_slash, Presence::Present, "{text:?}");
    }
    if let Some(unmerged) = normal.unmerged.as_deref() {
        check(unmerged);
        assert_ne!(unmerged, merged, "{text:?}");
        let again = path::normalise(unmerged).expect("a normal path can be read");
        assert_eq!(again.unmerged.as_deref(), Some(unmerged), "{text:?}");
        assert_eq!(again.merged, merged, "{text:?}");
    }
});

/// What holds for both forms.
fn check(path: &str) {
    if path == "*" {
        return;
    }
    assert!(path.starts_with('/'), "{path:?}");
    assert!(
        path.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte)),
        "{path:?}"
    );
    assert!(
        !path.split('/').any(|segment| matches!(segment, "." | "..")),
        "{path:?}"
    );
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).expect("two digits");
        let is_upper = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        assert!(digits.bytes().all(is_upper), "{path:?}");
        let value = u8::from_str_radix(digits, 16).expect("hexadecimal");
        let unreserved = value.is_ascii_alphanumeric() || b"-._~".contains(&value);
        assert!(!unreserved && !value.is_ascii_control(), "{path:?}");
    }
}
