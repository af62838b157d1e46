//! What a route may ask of a request beside host, path and method, and which of two such routes goes first.
//!
//! Of a field that stands there several times one value that fits is enough. Values of cookies are compared as they
//! stand, those of query parameters with their escapes resolved (`+` is a space), those of certificates as
//! [`Certificate`] has them.
//! Sources: the Kubernetes Gateway API v1, HTTPRouteMatch; RFC 6265, section 4.2.1; the URL standard's
//! `application/x-www-form-urlencoded`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::certificate::{Certificate, NameKind};
use super::expression::Expression;

/// What conditions look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// The request's fields.
    pub headers: &'r HeaderMap,
    /// Its query, without the question mark.
    pub query: Option<&'r str>,
    /// Who sent it, behind trusted proxies.
    pub client: IpAddr,
    /// Whether what its fields say of the client is believed.
    pub claims: Claims,
    /// Who the client is by its certificate, where its connection has shown one.
    pub certificate: Option<Certificate<'r>>,
}

/// Whether the fields by which proxies vouch for clients count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// A trusted proxy wrote them.
    Believed,
    /// Anybody may have: they are as good as absent.
    Ignored,
}

/// All that a route asks for; nothing in most routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Each must hold; no two of the same source.
    pub fields: Vec<Condition>,
    /// One must have the client; empty: every client.
    pub clients: Vec<IpNet>,
    /// One must hold of the names in the client's certificate; empty: it may have any, or no certificate.
    pub names: Vec<Condition>,
    /// What the whole path must match, where that is no pattern of segments.
    pub(super) path: Option<Expression>,
}

/// What is asked of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Where its values stand.
    pub source: Source,
    /// What one of them must be.
    pub test: Test,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a header field.
    Header(HeaderName),
    /// In a query parameter.
    Query(String),
    /// In a cookie.
    Cookie(String),
    /// It is the subject of the client's certificate.
    Subject,
    /// It is one of its alternative names.
    Name(NameKind),
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// That.
    Exact(String),
    /// It begins so.
    Prefix(String),
    /// The whole of it matches.
    Regex(Expression),
    /// There is one.
    Present,
    /// There is none.
    Absent,
}

/// How much a route asks for, in the order of precedence; the more goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    headers: u16,
    queries: u16,
    cookies: u16,
    certificate: u16,
    client: u16,
}

impl Conditions {
    /// Each of the fields must be so, and one of the networks have the client, if any are given.
    pub fn new(fields: Vec<Condition>, clients: Vec<IpNet>) -> Self {
        Self {
            fields,
            clients,
            ..Self::default()
        }
    }

    /// The same of clients with a certificate one of whose names is so.
    pub fn with_names(self, names: Vec<Condition>) -> Self {
        Self { names, ..self }
    }

    /// Whether every request will do.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.clients.is_empty() && self.names.is_empty() && self.path.is_none()
    }

    /// The same of paths that match an expression.
    pub(super) fn of_path(&self, path: &Expression) -> Self {
        Self {
            path: Some(path.clone()),
            ..self.clone()
        }
    }

    pub(super) fn hold(&self, path: &str, facts: &Facts<'_>) -> bool {
        let is_of = |network: &IpNet| network.contains(&facts.client.to_canonical());
        (self.clients.is_empty() || self.clients.iter().any(is_of))
            && self.fields.iter().all(|field| field.holds(facts))
            && (self.names.is_empty() || self.names.iter().any(|name| name.holds(facts)))
            && self
                .path
                .as_ref()
                .is_none_or(|wanted| wanted.is_match(path.as_bytes()))
    }

    pub(super) fn rank(&self) -> Rank {
        let mut rank = Rank {
            client: u16::from(!self.clients.is_empty()),
            certificate: u16::from(!self.names.is_empty()),
            ..Rank::default()
        };
        for field in &self.fields {
            let count = match field.source {
                Source::Header(_) => &mut rank.headers,
                Source::Query(_) => &mut rank.queries,
                Source::Cookie(_) => &mut rank.cookies,
                Source::Subject | Source::Name(_) => &mut rank.certificate,
            };
            *count = count.saturating_add(1);
        }
        rank
    }

    /// The values that it asks for, of which an index can be made.
    pub(super) fn exact(&self) -> impl Iterator<Item = (&Source, &str)> {
        // Of several names any will do: none of them tells where the route stands.
        let name = self.names.first().filter(|_| self.names.len() == 1);
        let fields = self.fields.iter().chain(name);
        fields.filter_map(|field| match &field.test {
            Test::Exact(value) => Some((&field.source, value.as_str())),
            _ => None,
        })
    }
}

