//! A request from the words of a question: what a client would send for that URL.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, header};

use crate::config::snapshot::Scheme;
use crate::explain::Unanswerable;
use crate::explain::request::{CLIENT, Question};
use crate::l7::error::ProxyError;

/// What is asked for.
pub(super) struct Asked {
    method: Method,
    /// As the request line has it.
    pub(super) target: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// Of the URL, where it has one.
    pub(super) scheme: Option<Scheme>,
    /// Of the URL, without its port.
    pub(super) host: Option<String>,
    /// As the URL names it.
    pub(super) port: Option<u16>,
    /// Who connects.
    pub(super) client: IpAddr,
}

impl Asked {
    /// Reads it.
    ///
    /// # Errors
    /// What cannot be read, and what to write.
    pub(super) fn read(question: &Question) -> Result<Self, Unanswerable> {
        let method = Method::from_bytes(question.method.as_bytes())
            .map_err(|_| unreadable("method", &question.method, "write a method, as in GET"))?;
        let mut fields = Vec::new();
        for (name, value) in &question.headers {
            let read = HeaderName::from_bytes(name.as_bytes()).ok();
            let read = read.zip(HeaderValue::from_bytes(value.as_bytes()).ok());
            let wrong = || {
                let text = format!("{name}: {value}");
                unreadable("header", &text, "write it as in 'x-tenant: blue'")
            };
            fields.push(read.ok_or_else(wrong)?);
        }
        let url = question.url.as_str();
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("http://") {
            (Some(Scheme::Http), rest)
        } else if let Some(rest) = url.strip_prefix("https://") {
            (Some(Scheme::Https), rest)
        } else if url.starts_with('/') || url == "*" {
            (None, url)
        } else {
            let remedy = "write http://HOST/PATH, https://HOST/PATH, a path alone, or *";
            return Err(unreadable("URL", url, remedy));
        };
        // What follows a `#` no client sends.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = match scheme {
            Some(_) => rest.find(['/', '?']).unwrap_or(rest.len()),
            None => 0,
        };
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (host, port) =
            split_port(authority).ok_or_else(|| unreadable("URL", url, "write a port from 1 to 65535"))?;
        if scheme.is_some() && !fields.iter().any(|(name, _)| *name == header::HOST) {
            let host = HeaderValue::from_str(authority);
            let host = host.map_err(|_| unreadable("URL", url, "write a host"))?;
            fields.insert(0, (header::HOST, host));
        }
        Ok(Self {
            method,
            target: if target.starts_with('/') || target == "*" {
                target.to_owned()
            } else {
                format!("/{target}")
            },
            fields,
            scheme,
            host: scheme.map(|_| host.to_owned()),
            port,
            client: question.client.unwrap_or(CLIENT).to_canonical(),
        })
    }

    /// The name that a client asks for in its handshake: never an address.
    pub(super) fn name(&self) -> Option<&str> {
        let host = self.host.as_deref()?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_err().then_some(host)
    }

    /// The URL's host, if it is an address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let host = self.host.as_deref()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The head as it comes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// The head as hyper hands it on.
    ///
    /// # Errors
    /// [`ProxyError::PathBad`]: its target is none.
    pub(super) fn head(&self) -> Result<Parts, ProxyError> {
        let mut head = Request::new(()).into_parts().0;
        head.method = self.method.clone();
        head.uri = self.target.parse().map_err(|_| ProxyError::PathBad)?;
        for (name, value) in &self.fields {
            head.headers.append(name, value.clone());
        }
        Ok(head)
    }
}

fn unreadable(what: &str, text: &str, remedy: &str) -> Unanswerable {
    Unanswerable(format!("the {what} {text:?} cannot be read: {remedy}"))
}

/// A host, in brackets where it is IPv6, and its port; `None`: what follows the colon is none.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at_checked(end)?;
    match rest.strip_prefix(':') {
        None => rest.is_empty().then_some((host, None)),
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .map(|port| (host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, headers: &[(&str, &str)]) -> Result<Asked, Unanswerable> {
        Asked::read(&Question {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Question::default()
        })
    }

    #[test]
    fn urls_become_what_a_client_sends() {
        let rows = [
            (
                "http://a.example",
                "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n",
                None,
            ),
            (
                "https://a.example:8443/x?y=1#z",
                "GET /x?y=1 HTTP/1.1\r\nhost: a.example:8443\r\n\r\n",
                Some(8443),
            ),
            (
                "http://[2001:db8::1]:81?q",
                "GET /?q HTTP/1.1\r\nhost: [2001:db8::1]:81\r\n\r\n",
                Some(81),
            ),
            ("/a//b", "GET /a//b HTTP/1.1\r\n\r\n", None),
            ("*", "GET * HTTP/1.1\r\n\r\n", None),
        ];
        for (url, bytes, port) in rows {
            let asked = read(url, &[]).unwrap();
            assert_eq!(String::from_utf8(asked.bytes()).unwrap(), bytes, "{url}");
            assert_eq!(asked.port, port, "{url}");
        }
        let named = read("http://a.example/", &[("Host", "b.example")]).unwrap();
        assert_eq!(named.bytes(), b"GET / HTTP/1.1\r\nhost: b.example\r\n\r\n");
        assert_eq!(named.name(), Some("a.example"));
        let address = read("https://[2001:db8::1]/", &[]).unwrap();
        assert_eq!((address.name(), address.address().is_some()), (None, true));
    }

    #[test]
    fn what_no_client_could_send_is_refused_with_what_to_write() {
        for (url, headers, wanted) in [
            ("a.example/x", &[][..], "write http://HOST/PATH"),
            ("http://a.example:x/", &[], "write a port"),
            ("http://a.example:0/", &[], "write a port"),
            ("/", &[("x y", "1")], "write it as in"),
            ("/", &[("x", "a\nb")], "write it as in"),
        ] {
            match read(url, headers) {
                Ok(_) => panic!("{url} was read"),
                Err(error) => assert!(error.to_string().contains(wanted), "{url}: {error}"),
            }
        }
    }
}
