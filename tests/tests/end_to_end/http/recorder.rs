//! An upstream that answers by script and keeps every byte that it got.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::message::{Input, Kind, Message, find, read};

/// What is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// What a recorder saw so far.
#[derive(Debug, Default)]
struct Seen {
    /// Of each connection, in the order in which they came.
    bytes: Vec<Vec<u8>>,
    requests: Vec<Message>,
}

/// A listening script. Its connections end with it.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Runs `script` for each connection; the connection closes when the script ends.
    pub async fn start<S, F>(script: S) -> Self
    where
        S: Fn(Conn) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let theirs = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // They end with the recorder.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut seen = lock(&theirs);
                    seen.bytes.push(Vec::new());
                    seen.bytes.len() - 1
                };
                connections.spawn(script(Conn {
                    stream,
                    index,
                    taken: 0,
                    seen: Arc::clone(&theirs),
                }));
            }
        });
        Self { address, seen, task }
    }

    /// Answers each request with the same bytes, on connections that stay.
    pub async fn answering(answer: &'static [u8]) -> Self {
        Self::start(move |mut conn| async move {
            while conn.request().await.is_some() && conn.send(answer).await {}
        })
        .await
    }

    /// Answers each request with a short 200.
    pub async fn ok() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        lock(&self.seen).bytes.len()
    }

    /// Whole requests so far.
    pub fn requests(&self) -> Vec<Message> {
        lock(&self.seen).requests.clone()
    }

    /// Forgets the whole requests so far.
    pub fn forget(&self) {
        lock(&self.seen).requests.clear();
    }

    /// All bytes of all connections so far.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        lock(&self.seen).bytes.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection of a script.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    index: usize,
    /// Bytes that were read as requests already.
    taken: usize,
    seen: Arc<Mutex<Seen>>,
}

impl Conn {
    /// Reads a whole request and keeps it; `None` where the peer ended before.
    pub async fn request(&mut self) -> Option<Message> {
        loop {
            let found = read(&self.pending(), Kind::Request, Input::Open);
            if let Some((message, length)) = found {
                self.taken += length;
                lock(&self.seen).requests.push(message.clone());
                return Some(message);
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Reads until a head is whole, leaving its body where it is; the head's text.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            let pending = self.pending();
            if let Some(end) = find(&pending, b"\r\n\r\n") {
                self.taken += end + 4;
                return Some(String::from_utf8_lossy(pending.get(..end)?).into_owned());
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Reads until `count` more bytes are there and takes them; what there was where the peer ended before.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.pending().len() < count && self.receive().await {}
        let mut pending = self.pending();
        pending.truncate(count);
        self.taken += pending.len();
        pending
    }

    /// Reads until the peer ends, or resets.
    pub async fn end(&mut self) {
        while self.receive().await {}
    }

    /// Waits until the peer's kernel has all that was sent: a reset then takes nothing back that it was not told of.
    pub async fn peer_took_all(&self) {
        let mut unsent: libc::c_int = 1;
        while unsent > 0 {
            // SAFETY: SIOCOUTQ writes one integer, and the descriptor is open as long as the stream.
            let asked = unsafe { libc::ioctl(self.stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
            assert_eq!(asked, 0, "the kernel counts unsent bytes");
            tokio::task::yield_now().await;
        }
    }

    /// Whether all of it was written.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Ends the connection with a reset, as a process that dies with unread input does.
    pub fn reset(self) {
        drop(set_reset(&self.stream));
    }

    fn pending(&self) -> Vec<u8> {
        let seen = lock(&self.seen);
        let bytes = seen.bytes.get(self.index).and_then(|all| all.get(self.taken..));
        bytes.map(<[u8]>::to_vec).unwrap_or_default()
    }

    async fn receive(&mut self) -> bool {
        let mut chunk = vec![0; READ_BYTES];
        match self.stream.read(&mut chunk).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                let mut seen = lock(&self.seen);
                if let (Some(all), Some(read)) = (seen.bytes.get_mut(self.index), chunk.get(..count)) {
                    all.extend_from_slice(read);
                }
                true
            }
        }
    }
}

/// Makes the close of `stream` a reset.
pub fn set_reset(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
