//! `headers`: fields that are removed, set and added, in this order, on requests and on answers.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What is done to both heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// To what endpoints get.
    pub request: Edit,
    /// To what clients get.
    pub response: Edit,
}

/// What is done to one head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// All fields of these names go.
    pub remove: Vec<HeaderName>,
    /// One field takes the place of all of its name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Another field, whatever is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl Edit {
    /// Does it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Fields that frame a message, speak of one hop, or that the gateway vouches for.
const OWN: [&str; 18] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-gateway-node",
    "x-real-ip",
    "x-request-id",
];

/// Whether a field is the gateway's own, which no filter may touch. The name is in lower case.
pub fn is_own(name: &str) -> bool {
    OWN.contains(&name) || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(rows: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        rows.iter().map(field).collect()
    }

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields(rows) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        type Fields = &'static [(&'static str, &'static str)];
        type Row = (
            &'static [&'static str],
            Fields,
            Fields,
            Fields,
            Fields,
            &'static str,
        );
        let rows: [Row; 5] = [
            (&[], &[], &[], &[("x-a", "1")], &[("x-a", "1")], "nothing"),
            (
                &["x-a"],
                &[],
                &[],
                &[("x-a", "1"), ("x-b", "2"), ("x-a", "3")],
                &[("x-b", "2")],
                "all of a name go",
            ),
            (
                &[],
                &[("x-a", "9")],
                &[],
                &[("x-a", "1"), ("x-a", "2")],
                &[("x-a", "9")],
                "one in place of all",
            ),
            (
                &[],
                &[],
                &[("x-a", "9")],
                &[("x-a", "1")],
                &[("x-a", "1"), ("x-a", "9")],
                "one more",
            ),
            (
                &["x-a"],
                &[],
                &[("x-a", "9")],
                &[("x-a", "1")],
                &[("x-a", "9")],
                "removed first",
            ),
        ];
        for (remove, set, add, before, after, why) in rows {
            let edit = Edit {
                remove: remove.iter().copied().map(HeaderName::from_static).collect(),
                set: fields(set),
                add: fields(add),
            };
            let mut headers = map(before);
            edit.apply(&mut headers);
            assert_eq!(headers, map(after), "{why}");
        }
    }

    #[test]
    fn fields_of_the_gateway_are_known() {
        for name in [
            "host",
            "te",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x-request-id",
        ] {
            assert!(is_own(name), "{name}");
        }
        for name in ["x-forwarded", "hosts", "authorization", "set-cookie", "cookie"] {
            assert!(!is_own(name), "{name}");
        }
    }
}
