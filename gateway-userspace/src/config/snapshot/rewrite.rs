//! Where a request is sent instead: another host or path for the upstream (`rewrite`), or for the client (`redirect`).
//!
//! Source: the Kubernetes Gateway API v1, HTTPURLRewriteFilter and HTTPRequestRedirectFilter.

use std::fmt;

use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::router::PathPattern;

/// `route.rewrite`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The host that the upstream is asked for; `None`: the client's.
    pub host: Option<HeaderValue>,
    /// The path that it is asked for.
    pub path: NewPath,
}

/// `route.redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `None`: the one that the client came by.
    pub scheme: Option<Scheme>,
    /// `None`: the one that the client asked for.
    pub host: Option<String>,
    /// `None`: that of `scheme`, or else the one that the client asked for.
    pub port: Option<u16>,
    /// The path.
    pub path: NewPath,
}

/// `redirect.scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With it.
    Https,
}

/// What becomes of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NewPath {
    /// It stays.
    #[default]
    Same,
    /// Another one.
    Whole(Template),
    /// Another one for the prefix that the route matches; the rest stays.
    Prefix {
        /// The prefix; empty for `/`.
        of: String,
        /// What comes in its place; empty for `/`.
        with: String,
    },
}

/// A path with parameters of the one that is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// That segment of the path.
    Segment(usize),
}

/// Why a template cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateFault {
    /// A brace without its other half.
    Brace,
    /// A parameter that the pattern does not have.
    Unknown(String),
}

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'r> {
    /// How it came.
    pub scheme: Scheme,
    /// The host, with its port if it has one.
    pub host: &'r str,
    /// As it was matched.
    pub path: &'r str,
    /// Without the question mark.
    pub query: Option<&'r str>,
}

impl Scheme {
    /// As it stands before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Redirect {
    /// What `Location` says.
    pub fn location(&self, wanted: Wanted<'_>) -> String {
        let scheme = self.scheme.unwrap_or(wanted.scheme);
        let (asked, asked_port) = split_port(wanted.host);
        let host = self.host.as_deref().unwrap_or(asked);
        let inherited = asked_port.filter(|_| self.scheme.is_none());
        let port = self.port.or(inherited).filter(|port| *port != scheme.port());
        let same = if wanted.path == "*" { "/" } else { wanted.path };
        let path = self.path.of(same);
        let path = path.as_deref().unwrap_or(same);
        let mut text = format!("{}://{host}", scheme.as_str());
        if let Some(port) = port {
            text.push_str(&format!(":{port}"));
        }
        text.push_str(path);
        if let Some(query) = wanted.query {
            text.push('?');
            text.push_str(query);
        }
        text
    }
}

/// A host and its port.
fn split_port(host: &str) -> (&str, Option<u16>) {
    let name = match host.rsplit_once(':') {
        // The colon is inside an IPv6 address.
        Some((_, rest)) if rest.contains(']') => host,
        Some((name, _)) => name,
        None => host,
    };
    let port = host.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    (name, port.and_then(|port| port.parse().ok()))
}

impl NewPath {
    /// The path that takes the place of that one; `None`: it stays.
    pub fn of(&self, path: &str) -> Option<String> {
        if path == "*" {
            return None;
        }
        match self {
            Self::Same => None,
            Self::Whole(template) => Some(template.filled(path)),
            Self::Prefix { of, with } => {
                let rest = path.strip_prefix(of.as_str())?;
                let path = format!("{with}{rest}");
                Some(if path.is_empty() { "/".to_owned() } else { path })
            }
        }
    }
}

impl Template {
    /// Reads it; names in braces are parameters of that pattern.
    ///
    /// # Errors
    /// Braces that are not balanced, or a name that the pattern does not have.
    pub fn new(text: &str, pattern: &PathPattern) -> Result<Self, TemplateFault> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or(TemplateFault::Brace)?;
            if before.contains('}') || name.contains('{') {
                return Err(TemplateFault::Brace);
            }
            let position = position(name, pattern).ok_or_else(|| TemplateFault::Unknown(name.to_owned()))?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Segment(position));
            rest = after;
        }
        if rest.contains('}') {
            return Err(TemplateFault::Brace);
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        let text = text.into();
        Ok(Self { text, parts })
    }

    /// With the parameters of a path that matched: each is a whole segment of it, so that no dot segment comes of any.
    fn filled(&self, path: &str) -> String {
        let mut text = String::with_capacity(path.len());
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Segment(position) => path.split('/').nth(*position).unwrap_or_default(),
            });
        }
        text
    }
}

