//! A server of datagrams in a node's namespace: answers each with its node's name.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::node::Node;

/// Between two looks at the stop flag.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Longest datagram that is looked at; its content does not matter.
const DATAGRAM_BYTES_MAX: usize = 4_096;

/// A running server.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Echo {
    /// Starts to answer at `address` in the node's namespace. The address must be the node's already: so its answers
    /// come from there.
    ///
    /// # Errors
    /// Where the socket cannot be had.
    pub fn start(node: &Node, address: SocketAddr) -> Result<Self> {
        let socket = node.namespace().run(move || UdpSocket::bind(address))?;
        let socket = socket.with_context(|| format!("bind {address} of {}", node.name()))?;
        socket
            .set_read_timeout(Some(STOP_CHECK))
            .context("set a receive timeout")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let name = node.name().to_owned();
        let thread = node
            .namespace()
            .spawn("echo", move || answer(&socket, name.as_bytes(), &stopped))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.take().map(JoinHandle::join);
        let outcome = outcome
            .unwrap_or(Ok(Ok(())))
            .map_err(|_| anyhow!("its thread panicked"));
        if let Err(error) = outcome.and_then(|inner| inner) {
            eprintln!("lab: the server of datagrams ended early: {error:#}");
        }
    }
}

fn answer(socket: &UdpSocket, name: &[u8], stopped: &AtomicBool) -> Result<()> {
    let mut datagram = [0; DATAGRAM_BYTES_MAX];
    while !stopped.load(Ordering::Relaxed) {
        match socket.recv_from(&mut datagram) {
            Ok((_, from)) => {
                socket
                    .send_to(name, from)
                    .with_context(|| format!("answer {from}"))?;
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Err(error).context("receive a datagram"),
            },
        }
    }
    Ok(())
}
