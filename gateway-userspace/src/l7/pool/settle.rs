//! Connections whose answer has ended: when they are idle.

use std::rc::Rc;
use std::time::Duration;

use http::Response;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::connect::Line1;
use super::{Lease, Line, Pool};

/// How long a connection may take to be idle after its response ended; it is closed then.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Bytes of an answer that nobody wants and that are read all the same: more costs more than a new connection.
const DISCARDED_BYTES_MAX: usize = 64 << 10;

impl Lease {
    /// Nobody wants the answer: what is left of it is read if it is short, so that the connection can be used again. The
    /// seat is free at once, as the next try of the same request may need it.
    pub(in crate::l7) fn discard(self, response: Response<Incoming>) {
        let Self { line, retired, seat } = self;
        let pool = Rc::clone(&seat.pool);
        drop(seat);
        let mut body = Limited::new(response.into_body(), DISCARDED_BYTES_MAX);
        drop(tokio::task::spawn_local(async move {
            let read = timeout(SETTLE_MAX, async {
                while let Some(frame) = body.frame().await {
                    frame.ok()?;
                }
                Some(())
            });
            if let Ok(Some(())) = read.await
                && !retired
            {
                idles(line, &pool);
            }
        }));
    }
}

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
                tracing::debug!(%error, endpoint = %pool.endpoint, "a connection closed after its response")
            }
            Err(_) => tracing::debug!(endpoint = %pool.endpoint, "a connection was not idle in time; closed"),
        }
    }));
}
