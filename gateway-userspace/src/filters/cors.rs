//! `cors`: which pages of other origins may use a route, as browsers ask.
//!
//! Preflights are answered here. Source: the Fetch standard, section 3.2 (CORS protocol); RFC 6454 for origins;
//! RFC 9110, section 12.5.5 (Vary).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use super::vary::vary;
use super::{Asked, Mark, Step};

/// `cors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Not empty.
    pub origins: Vec<Origin>,
    /// `Access-Control-Allow-Methods`.
    pub methods: HeaderValue,
    /// `Access-Control-Allow-Headers`.
    pub headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`.
    pub expose: Option<HeaderValue>,
    /// Whether pages may send cookies and the like.
    pub credentials: Credentials,
    /// `Access-Control-Max-Age`, in seconds.
    pub max_age: Option<HeaderValue>,
}

/// Which origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Each; never with credentials.
    Any,
    /// One, in lower case.
    Exact(String),
    /// Those with any one label between.
    Label {
        /// The scheme, with `://`.
        before: String,
        /// The rest of the host with its dot, and the port where one is given.
        after: String,
    },
}

/// `credentials`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Pages send none.
    Omitted,
    /// Pages may.
    Allowed,
}

/// What an answer is to say.
#[derive(Debug)]
pub struct Told {
    /// The origin, if it may.
    origin: Option<HeaderValue>,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Preflight,
    Request,
}

impl Origin {
    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Label { before, after } => {
                let rest = origin.strip_prefix(before.as_str());
                let label = rest.and_then(|rest| rest.strip_suffix(after.as_str()));
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                label.is_some_and(|label| !label.is_empty() && label.bytes().all(is_plain))
            }
        }
    }
}

/// The method that a preflight asks for; `None`: it is none.
pub fn preflight(head: &Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(header::ORIGIN) {
        return None;
    }
    let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}

impl Cors {
    /// Answers preflights, and lets all else pass: it is the browser that keeps pages from answers.
    pub fn request(&self, asked: &Asked<'_>, mark: &mut Mark) -> Step {
        let mut origins = asked.head.headers.get_all(header::ORIGIN).iter();
        let origin = origins.next().filter(|_| origins.next().is_none());
        let may = |origin: &&HeaderValue| {
            let text = origin.to_str().unwrap_or_default();
            self.origins.iter().any(|known| known.is(text))
        };
        let origin = origin.filter(may).cloned();
        let (what, step) = match preflight(asked.head) {
            Some(_) => (What::Preflight, Step::Answer(StatusCode::NO_CONTENT)),
            None => (What::Request, Step::Next),
        };
        *mark = Mark::Cors(Told { origin, what });
        step
    }

    /// Says it; what the endpoint says of it itself does not count.
    pub fn response(&self, told: Told, headers: &mut HeaderMap) {
        for name in FIELDS {
            headers.remove(name);
        }
        let is_same_for_all = self.is_same_for_all();
        if !is_same_for_all {
            vary(headers, "Origin");
        }
        let Some(origin) = told.origin else { return };
        let origin = if is_same_for_all {
            HeaderValue::from_static("*")
        } else {
            origin
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials == Credentials::Allowed {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        let mut say = |name: HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        };
        match told.what {
            What::Preflight => {
                say(header::ACCESS_CONTROL_ALLOW_METHODS, Some(&self.methods));
                say(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.as_ref());
                say(header::ACCESS_CONTROL_MAX_AGE, self.max_age.as_ref());
            }
            What::Request => say(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.expose.as_ref()),
        }
    }

    /// Whether an answer says the same to each origin, so that caches may give it to all.
    fn is_same_for_all(&self) -> bool {
        self.origins.contains(&Origin::Any) && self.credentials == Credentials::Omitted
    }
}

const FIELDS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;

