//! `GET /v1/events`: one event a line as JSON, the kept ones, and with `?follow=true` those that come.
//!
//! The content type is `application/jsonl`, one JSON text a line (jsonlines.org): a reader needs no parser of streams. A
//! stream that the node ends has a last line [`End`], so that it differs from one that broke.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::events::{Event, Following};
use crate::json_line::json_line;

/// The body of an answer: whole, or as it comes.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One JSON text a line.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/jsonl");

/// The last line of a stream that the node ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why, for people.
    pub end: String,
}

/// Whether a query asks to follow.
///
/// # Errors
/// A sentence for the client.
pub fn asked(query: Option<&str>) -> Result<Wanted, String> {
    match query {
        None | Some("" | "follow=false") => Ok(Wanted::Kept),
        Some("follow=true") => Ok(Wanted::Following),
        Some(other) => Err(format!("/v1/events takes ?follow=true or nothing, not ?{other}.")),
    }
}

/// What a client wants of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those that are kept.
    Kept,
    /// And those that come.
    Following,
}

/// A body that is there as a whole.
pub fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

/// The lines of events that are there.
pub fn lines(events: &[Arc<Event>]) -> Bytes {
    let lines: Vec<u8> = events.iter().flat_map(|event| json_line(&**event)).collect();
    lines.into()
}

/// The lines of events that are there, then of those that come, until the reader is too slow or the server stops.
pub fn following(events: Following, stopped: watch::Receiver<()>) -> Body {
    let coming = stream::unfold(Some(events.coming), move |receiver| {
        let mut stopped = stopped.clone();
        async move {
            let mut receiver = receiver?;
            tokio::select! {
                biased;
                // Its sender never sends: this is ready when it is gone.
                _ = stopped.changed() => Some((last("the node stops"), None)),
                event = receiver.recv() => Some(match event {
                    Ok(event) => (Bytes::from(json_line(&*event)), Some(receiver)),
                    Err(RecvError::Lagged(lost)) => {
                        let text = format!("cut off: {lost} events were lost, for they were read too slowly");
                        (last(&text), None)
                    }
                    Err(RecvError::Closed) => (last("no more events"), None),
                }),
            }
        }
    });
    // An empty chunk would end a chunked body.
    let kept = stream::iter([lines(&events.kept)].into_iter().filter(|kept| !kept.is_empty()));
    let frames = kept.chain(coming).map(|bytes| Ok(Frame::data(bytes)));
    StreamBody::new(frames).boxed_unsync()
}

fn last(text: &str) -> Bytes {
    let end = text.to_owned();
    json_line(&End { end }).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{EVENTS_BEHIND_MAX, Events, Kind, Told, Volume};

    fn tell(events: &Events, why: &str) {
        events.tell(Told {
            kind: Kind::Ejection,
            check: None,
            upstream: "users",
            endpoint: Some("10.0.1.1:80".parse().unwrap()),
            from: "in",
            to: "ejected",
            code: "",
            why: why.to_owned(),
            line: "endpoint ejected",
            volume: Volume::Info,
        });
    }

    async fn next(body: &mut Body) -> String {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn followers_get_the_kept_and_the_coming_and_a_last_line() {
        for end in ["the node stops", "read too slowly"] {
            let events = Events::default();
            let (stopping, stopped) = watch::channel(());
            tell(&events, "one");
            let mut body = following(events.follow().unwrap(), stopped);
            assert!(next(&mut body).await.contains("\"why\":\"one\"}\n"), "{end}");
            tell(&events, "two");
            let line = next(&mut body).await;
            let tail = "\"kind\":\"ejection\",\"upstream\":\"users\",\"endpoint\":\"10.0.1.1:80\",\"from\":\"in\",\
                        \"to\":\"ejected\",\"why\":\"two\"}\n";
            assert!(line.ends_with(tail), "{line}");
            if end == "the node stops" {
                drop(stopping);
            } else {
                (0..=EVENTS_BEHIND_MAX).for_each(|_| tell(&events, "many"));
            }
            let last = next(&mut body).await;
            assert!(
                serde_json::from_str::<End>(&last).unwrap().end.contains(end),
                "{last}"
            );
            assert!(body.frame().await.is_none(), "{end}");
        }
    }

    #[test]
    fn queries_ask_to_follow_or_not_or_are_refused() {
        let rows = [
            (None, Ok(Wanted::Kept)),
            (Some("follow=false"), Ok(Wanted::Kept)),
            (Some("follow=true"), Ok(Wanted::Following)),
            (Some("follow"), Err(())),
            (Some("since=1"), Err(())),
        ];
        for (query, expected) in rows {
            assert_eq!(asked(query).map_err(drop), expected, "{query:?}");
        }
    }
}
