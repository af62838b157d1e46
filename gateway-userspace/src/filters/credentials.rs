//! What filters that authenticate share: what becomes of a client that is known, and of one that is not.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use super::{Asked, Denial, Mark, Step};

/// Names the client to endpoints; whatever a client writes there itself is replaced.
pub const CONSUMER: HeaderName = HeaderName::from_static("x-consumer");

/// The request is that consumer's.
pub(super) fn admit(asked: &mut Asked<'_>, consumer: &HeaderValue) -> Step {
    asked.head.headers.insert(CONSUMER, consumer.clone());
    asked.consumer = Some(consumer.clone());
    Step::Next
}

/// It is nobody's. Source: RFC 9110, section 11.6.1 (a 401 says how to do better).
pub(super) fn refuse(denial: Denial, challenge: &HeaderValue, mark: &mut Mark) -> Step {
    *mark = Mark::Challenge(challenge.clone());
    Step::Deny(denial)
}

/// The one field of that name.
///
/// # Errors
/// There is none, or there are several: servers disagree about which counts.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Denial> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Denial::CredentialsRefused),
        (None, _) => Err(Denial::CredentialsMissing),
    }
}

/// What follows that scheme in `Authorization`.
///
/// # Errors
/// As [`single`]; another scheme is none of ours.
pub(super) fn authorization<'h>(headers: &'h HeaderMap, scheme: &str) -> Result<&'h [u8], Denial> {
    let value = single(headers, &header::AUTHORIZATION)?.as_bytes();
    let (first, rest) = value.split_at_checked(scheme.len()).unwrap_or_default();
    let is_scheme = first.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first() == Some(&b' ');
    if is_scheme {
        Ok(rest.trim_ascii())
    } else {
        Err(Denial::CredentialsMissing)
    }
}

/// The one cookie of that name. Source: RFC 6265, section 4.2.1.
///
/// # Errors
/// As [`single`].
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h [u8], Denial> {
    let fields = headers.get_all(header::COOKIE).into_iter();
    let pairs = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    });
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Denial::CredentialsRefused),
        (None, _) => Err(Denial::CredentialsMissing),
    }
}

/// The one query parameter of that name, as it stands there.
///
/// # Errors
/// As [`single`].
pub(super) fn query<'u>(uri: &'u Uri, name: &str) -> Result<&'u str, Denial> {
    let mut values = pairs(uri).filter_map(|pair| value_of(pair, name));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Denial::CredentialsRefused),
        (None, _) => Err(Denial::CredentialsMissing),
    }
}

/// The target without that parameter; `None` where it cannot be one any more, which cannot be.
pub(super) fn without(uri: &Uri, name: &str) -> Option<Uri> {
    let kept: Vec<&str> = pairs(uri).filter(|pair| value_of(pair, name).is_none()).collect();
    let target = if kept.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), kept.join("&"))
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

fn pairs(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().into_iter().flat_map(|query| query.split('&'))
}

fn value_of<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    pair.strip_prefix(name)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stand_in_one_place_alone() {
        let rows: [(&[&str], Result<&str, Denial>); 8] = [
            (&["Basic abc"], Ok("abc")),
            (&["basic  abc "], Ok("abc")),
            (&["Basic "], Ok("")),
            (&["Basicabc"], Err(Denial::CredentialsMissing)),
            (&["Bearer abc"], Err(Denial::CredentialsMissing)),
            (&["B"], Err(Denial::CredentialsMissing)),
            (&[], Err(Denial::CredentialsMissing)),
            (&["Basic abc", "Basic abc"], Err(Denial::CredentialsRefused)),
        ];
        for (fields, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in fields {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            let expected = expected.map(str::as_bytes);
            assert_eq!(authorization(&headers, "Basic"), expected, "{fields:?}");
        }
    }

    #[test]
    fn parameters_are_read_and_taken_out() {
        let rows = [
            ("/a?key=1", Ok("1"), "/a"),
            ("/a?b=2&key=1&c=3", Ok("1"), "/a?b=2&c=3"),
            ("/a?keys=1&b", Err(Denial::CredentialsMissing), "/a?keys=1&b"),
            ("/a", Err(Denial::CredentialsMissing), "/a"),
            ("/a?key=1&key=2&b", Err(Denial::CredentialsRefused), "/a?b"),
            ("http://h.example/a?key=1", Ok("1"), "http://h.example/a"),
        ];
        for (target, expected, left) in rows {
            let uri: Uri = target.parse().unwrap();
            assert_eq!(query(&uri, "key"), expected, "{target}");
            assert_eq!(without(&uri, "key").unwrap().to_string(), left, "{target}");
        }
    }
}