    fn label(before: &str, after: &str) -> Origin {
        Origin::Label {
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    fn cors(origins: Vec<Origin>) -> Cors {
        Cors {
            origins,
            methods: HeaderValue::from_static("GET, PUT"),
            headers: Some(HeaderValue::from_static("content-type")),
            expose: Some(HeaderValue::from_static("x-total")),
            credentials: Credentials::Omitted,
            max_age: Some(HeaderValue::from_static("600")),
        }
    }

    #[test]
    fn origins_are_exact_or_have_one_label_of_their_own() {
        let wild = label("https://", ".example.com");
        let rows = [
            (&wild, "https://a.example.com", true),
            (&wild, "https://a-1.example.com", true),
            (&wild, "https://a.b.example.com", false),
            (&wild, "https://example.com", false),
            (&wild, "https://.example.com", false),
            (&wild, "http://a.example.com", false),
            (&wild, "https://a.example.com:8443", false),
            (&wild, "https://evil.com/.example.com", false),
            (&wild, "https://a@b.example.com", false),
            (&wild, "https://a.example.com.evil.com", false),
            (
                &label("https://", ".example.com:8443"),
                "https://a.example.com:8443",
                true,
            ),
            (
                &Origin::Exact("https://a.example".to_owned()),
                "https://a.example",
                true,
            ),
            (
                &Origin::Exact("https://a.example".to_owned()),
                "https://a.example.evil",
                false,
            ),
            (&Origin::Exact("https://a.example".to_owned()), "null", false),
            (&Origin::Any, "https://anything.example", true),
        ];
        for (known, origin, expected) in rows {
            assert_eq!(known.is(origin), expected, "{known:?} {origin}");
        }
    }

    /// What the answer's head comes to, as text; the endpoint's has those fields.
    fn told(
        cors: &Cors,
        method: &str,
        fields: &[(&str, &str)],
        theirs: &[(&'static str, &'static str)],
    ) -> (Step, Vec<String>) {
        let request = fields.iter().fold(
            http::Request::builder().method(method),
            |request, (name, value)| request.header(*name, *value),
        );
        let mut head = request.body(()).unwrap().into_parts().0;
        let mut mark = Mark::default();
        let step = cors.request(&asked(&mut head, "192.0.2.1"), &mut mark);
        let Mark::Cors(told) = mark else {
            panic!("{mark:?}")
        };
        let mut headers = HeaderMap::new();
        for (name, value) in theirs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        cors.response(told, &mut headers);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            let name = name.as_str().trim_start_matches("access-control-");
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        (step, lines)
    }

    const ORIGIN: (&str, &str) = ("origin", "https://a.example");
    const ASKS: (&str, &str) = ("access-control-request-method", "PUT");

    #[test]
    fn preflights_are_answered_and_refused_origins_get_nothing() {
        let known = cors(vec![Origin::Exact("https://a.example".to_owned())]);
        let all = [
            "allow-headers: content-type",
            "allow-methods: GET, PUT",
            "allow-origin: https://a.example",
            "max-age: 600",
            "vary: Origin",
        ];
        let answered = Step::Answer(StatusCode::NO_CONTENT);
        let (step, lines) = told(&known, "OPTIONS", &[ORIGIN, ASKS], &[]);
        assert_eq!((&step, &*lines), (&answered, &all.map(str::to_owned)[..]));
        let other = ("origin", "https://b.example");
        let (step, lines) = told(&known, "OPTIONS", &[other, ASKS], &[]);
        assert_eq!((step, lines), (answered, vec!["vary: Origin".to_owned()]));
        for fields in [&[ORIGIN][..], &[ASKS], &[]] {
            assert_eq!(told(&known, "OPTIONS", fields, &[]).0, Step::Next, "no preflight");
        }
        assert_eq!(told(&known, "PUT", &[ORIGIN, ASKS], &[]).0, Step::Next);
    }

    #[test]
    fn answers_say_whose_pages_may_read_them() {
        let exact = || vec![Origin::Exact("https://a.example".to_owned())];
        let (plain, any) = (cors(exact()), cors(vec![Origin::Any]));
        let mut trusting = cors(exact());
        trusting.credentials = Credentials::Allowed;
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(&Cors, Fields, Fields, &[&str]); 8] = [
            (
                &plain,
                &[ORIGIN],
                &[],
                &[
                    "allow-origin: https://a.example",
                    "expose-headers: x-total",
                    "vary: Origin",
                ],
            ),
            (&plain, &[("origin", "https://b.example")], &[], &["vary: Origin"]),
            (
                &plain,
                &[],
                &[("vary", "accept, ORIGIN")],
                &["vary: accept, ORIGIN"],
            ),
            (
                &plain,
                &[ORIGIN, ORIGIN],
                &[("vary", "accept")],
                &["vary: Origin", "vary: accept"],
            ),
            (
                &plain,
                &[],
                &[
                    ("access-control-allow-origin", "*"),
                    ("access-control-allow-credentials", "true"),
                ],
                &["vary: Origin"],
            ),
            (
                &any,
                &[ORIGIN],
                &[],
                &["allow-origin: *", "expose-headers: x-total"],
            ),
            (&any, &[], &[("access-control-max-age", "1")], &[]),
            (
                &trusting,
                &[ORIGIN],
                &[],
                &[
                    "allow-credentials: true",
                    "allow-origin: https://a.example",
                    "expose-headers: x-total",
                    "vary: Origin",
                ],
            ),
        ];
        for (cors, fields, theirs, expected) in rows {
            let (step, lines) = told(cors, "GET", fields, theirs);
            assert_eq!(
                (step, lines),
                (Step::Next, expected.iter().map(ToString::to_string).collect()),
                "{fields:?} {theirs:?}"
            );
        }
    }
}
