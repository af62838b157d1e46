//! Requests that are made late or to fail because their route says so (`fault`).

use http::HeaderMap;
use tokio::time::sleep;

use super::error::ProxyError;
use super::record::Record;
use crate::config::snapshot::Faults;

/// Does to a request what chance has for it: first the delay, then the failure.
///
/// # Errors
/// [`ProxyError::FaultAbort`].
///
/// # Cancel safety
/// Nothing was sent.
pub(super) async fn inject(
    faults: &Faults,
    headers: &HeaderMap,
    record: &mut Record,
) -> Result<(), ProxyError> {
    if !faults.are_for(headers) {
        return Ok(());
    }
    if let Some((time, odds)) = faults.delay
        && odds.hit(rand::random())
    {
        record.delayed();
        sleep(time).await;
    }
    match &faults.abort {
        Some((_, odds)) if odds.hit(rand::random()) => Err(ProxyError::FaultAbort),
        _ => Ok(()),
    }
}
