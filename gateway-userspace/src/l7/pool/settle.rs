//! Connections whose answer has ended: when they are idle.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::connect::Line1;
use super::{Line, Pool};

/// How long a connection may take to be idle after its response ended; it is closed then.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(1);

/// HTTP on it is over for now.
pub(super) fn idles(line: Option<Line>, pool: &Rc<Pool>) {
    match line {
        Some(Line::Http1(line)) if line.sender.is_ready() => pool.put_idle(line),
        Some(Line::Http1(line)) if !line.sender.is_closed() => settle(line, Rc::clone(pool)),
        Some(Line::Http1(_) | Line::Http2(_)) | None => {}
    }
}

/// The request's body may not have ended, or the connection's task did not run yet: idle only after that.
fn settle(mut line: Line1, pool: Rc<Pool>) {
    drop(tokio::task::spawn_local(async move {
        match timeout(SETTLE_MAX, line.sender.ready()).await {
            Ok(Ok(())) => pool.put_idle(line),
            Ok(Err(error)) => {
                tracing::debug!(%error, endpoint = %pool.address, "a connection closed after its response")
            }
            Err(_) => tracing::debug!(endpoint = %pool.address, "a connection was not idle in time; closed"),
        }
    }));
}
