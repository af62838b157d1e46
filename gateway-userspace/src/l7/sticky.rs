//! The cookie by which a client stays with an endpoint: read from a request and taken out, set on an answer.
//!
//! What its values are, `config/snapshot/sticky.rs` knows. Source: RFC 6265, sections 4.1 and 4.2; what it does is what
//! HAProxy calls `insert indirect nocache`.

use http::header::{self, Entry};
use http::{HeaderMap, HeaderValue};

use crate::config::snapshot::Sticky;

/// The endpoint that a request's cookie names, if one does; all cookies of that name go, for they are none of the
/// endpoint's business.
pub(super) fn take(headers: &mut HeaderMap, sticky: &Sticky) -> Option<usize> {
    let Entry::Occupied(mut fields) = headers.entry(header::COOKIE) else {
        return None;
    };
    let mut named = None;
    let mut is_there = false;
    for value in fields
        .iter()
        .flat_map(pairs)
        .filter_map(|pair| value_of(pair, sticky))
    {
        is_there = true;
        named = named.or_else(|| sticky.names(value));
    }
    if !is_there {
        return None;
    }
    let kept: Vec<HeaderValue> = fields.iter().filter_map(|field| without(field, sticky)).collect();
    let mut kept = kept.into_iter();
    match kept.next() {
        Some(first) => {
            fields.insert(first);
            kept.for_each(|value| fields.append(value));
        }
        None => drop(fields.remove_entry_mult()),
    }
    named
}

fn pairs(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field
        .as_bytes()
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
}

fn value_of<'p>(pair: &'p [u8], sticky: &Sticky) -> Option<&'p [u8]> {
    pair.strip_prefix(sticky.cookie().as_bytes())?.strip_prefix(b"=")
}

/// The field without that cookie; `None` where nothing is left.
fn without(field: &HeaderValue, sticky: &Sticky) -> Option<HeaderValue> {
    let others = pairs(field).filter(|pair| !pair.is_empty() && value_of(pair, sticky).is_none());
    let rest = others.collect::<Vec<_>>().join(&b"; "[..]);
    // Parts of a valid value are valid.
    HeaderValue::from_bytes(&rest)
        .ok()
        .filter(|rest| !rest.is_empty())
}

/// Makes the client stay. What one client is told is nothing for a cache that many share.
pub(super) fn set(headers: &mut HeaderMap, cookie: &HeaderValue) {
    headers.append(header::SET_COOKIE, cookie.clone());
    let is_ours_alone = |directive: &[u8]| {
        let directive = directive.trim_ascii();
        directive.eq_ignore_ascii_case(b"private") || directive.eq_ignore_ascii_case(b"no-store")
    };
    let is_private = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .any(|value| value.as_bytes().split(|byte| *byte == b',').any(is_ours_alone));
    if !is_private {
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::StickySettings;
    use crate::l7::headers::map;

    fn sticky() -> Sticky {
        let settings = StickySettings::plain([1; 32]);
        let addresses = ["10.0.1.1:80", "10.0.1.2:80"].map(|text| text.parse().unwrap());
        Sticky::new(&settings, "users", addresses.into_iter())
    }

    /// `srv=VALUE` of that endpoint.
    fn pair(sticky: &Sticky, endpoint: usize) -> String {
        let set = sticky.set_cookie(endpoint).unwrap().to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn cookie_is_read_and_goes_no_further() {
        let sticky = sticky();
        let [one, two] = [0, 1].map(|endpoint| pair(&sticky, endpoint));
        type Row<'r> = (&'r [&'r str], Option<usize>, &'r [&'r str], &'r str);
        let rows: &[Row<'_>] = &[
            (&[], None, &[], "no cookies"),
            (&["a=1; b=2"], None, &["a=1; b=2"], "others stay as they are"),
            (&["a=1;b=2;"], None, &["a=1;b=2;"], "to the letter"),
            (&[&two], Some(1), &[], "alone"),
            (
                &[&format!("a=1; {one}; b=2")],
                Some(0),
                &["a=1; b=2"],
                "in the middle",
            ),
            (&[&format!("a=1;{one}")], Some(0), &["a=1"], "without blanks"),
            (&["a=1", &one, "b=2"], Some(0), &["a=1", "b=2"], "crumbs"),
            (&["srv=10.0.1.1:80; a=1"], None, &["a=1"], "foreign"),
            (&["srv="], None, &[], "empty"),
            (
                &[&format!("srv=x; {two}; {one}")],
                Some(1),
                &[],
                "the first that is known",
            ),
            (
                &["srvx=1; xsrv=2; srv"],
                None,
                &["srvx=1; xsrv=2; srv"],
                "other names",
            ),
            (&["Srv=1"], None, &["Srv=1"], "names have a case"),
        ];
        for (fields, named, left, why) in rows {
            let fields: Vec<_> = fields.iter().map(|value| ("cookie", *value)).collect();
            let mut headers = map(&fields);
            headers.insert("accept", HeaderValue::from_static("*/*"));
            assert_eq!(take(&mut headers, &sticky), *named, "{why}");
            let rest: Vec<_> = headers.get_all("cookie").iter().collect();
            assert_eq!(rest, *left, "{why}");
            assert!(headers.contains_key("accept"));
        }
    }

    #[test]
    fn answers_that_set_it_are_for_no_shared_cache() {
        let cookie = HeaderValue::from_static("srv=x");
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &["private"]),
            (&["max-age=60, public"], &["max-age=60, public", "private"]),
            (&["private=\"x-a\""], &["private=\"x-a\"", "private"]),
            (&["max-age=60, Private"], &["max-age=60, Private"]),
            (&["max-age=0", "no-store"], &["max-age=0", "no-store"]),
        ];
        for (before, after) in rows {
            let fields: Vec<_> = before.iter().map(|value| ("cache-control", *value)).collect();
            let mut headers = map(&fields);
            headers.insert("set-cookie", HeaderValue::from_static("own=1"));
            set(&mut headers, &cookie);
            let seen: Vec<_> = headers.get_all("cache-control").iter().collect();
            assert_eq!(seen, *after);
            let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
            assert_eq!(cookies, ["own=1", "srv=x"]);
        }
    }
}