/// Which segment of a path that parameter is.
fn position(name: &str, pattern: &PathPattern) -> Option<usize> {
    let (PathPattern::Exact(text) | PathPattern::Prefix(text)) = pattern else {
        return None;
    };
    text.split('/').position(|segment| {
        let parameter = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        parameter == Some(name)
    })
}

impl fmt::Display for NewPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => Ok(()),
            Self::Whole(template) => f.write_str(&template.text),
            Self::Prefix { with, .. } => write!(f, "{with}/…"),
        }
    }
}

/// What is changed.
impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to ", self.status.as_u16())?;
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.as_str())?;
        }
        f.write_str(self.host.as_deref().unwrap_or_default())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.path.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(of: &str, with: &str) -> NewPath {
        NewPath::Prefix {
            of: of.to_owned(),
            with: with.to_owned(),
        }
    }

    fn whole(text: &str, pattern: &str) -> NewPath {
        NewPath::Whole(Template::new(text, &PathPattern::Exact(pattern.to_owned())).unwrap())
    }

    #[test]
    fn prefixes_are_replaced_as_the_gateway_api_has_it() {
        let rows = [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo//bar", "/foo", "/x", "/x//bar"),
            ("/bar", "", "/xyz", "/xyz/bar"),
            ("/", "", "/xyz", "/xyz/"),
        ];
        for (path, of, with, expected) in rows {
            assert_eq!(prefix(of, with).of(path).unwrap(), expected, "{path} {of} {with}");
        }
        assert_eq!(prefix("", "/xyz").of("*"), None, "the whole server has no path");
    }

    #[test]
    fn templates_take_segments_as_they_stand() {
        let pattern = "/api/{version}/users/{id}";
        let rows = [
            ("/u/{id}", "/u/7%20x"),
            ("/{id}/{version}/{id}", "/7%20x/v1/7%20x"),
            ("/u-{id}.json", "/u-7%20x.json"),
            ("/plain", "/plain"),
            ("/{version}{id}", "/v17%20x"),
        ];
        for (text, expected) in rows {
            let path = whole(text, pattern).of("/api/v1/users/7%20x").unwrap();
            assert_eq!(path, expected, "{text}");
        }
        let pattern = PathPattern::Exact(pattern.to_owned());
        for (text, fault) in [
            ("/{no}", TemplateFault::Unknown("no".to_owned())),
            ("/{}", TemplateFault::Unknown(String::new())),
            ("/{id", TemplateFault::Brace),
            ("/id}", TemplateFault::Brace),
            ("/}{id}", TemplateFault::Brace),
            ("/{i{id}", TemplateFault::Brace),
        ] {
            assert_eq!(Template::new(text, &pattern), Err(fault), "{text}");
        }
    }

    #[test]
    fn what_a_redirect_does_not_say_the_request_does() {
        let same = Redirect {
            status: StatusCode::FOUND,
            scheme: None,
            host: None,
            port: None,
            path: NewPath::Same,
        };
        let https = Redirect {
            scheme: Some(Scheme::Https),
            ..same.clone()
        };
        let host = Redirect {
            host: Some("b.example".to_owned()),
            ..same.clone()
        };
        let port = |port| Redirect {
            port: Some(port),
            ..https.clone()
        };
        let path = Redirect {
            path: prefix("/a", "/b"),
            ..same.clone()
        };
        let rows = [
            (&same, "a.example", "/a/x?y=z", "http://a.example/a/x?y=z"),
            (&same, "a.example:8080", "/a", "http://a.example:8080/a"),
            (&same, "a.example:80", "/a", "http://a.example/a"),
            (&same, "[2001:db8::1]:81", "/a", "http://[2001:db8::1]:81/a"),
            (&same, "[2001:db8::1]", "/a", "http://[2001:db8::1]/a"),
            (&same, "a.example", "*", "http://a.example/"),
            (&https, "a.example:8080", "/a?", "https://a.example/a?"),
            (&host, "a.example:8080", "/a", "http://b.example:8080/a"),
            (&port(8443), "a.example:8080", "/a", "https://a.example:8443/a"),
            (&port(443), "a.example:8080", "/a", "https://a.example/a"),
            (&path, "a.example", "/a/x?y", "http://a.example/b/x?y"),
        ];
        for (redirect, host, target, expected) in rows {
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target, None),
            };
            let wanted = Wanted {
                scheme: Scheme::Http,
                host,
                path,
                query,
            };
            assert_eq!(redirect.location(wanted), expected, "{redirect} {host} {target}");
        }
    }
}
