//! Answers that go on: events that are followed, and packets that are traced.

use http::StatusCode;
use http::request::Parts;
use tokio::sync::watch;

use super::{Reply, Stopped, bad, outcome, with_body};
use crate::admin::follow::{self, Wanted};
use crate::admin::{Api, trace};

/// What changed, and what changes.
pub(super) fn events(head: &Parts, api: &dyn Api, stopped: watch::Receiver<()>) -> Result<Reply, Stopped> {
    let body = match follow::asked(head.uri.query()).map_err(bad)? {
        Wanted::Kept => follow::whole(follow::lines(&api.events().kept())),
        Wanted::Following => {
            let events = api.events().follow().map_err(|too_many| {
                let message = format!("No more can follow the events: {too_many}.");
                Stopped::new(StatusCode::CONFLICT, "conflict", &message)
            })?;
            follow::following(events, stopped)
        }
    };
    Ok(with_body(StatusCode::OK, follow::CONTENT_TYPE, body))
}

/// Packets as they pass.
pub(super) async fn trace(
    head: &Parts,
    api: &dyn Api,
    stopped: watch::Receiver<()>,
) -> Result<Reply, Stopped> {
    let asked = trace::asked(head.uri.query()).map_err(bad)?;
    match api.trace(asked.order).await {
        Ok(running) => {
            let body = trace::lines(running, asked.lasts, stopped);
            Ok(with_body(StatusCode::OK, follow::CONTENT_TYPE, body))
        }
        Err(error) => Ok(outcome::<()>(Err(error))),
    }
}