/// The same text for the same conditions in whatever order.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.fields.iter().map(Condition::to_string).collect();
        parts.extend(self.clients.iter().map(|network| format!("client {network}")));
        let mut names: Vec<String> = self.names.iter().map(Condition::to_string).collect();
        names.sort_unstable();
        if !names.is_empty() {
            parts.push(names.join(" or "));
        }
        parts.extend(
            self.path
                .iter()
                .map(|path| format!("path_regex {:?}", path.text())),
        );
        parts.sort_unstable();
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Header(name) => write!(f, "header {name}")?,
            Source::Query(name) => write!(f, "query {name}")?,
            Source::Cookie(name) => write!(f, "cookie {name}")?,
            Source::Subject => f.write_str("certificate subject")?,
            Source::Name(kind) => write!(f, "certificate {kind}")?,
        }
        match &self.test {
            Test::Exact(value) => write!(f, " = {value:?}"),
            Test::Prefix(value) => write!(f, " = {value:?} and more"),
            Test::Regex(expression) => write!(f, " like {:?}", expression.text()),
            Test::Present => f.write_str(" present"),
            Test::Absent => f.write_str(" absent"),
        }
    }
}

impl Condition {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let any = |is_so: &dyn Fn(&[u8]) -> bool| self.source.any(facts, is_so);
        match &self.test {
            Test::Exact(wanted) => any(&|value| value == wanted.as_bytes()),
            Test::Prefix(wanted) => any(&|value| value.starts_with(wanted.as_bytes())),
            Test::Regex(expression) => any(&|value| expression.is_match(value)),
            Test::Present => any(&|_| true),
            Test::Absent => !any(&|_| true),
        }
    }
}

impl Source {
    /// Whether one of its values in a request is so; each is shown until one is.
    pub(super) fn any(&self, facts: &Facts<'_>, mut is_so: impl FnMut(&[u8]) -> bool) -> bool {
        match self {
            Self::Header(name) if facts.claims == Claims::Ignored && is_claim(name) => false,
            Self::Header(name) => {
                let mut values = facts.headers.get_all(name).iter();
                values.any(|value| is_so(value.as_bytes()))
            }
            Self::Query(name) => {
                let mut pairs = facts.query.unwrap_or_default().split('&');
                pairs.any(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    !pair.is_empty() && *decoded(key) == *name.as_bytes() && is_so(&decoded(value))
                })
            }
            Self::Cookie(name) => {
                let fields = facts.headers.get_all(header::COOKIE).iter();
                let mut pairs = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
                pairs.any(|pair| {
                    let rest = pair.trim_ascii().strip_prefix(name.as_bytes());
                    rest.and_then(|rest| rest.strip_prefix(b"="))
                        .is_some_and(&mut is_so)
                })
            }
            Self::Subject => facts
                .certificate
                .is_some_and(|certificate| is_so(certificate.subject.as_bytes())),
            Self::Name(kind) => {
                let names = facts.certificate.map_or(&[][..], |of| of.names(*kind));
                names.iter().any(|name| is_so(name.as_bytes()))
            }
        }
    }
}

/// Whether proxies vouch for clients by that field: from others it goes no further, so it counts for nothing.
fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
}

