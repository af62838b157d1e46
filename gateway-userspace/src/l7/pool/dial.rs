//! A connection to an endpoint for one client alone: it is in no pool, and carries what the client says.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::held::Held;
use super::seat::Seat;
use super::{Want, connect};
use crate::l7::error::ProxyError;
use crate::registry::Place;
use crate::tls::Security;

/// The connection; it counts for the endpoint's limits as long as it lives.
pub(in crate::l7) type Dialled = Held<TcpStream, (Seat, Place)>;

impl Dialled {
    /// A close is to tell the endpoint that this is no orderly end.
    pub(in crate::l7) fn breaks_off(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "breaking a connection to an endpoint off");
        }
    }
}

impl Seat {
    /// A new connection, which begins with `greeting`; and how long it took to connect. Where as many are open as may be,
    /// it waits for its turn.
    ///
    /// # Errors
    /// None could be made: all of [`Retry::Safe`](crate::l7::error::Retry::Safe).
    ///
    /// # Cancel safety
    /// The attempt is given up, and the seat is free.
    pub(in crate::l7) async fn dial(self, greeting: &[u8]) -> Result<(Dialled, Duration), ProxyError> {
        let pool = &self.pool;
        if pool.channel.security != Security::Plain {
            return Err(ProxyError::UpstreamTlsFailed);
        }
        let terms = pool.terms.get();
        // Who wants a fresh one is never told to take another's.
        let place = pool.turn(Want::Fresh, &terms).await?;
        let place = place.ok_or(ProxyError::ConnectionLost)?;
        let (mut stream, time) = connect::tcp(pool.channel.address, terms.connect_timeout).await?;
        if !greeting.is_empty() {
            let written = timeout(terms.connect_timeout, stream.write_all(greeting)).await;
            if !matches!(written, Ok(Ok(()))) {
                return Err(ProxyError::ConnectionLost);
            }
        }
        pool.state
            .requests
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let held = Held {
            stream,
            _lease: (self, place),
        };
        Ok((held, time))
    }
}
