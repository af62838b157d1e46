//! `forward_auth`: a service of its own says whether a request may go on.
//!
//! What it is asked and what comes of its answer stand here; who leads requests through filters asks it.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Version};

use super::{Asked, Denial, Step, credentials};

/// What the service learns in any case, of what the gateway itself says.
const TOLD: [HeaderName; 7] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    header::VIA,
];
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// `forward_auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Whose endpoints are asked; there is one of that name.
    pub upstream: String,
    /// What they are asked for.
    pub path: PathAndQuery,
    /// From the question to the whole answer, all tries included.
    pub timeout: Duration,
    /// Fields of the request that they are told.
    pub request_headers: Vec<HeaderName>,
    /// Fields of their answer that the request goes on with, and nobody else's of these names.
    pub response_headers: Vec<HeaderName>,
    /// What becomes of a request when there is no answer.
    pub on_failure: OnFailure,
}

/// `on_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused.
    Deny,
    /// It goes on as if nobody had to be asked.
    Allow,
}

impl ForwardAuth {
    /// What is asked about a request: a GET without a body, in the words of HTTP/1.
    pub fn question(&self, about: &Parts) -> Parts {
        let mut head = http::Request::new(()).into_parts().0;
        head.method = Method::GET;
        head.version = Version::HTTP_11;
        head.uri = Uri::from(self.path.clone());
        for name in TOLD.iter().chain(&self.request_headers) {
            for value in about.headers.get_all(name) {
                head.headers.append(name, value.clone());
            }
        }
        let authority = about.uri.authority();
        let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        if let Some(host) = host.or_else(|| about.headers.get(header::HOST).cloned()) {
            head.headers.insert(header::HOST, host);
        }
        let target = about.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let told = [(FORWARDED_METHOD, about.method.as_str()), (FORWARDED_URI, target)];
        for (name, value) in told {
            // Both can stand in a field.
            if let Ok(value) = HeaderValue::from_str(value) {
                head.headers.insert(name, value);
            }
        }
        head
    }

    /// The service lets it pass, with these fields of its answer.
    pub fn admit(&self, answer: &HeaderMap, asked: &mut Asked<'_>) -> Step {
        for name in &self.response_headers {
            asked.head.headers.remove(name);
            for value in answer.get_all(name) {
                asked.head.headers.append(name, value.clone());
            }
            if *name == credentials::CONSUMER {
                asked.consumer = answer.get(name).cloned();
            }
        }
        Step::Next
    }

    /// Nobody said whether it may pass.
    pub fn unanswered(&self, asked: &mut Asked<'_>) -> Step {
        match self.on_failure {
            OnFailure::Deny => Step::Deny(Denial::AuthorityUnavailable),
            OnFailure::Allow => {
                self.admit(&HeaderMap::new(), asked);
                Step::WouldDeny(Denial::AuthorityUnavailable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;

    fn auth(on_failure: OnFailure) -> ForwardAuth {
        ForwardAuth {
            upstream: "auth".to_owned(),
            path: PathAndQuery::from_static("/check?v=1"),
            timeout: Duration::from_secs(1),
            request_headers: vec![header::AUTHORIZATION, HeaderName::from_static("x-user")],
            response_headers: vec![HeaderName::from_static("x-user"), credentials::CONSUMER],
            on_failure,
        }
    }

    fn head(target: &str) -> Parts {
        let request = http::Request::builder()
            .method("POST")
            .uri(target)
            .header("authorization", "Bearer x")
            .header("cookie", "a=1")
            .header("content-length", "5")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-forwarded-method", "FORGED")
            .header("x-user", "forged")
            .header("x-user", "twice");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_question_has_what_is_asked_about_and_nothing_more() {
        let mut one = head("/a/b?c=d");
        one.headers
            .insert("host", HeaderValue::from_static("a.example:8080"));
        for about in [one, head("http://a.example:8080/a/b?c=d")] {
            let question = auth(OnFailure::Deny).question(&about);
            assert_eq!(
                (&question.method, question.uri.to_string()),
                (&Method::GET, "/check?v=1".to_owned())
            );
            let mut lines: Vec<_> = question
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            lines.sort();
            let expected = [
                "authorization: Bearer x",
                "host: a.example:8080",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-method: POST",
                "x-forwarded-uri: /a/b?c=d",
                "x-user: forged",
                "x-user: twice",
            ];
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn only_what_the_service_says_goes_on() {
        let mut answer = HeaderMap::new();
        answer.insert("x-consumer", HeaderValue::from_static("ann"));
        answer.insert("x-other", HeaderValue::from_static("1"));
        let rows = [
            (Some(&answer), OnFailure::Deny, Step::Next, Some("ann"), 0),
            (
                None,
                OnFailure::Allow,
                Step::WouldDeny(Denial::AuthorityUnavailable),
                None,
                0,
            ),
            // It goes no further.
            (
                None,
                OnFailure::Deny,
                Step::Deny(Denial::AuthorityUnavailable),
                None,
                2,
            ),
        ];
        for (answer, on_failure, expected, consumer, forged) in rows {
            let mut head = head("/");
            let mut asked = asked(&mut head, "192.0.2.1");
            let auth = auth(on_failure);
            let step = match answer {
                Some(answer) => auth.admit(answer, &mut asked),
                None => auth.unanswered(&mut asked),
            };
            assert_eq!(
                (step, asked.consumer.as_ref().map(|name| name.to_str().unwrap())),
                (expected, consumer)
            );
            assert_eq!(head.headers.get_all("x-user").iter().count(), forged);
            let told = head.headers.get("x-consumer").map(|name| name.to_str().unwrap());
            assert_eq!((told, head.headers.contains_key("x-other")), (consumer, false));
        }
    }
}
