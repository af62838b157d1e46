//! The request's host: exactly one, readable, compared in lower case and without its port.

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};

use super::error::ProxyError;

/// Longest host in bytes (RFC 1035, section 2.3.4), so that lower case fits a buffer on the stack.
const HOST_BYTES_MAX: usize = 255;

/// The host as the upstream gets it (with its port) and as routes compare it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// As the client sent it.
    pub(crate) value: HeaderValue,
    lower: [u8; HOST_BYTES_MAX],
    len: usize,
}

impl Host {
    /// Reads it from the target, else from the Host field: where both are there, the target wins in HTTP/1
    /// (RFC 9112, section 3.2.2), and they must agree in HTTP/2 (RFC 9113, section 8.3.1).
    ///
    /// # Errors
    /// [`ProxyError::HostMissing`], [`ProxyError::HostBad`].
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap, version: http::Version) -> Result<Self, ProxyError> {
        let field = headers.get(header::HOST);
        // In HTTP/1 the inspector has looked.
        let is_repeated = || headers.get_all(header::HOST).iter().nth(1).is_some();
        if version == http::Version::HTTP_2 && field.is_some() && is_repeated() {
            return Err(ProxyError::HostBad);
        }
        let value = match (uri.authority(), field) {
            (None, None) => return Err(ProxyError::HostMissing),
            (None, Some(field)) => field.clone(),
            (Some(authority), field) => {
                let differs = field.is_some_and(|field| {
                    !field
                        .as_bytes()
                        .eq_ignore_ascii_case(authority.as_str().as_bytes())
                });
                if differs && version == http::Version::HTTP_2 {
                    return Err(ProxyError::HostBad);
                }
                value_of(authority)?
            }
        };
        let name = name(value.as_bytes()).ok_or(ProxyError::HostBad)?;
        let mut lower = [0; HOST_BYTES_MAX];
        let len = name.len();
        let into = lower.get_mut(..len).ok_or(ProxyError::HostBad)?;
        into.copy_from_slice(name);
        into.make_ascii_lowercase();
        Ok(Self { value, lower, len })
    }

    /// Lower case, without port and without a dot at the end.
    pub(crate) fn name(&self) -> &str {
        let bytes = self.lower.get(..self.len).unwrap_or_default();
        // Only ASCII passed `name`.
        str::from_utf8(bytes).unwrap_or_default()
    }
}

fn value_of(authority: &Authority) -> Result<HeaderValue, ProxyError> {
    HeaderValue::from_str(authority.as_str()).map_err(|_| ProxyError::HostBad)
}

/// The host's name, if the whole is `name[:port]` with characters of a host.
fn name(host: &[u8]) -> Option<&[u8]> {
    let (name, port) = if host.first() == Some(&b'[') {
        let end = host.iter().position(|&b| b == b']')?;
        let (name, rest) = host.split_at_checked(end + 1)?;
        let inside = name.get(1..end)?;
        let literal = inside
            .iter()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        if inside.is_empty() || !literal {
            return None;
        }
        (name, rest)
    } else {
        let end = host.iter().position(|&b| b == b':').unwrap_or(host.len());
        let (name, rest) = host.split_at_checked(end)?;
        let name = name.strip_suffix(b".").unwrap_or(name);
        let plain = name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
        if name.is_empty() || !plain {
            return None;
        }
        (name, rest)
    };
    match port.split_first() {
        None => Some(name),
        Some((b':', digits)) => {
            // `parse` would take a sign, too.
            let plain = digits.iter().all(u8::is_ascii_digit);
            let port = str::from_utf8(digits).ok()?.parse::<u16>();
            (plain && port.is_ok()).then_some(name)
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;

    fn read(uri: &str, hosts: &[&str], version: Version) -> Result<String, ProxyError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        Host::read(&uri.parse().unwrap(), &headers, version).map(|host| host.name().to_owned())
    }

    #[test]
    fn one_readable_host_or_a_refusal() {
        let long = "a".repeat(256);
        let rows: &[(&str, &[&str], Result<&str, ProxyError>)] = &[
            ("/", &["A.Example"], Ok("a.example")),
            ("/", &["a.example:8080"], Ok("a.example")),
            ("/", &["a.example."], Ok("a.example")),
            ("/", &["[2001:DB8::1]:80"], Ok("[2001:db8::1]")),
            ("/", &["192.0.2.1"], Ok("192.0.2.1")),
            ("http://b.example/x", &["a.example"], Ok("b.example")),
            ("/", &[], Err(ProxyError::HostMissing)),
            ("/", &[""], Err(ProxyError::HostBad)),
            ("/", &["a,b"], Err(ProxyError::HostBad)),
            ("/", &["user@a.example"], Err(ProxyError::HostBad)),
            ("/", &["a.example/x"], Err(ProxyError::HostBad)),
            ("/", &["a.example:"], Err(ProxyError::HostBad)),
            ("/", &["a.example:70000"], Err(ProxyError::HostBad)),
            ("/", &["a.example:+1"], Err(ProxyError::HostBad)),
            ("/", &["[::1"], Err(ProxyError::HostBad)),
            ("/", &["[x]"], Err(ProxyError::HostBad)),
            ("/", &["[::1]x"], Err(ProxyError::HostBad)),
            ("/", &[&long], Err(ProxyError::HostBad)),
        ];
        for (uri, hosts, expected) in rows {
            let got = read(uri, hosts, Version::HTTP_11);
            assert_eq!(got.as_deref().map_err(|e| *e), *expected, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn http2_authority_and_host_must_agree() {
        assert_eq!(
            read("http://a.example/", &["A.example"], Version::HTTP_2),
            Ok("a.example".into())
        );
        assert_eq!(
            read("http://a.example/", &["b.example"], Version::HTTP_2),
            Err(ProxyError::HostBad)
        );
        assert_eq!(
            read("http://a.example/", &["a.example", "a.example"], Version::HTTP_2),
            Err(ProxyError::HostBad)
        );
    }
}
