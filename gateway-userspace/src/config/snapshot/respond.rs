//! `respond`: an answer of the gateway's own, and what is filled into its text.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// `route.respond`, or the last of `route.fallback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: StatusCode,
    /// The body; one piece of text where nothing is filled in.
    pub body: Vec<Piece>,
    /// Sent where there is a body.
    pub content_type: HeaderValue,
    /// Sent as `Retry-After`, in seconds.
    pub retry_after: Option<HeaderValue>,
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Bytes),
    /// Filled in for each request.
    Filled(Filling),
}

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// `{request_id}`.
    RequestId,
    /// `{route}`.
    Route,
    /// `{reason}`: why the upstream was given up; `ok` where it was not asked.
    Reason,
}

const FILLINGS: [(&str, Filling); 3] = [
    ("{request_id}", Filling::RequestId),
    ("{route}", Filling::Route),
    ("{reason}", Filling::Reason),
];

impl Respond {
    /// The pieces of a body. Braces around anything else are text: JSON needs no escapes.
    pub fn pieces(text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        loop {
            let next = FILLINGS
                .iter()
                .filter_map(|(name, filling)| Some((rest.find(name)?, name, filling)))
                .min_by_key(|(at, ..)| *at);
            let Some((at, name, filling)) = next else { break };
            let (before, behind) = rest.split_at(at);
            if !before.is_empty() {
                pieces.push(Piece::Text(Bytes::copy_from_slice(before.as_bytes())));
            }
            pieces.push(Piece::Filled(*filling));
            rest = behind.strip_prefix(name).unwrap_or_default();
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(Bytes::copy_from_slice(rest.as_bytes())));
        }
        pieces
    }

    /// The body for one request.
    pub fn body<'r>(&self, fill: impl Fn(Filling) -> &'r [u8]) -> Bytes {
        match self.body.as_slice() {
            [] => Bytes::new(),
            [Piece::Text(text)] => text.clone(),
            pieces => {
                let filled = pieces.iter().map(|piece| match piece {
                    Piece::Text(text) => text.as_ref(),
                    Piece::Filled(filling) => fill(*filling),
                });
                Bytes::from(filled.collect::<Vec<_>>().concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_are_filled_in_and_other_braces_are_text() {
        let rows = [
            ("", ""),
            ("try later", "try later"),
            (
                "{\"id\":\"{request_id}\",\"why\":\"{reason}\"}",
                "{\"id\":\"7\",\"why\":\"reset\"}",
            ),
            ("{route}{route}", "usersusers"),
            ("{nothing} {", "{nothing} {"),
        ];
        for (text, expected) in rows {
            let respond = Respond {
                status: StatusCode::OK,
                body: Respond::pieces(text),
                content_type: HeaderValue::from_static("text/plain"),
                retry_after: None,
            };
            let body = respond.body(|filling| match filling {
                Filling::RequestId => b"7",
                Filling::Route => b"users",
                Filling::Reason => b"reset",
            });
            assert_eq!(body, expected, "{text}");
        }
    }
}
