//! Answers about the lists of prefixes.

use http::request::Parts;

use super::{Reply, Stopped, bad, empty, outcome};
use crate::admin::{Api, deny};

/// What an operator, or a program, wants of the lists of prefixes.
pub(super) async fn answered(
    asked: deny::Asked,
    head: &Parts,
    body: &[u8],
    api: &dyn Api,
) -> Result<Reply, Stopped> {
    let query = head.uri.query();
    let order = match asked {
        deny::Asked::List => {
            empty(body)?;
            return Ok(outcome(api.denied().await));
        }
        deny::Asked::Add => deny::add(query, body),
        deny::Asked::Remove(prefix) => {
            empty(body)?;
            deny::remove(&prefix, query)
        }
    };
    Ok(outcome(api.change_denied(order.map_err(bad)?).await))
}