/// A part of a query without its escapes; what is none stays.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let escaped = match (digit(behind.first()), digit(behind.get(1))) {
            (Some(high), Some(low)) if *first == b'%' => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        bytes.push(match (escaped, first) {
            (Some(byte), _) => {
                rest = behind.get(2..).unwrap_or_default();
                byte
            }
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn header(name: &'static str) -> Source {
        Source::Header(HeaderName::from_static(name))
    }

    fn query(name: &str) -> Source {
        Source::Query(name.to_owned())
    }

    fn cookie(name: &str) -> Source {
        Source::Cookie(name.to_owned())
    }

    fn exact(value: &str) -> Test {
        Test::Exact(value.to_owned())
    }

    fn regex(text: &str) -> Test {
        Test::Regex(Expression::new(text).unwrap())
    }

    #[test]
    fn each_test_is_made_on_each_value() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-a", "one"),
            ("x-a", "two"),
            ("x-empty", ""),
            ("cookie", "sid=abc; q=\"z\""),
            ("cookie", " last=1=2;;x"),
            ("x-forwarded-proto", "https"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-bytes", HeaderValue::from_bytes(b"a\xff").unwrap());
        let facts = Facts {
            headers: &headers,
            query: Some("v=1&v=2&sp=a+b%20c&bad=%zz%4&flag&%76%31=yes&=none&e="),
            client: "192.0.2.7".parse().unwrap(),
            claims: Claims::Ignored,
            certificate: None,
        };
        let prefix = |value: &str| Test::Prefix(value.to_owned());
        let rows = [
            (header("x-a"), exact("one"), true),
            (header("x-a"), exact("two"), true),
            (header("x-a"), exact("on"), false),
            (header("x-a"), prefix("tw"), true),
            (header("x-a"), prefix("w"), false),
            (header("x-a"), regex("t.o"), true),
            (header("x-a"), regex("t"), false),
            (header("x-a"), Test::Present, true),
            (header("x-a"), Test::Absent, false),
            (header("x-empty"), Test::Present, true),
            (header("x-empty"), exact(""), true),
            (header("x-b"), Test::Present, false),
            (header("x-b"), Test::Absent, true),
            (header("x-b"), exact(""), false),
            (header("x-bytes"), prefix("a"), true),
            (header("x-forwarded-proto"), exact("https"), false),
            (header("x-forwarded-proto"), Test::Absent, true),
            (query("v"), exact("2"), true),
            (query("v"), exact("3"), false),
            (query("sp"), exact("a b c"), true),
            (query("bad"), exact("%zz%4"), true),
            (query("flag"), Test::Present, true),
            (query("flag"), exact(""), true),
            (query("v1"), exact("yes"), true),
            (query("e"), exact(""), true),
            (query("fla"), Test::Present, false),
            (cookie("sid"), exact("abc"), true),
            (cookie("si"), Test::Present, false),
            (cookie("q"), exact("\"z\""), true),
            (cookie("last"), exact("1=2"), true),
            (cookie("x"), Test::Present, false),
        ];
        for (source, test, expected) in rows {
            let condition = Condition { source, test };
            assert_eq!(condition.holds(&facts), expected, "{condition}");
        }
        let of_proxy = Facts {
            claims: Claims::Believed,
            ..facts
        };
        let claim = Condition {
            source: header("x-forwarded-proto"),
            test: exact("https"),
        };
        assert!(claim.holds(&of_proxy));
        let nothing = Facts { query: None, ..facts };
        assert!(!query("").any(&nothing, |_| true));
    }

    #[test]
    fn of_a_certificate_subject_and_one_of_the_names_are_tested_and_without_one_nothing_is_there() {
        let strings = |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.to_owned()).collect() };
        let (dns, uris) = (
            strings(&["a.example", "b.example"]),
            strings(&["spiffe://example.org/ns/a", "urn:x"]),
        );
        let emails = strings(&["robot@example.org"]);
        let headers = HeaderMap::new();
        let nobody = Facts {
            headers: &headers,
            query: None,
            client: "192.0.2.7".parse().unwrap(),
            claims: Claims::Ignored,
            certificate: None,
        };
        let somebody = Facts {
            certificate: Some(Certificate {
                subject: "CN=robot,O=Example",
                dns: &dns,
                uris: &uris,
                emails: &emails,
            }),
            ..nobody
        };
        let prefix = |value: &str| Test::Prefix(value.to_owned());
        let rows = [
            (Source::Subject, exact("CN=robot,O=Example"), true),
            (Source::Subject, exact("CN=robot"), false),
            (Source::Subject, prefix("CN=robot,"), true),
            (Source::Subject, regex("CN=[a-z]+,O=Example"), true),
            (Source::Subject, Test::Present, true),
            (Source::Subject, Test::Absent, false),
            (Source::Name(NameKind::Dns), exact("b.example"), true),
            (Source::Name(NameKind::Dns), exact("robot@example.org"), false),
            (Source::Name(NameKind::Uri), prefix("spiffe://example.org/"), true),
            (Source::Name(NameKind::Uri), exact("a.example"), false),
            (Source::Name(NameKind::Email), regex(".*@example.org"), true),
            (Source::Name(NameKind::Email), Test::Absent, false),
        ];
        for (source, test, expected) in rows {
            let condition = Condition { source, test };
            assert_eq!(condition.holds(&somebody), expected, "{condition}");
            let of_nobody = condition.test == Test::Absent;
            assert_eq!(condition.holds(&nobody), of_nobody, "{condition} of nobody");
        }
        let name = |kind, value| Condition {
            source: Source::Name(kind),
            test: exact(value),
        };
        let any = |names: &[Condition]| Conditions::default().with_names(names.to_vec());
        let (wrong, right) = (name(NameKind::Dns, "c.example"), name(NameKind::Uri, "urn:x"));
        assert!(any(&[wrong.clone(), right.clone()]).hold("/", &somebody));
        assert!(!any(std::slice::from_ref(&wrong)).hold("/", &somebody));
        assert!(!any(&[wrong.clone(), right.clone()]).hold("/", &nobody));
        let text = any(&[wrong.clone(), right.clone()]).to_string();
        assert_eq!(
            text,
            "certificate dns = \"c.example\" or certificate uri = \"urn:x\""
        );
        assert_eq!(text, any(&[right, wrong]).to_string());
    }

    #[test]
    fn clients_are_of_one_of_the_networks() {
        let conditions = Conditions {
            clients: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..Conditions::default()
        };
        let headers = HeaderMap::new();
        for (client, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            let facts = Facts {
                headers: &headers,
                query: None,
                client: client.parse().unwrap(),
                claims: Claims::Ignored,
                certificate: None,
            };
            assert_eq!(conditions.hold("/", &facts), expected, "{client}");
        }
    }

    #[test]
    fn headers_count_before_queries_before_cookies_before_certificates_before_clients() {
        let of = |sources: &[Source], clients: &[&str]| {
            let conditions = Conditions {
                fields: sources
                    .iter()
                    .map(|source| Condition {
                        source: source.clone(),
                        test: Test::Present,
                    })
                    .collect(),
                clients: clients.iter().map(|text| text.parse().unwrap()).collect(),
                ..Conditions::default()
            };
            conditions.rank()
        };
        let ordered = [
            of(&[header("x-a"), header("x-b")], &[]),
            of(&[header("x-a"), query("a"), query("b")], &[]),
            of(&[header("x-a"), query("a"), cookie("a")], &[]),
            of(&[header("x-a"), query("a")], &["10.0.0.0/8"]),
            of(&[header("x-a"), query("a")], &[]),
            of(&[query("a"), cookie("a"), cookie("b")], &["10.0.0.0/8", "::/0"]),
            of(&[cookie("a"), Source::Subject], &[]),
            of(&[cookie("a")], &["10.0.0.0/8"]),
            of(&[cookie("a")], &[]),
            of(&[Source::Subject], &["10.0.0.0/8"]),
            of(&[Source::Subject], &[]),
            of(&[], &["10.0.0.0/8"]),
            of(&[], &[]),
        ];
        assert!(ordered.is_sorted_by(|more, less| more > less), "{ordered:?}");
    }

    #[test]
    fn the_order_of_conditions_makes_no_difference_to_their_text() {
        let one = Condition {
            source: header("x-a"),
            test: exact("1"),
        };
        let other = Condition {
            source: query("b"),
            test: regex("2+"),
        };
        let of = |fields: [&Condition; 2]| Conditions {
            fields: fields.into_iter().cloned().collect(),
            ..Conditions::default()
        };
        let text = of([&one, &other]).to_string();
        assert_eq!(text, of([&other, &one]).to_string());
        assert_eq!(text, "header x-a = \"1\", query b like \"2+\"");
    }
}
