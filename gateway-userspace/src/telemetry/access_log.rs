//! The access log: one line a request, `key=value`, written by one thread.
//!
//! Workers write lines into a buffer of their own ([`LineBuffer`]) and hand over whole chunks, so that a request
//! costs no system call and wakes no thread. The queue is bounded: what does not fit is dropped and counted, for a
//! slow disk must never slow a request. Format: logfmt (<https://brandur.org/logfmt>); see [`mod@line`].

pub mod line;
pub mod out;
pub mod stamp;

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use out::Out;

/// Chunks that may wait for the writer: with [`CHUNK_BYTES`] some 4 MB.
const CHUNKS_MAX: usize = 128;
/// A buffer's size; it is handed over when the next line may not fit. Above the longest line there can be.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks kept to be filled again.
const SPARE_MAX: usize = 8;
/// Room that the next line has at least, for almost all of them.
const LINE_BYTES: usize = 1024;
/// Longest time a line stays in a worker's buffer.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

enum Message {
    Lines {
        text: Vec<u8>,
        /// Of these, so many bytes are lines.
        used: usize,
        count: u64,
    },
    Flush(SyncSender<()>),
}

/// Whether all lines had been written when the limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All that was handed over before is written.
    Whole,
    /// The writer was too slow, or is gone.
    Late,
}

/// The queue to the writer, shared by all workers.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    counters: Arc<Counters>,
    spare: Arc<Spare>,
}

/// Chunks that were written and may be filled again: new ones would be zeroed, and their pages be mapped, each time.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut chunk = spare.unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        chunk
    }

    fn put(&self, chunk: Vec<u8>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(chunk);
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Starts the writer thread; it ends when this and all that was handed over is gone.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = sync_channel(CHUNKS_MAX);
        let counters = Arc::new(Counters::default());
        let spare = Arc::new(Spare::default());
        let (theirs, back) = (Arc::clone(&counters), Arc::clone(&spare));
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(sink, &messages, &theirs, &back))?;
        Ok(Self {
            queue,
            counters,
            spare,
        })
    }

    /// Lines go to standard output.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn stdout() -> io::Result<Self> {
        Self::start(io::stdout())
    }

    /// Lines that were lost, because the queue was full or could not be written.
    pub fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
    }

    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.counters.written.load(Ordering::Relaxed)
    }

    /// Waits until what was handed over is written, at most `limit`. Blocks: not for workers.
    pub fn flush(&self, limit: Duration) -> Flushed {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_err() {
            return Flushed::Late;
        }
        match wait.recv_timeout(limit) {
            Ok(()) => Flushed::Whole,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Flushed::Late,
        }
    }

    /// Takes whole lines, or drops and counts them. Never blocks.
    fn submit(&self, text: Vec<u8>, used: usize, count: u64) {
        match self.queue.try_send(Message::Lines { text, used, count }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

fn write(sink: &mut impl Write, text: &[u8], used: usize) -> io::Result<()> {
    sink.write_all(text.get(..used).unwrap_or(text))?;
    sink.flush()
}

fn write_all(mut sink: impl Write, messages: &Receiver<Message>, counters: &Counters, spare: &Spare) {
    let mut failing = false;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Lines { text, used, count } => match write(&mut sink, &text, used) {
                Ok(()) => {
                    spare.put(text);
                    failing = false;
                    counters.written.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "writing the access log; lines are dropped and counted until it works again");
                    }
                    failing = true;
                    counters.dropped.fetch_add(count, Ordering::Relaxed);
                }
            },
            Message::Flush(done) => {
                if done.try_send(()).is_err() {
                    tracing::debug!("access log flushed after the caller stopped waiting");
                }
            }
        }
    }
}

/// One worker's lines that were not handed over yet.
#[derive(Debug)]
pub struct LineBuffer {
    log: Arc<AccessLog>,
    chunk: RefCell<Chunk>,
    filling: Notify,
}

#[derive(Debug)]
struct Chunk {
    space: Vec<u8>,
    used: usize,
    lines: u64,
}

impl Chunk {
    fn new(spare: &Spare) -> Self {
        Self {
            space: spare.take(),
            used: 0,
            lines: 0,
        }
    }

    /// Writes a line and its end; false: there is no room for it.
    fn write(&mut self, write: &impl Fn(&mut Out<'_>)) -> bool {
        let mut out = Out::new(self.space.get_mut(self.used..).unwrap_or_default());
        write(&mut out);
        out.put(b"\n");
        let Some(written) = out.written() else {
            return false;
        };
        self.used += written;
        self.lines += 1;
        true
    }
}

impl LineBuffer {
    /// An empty one; its owner runs [`LineBuffer::run`] beside it.
    pub fn new(log: Arc<AccessLog>) -> Self {
        Self {
            chunk: RefCell::new(Chunk::new(&log.spare)),
            log,
            filling: Notify::new(),
        }
    }

    /// Adds the line that `write` writes; the line end is added here. It may be written twice, if there is no room.
    pub fn add(&self, write: impl Fn(&mut Out<'_>)) {
        let Ok(mut chunk) = self.chunk.try_borrow_mut() else {
            // `write` panicked and this is another request's line, written while the stack unwinds.
            self.log.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if chunk.lines == 0 {
            self.filling.notify_one();
        }
        if !chunk.write(&write) {
            self.submit(&mut chunk);
            if !chunk.write(&write) {
                self.log.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        if chunk.used + LINE_BYTES > CHUNK_BYTES {
            self.submit(&mut chunk);
        }
    }

    /// Gives what there is to the writer.
    pub fn hand_over(&self) {
        self.submit(&mut self.chunk.borrow_mut());
    }

    fn submit(&self, chunk: &mut Chunk) {
        if chunk.lines == 0 {
            return;
        }
        let Chunk { space, used, lines } = std::mem::replace(chunk, Chunk::new(&self.log.spare));
        self.log.submit(space, used, lines);
    }

    /// Hands over what has waited for [`FLUSH_INTERVAL`]; never ends.
    ///
    /// # Cancel safety
    /// Nothing is lost: lines stay in the buffer.
    pub async fn run(&self) {
        loop {
            self.filling.notified().await;
            tokio::time::sleep(FLUSH_INTERVAL).await;
            self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<Gate>, Condvar)>);

    #[derive(Default)]
    struct Gate {
        text: Vec<u8>,
        closed: bool,
        fails: bool,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut gate = self.0.0.lock().unwrap();
            while gate.closed {
                gate = self.0.1.wait(gate).unwrap();
            }
            if gate.fails {
                return Err(io::Error::other("disk full"));
            }
            gate.text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let sink = Sink::default();
        let log = Arc::new(AccessLog::start(sink.clone()).unwrap());
        let buffer = LineBuffer::new(Arc::clone(&log));
        for line in ["a=1", "a=2"] {
            buffer.add(|out| out.put(line.as_bytes()));
        }
        buffer.hand_over();
        assert_eq!(log.flush(LIMIT), Flushed::Whole);
        assert_eq!(sink.0.0.lock().unwrap().text, b"a=1\na=2\n");
        assert_eq!((log.written(), log.dropped()), (2, 0));
    }

    #[test]
    fn full_queue_drops_and_counts_and_never_blocks() {
        let sink = Sink::default();
        sink.0.0.lock().unwrap().closed = true;
        let log = Arc::new(AccessLog::start(sink.clone()).unwrap());
        let buffer = LineBuffer::new(Arc::clone(&log));
        let chunks = u64::try_from(CHUNKS_MAX).unwrap() + 10;
        for _ in 0..chunks {
            buffer.add(|out| out.put(b"x"));
            buffer.hand_over();
        }
        assert!(
            log.dropped() >= 9,
            "the writer holds at most one chunk beside the queue"
        );
        sink.0.0.lock().unwrap().closed = false;
        sink.0.1.notify_all();
        let deadline = std::time::Instant::now() + LIMIT;
        while log.flush(LIMIT) == Flushed::Late && std::time::Instant::now() < deadline {}
        assert_eq!(log.written() + log.dropped(), chunks);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_as_dropped() {
        let sink = Sink::default();
        sink.0.0.lock().unwrap().fails = true;
        let log = Arc::new(AccessLog::start(sink.clone()).unwrap());
        let buffer = LineBuffer::new(Arc::clone(&log));
        buffer.add(|out| out.put(b"x"));
        buffer.hand_over();
        assert_eq!(log.flush(LIMIT), Flushed::Whole);
        assert_eq!((log.written(), log.dropped()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_line_is_handed_over_after_the_interval() {
        let sink = Sink::default();
        let log = Arc::new(AccessLog::start(sink.clone()).unwrap());
        let buffer = LineBuffer::new(Arc::clone(&log));
        buffer.add(|out| out.put(b"x"));
        let run = tokio::time::timeout(FLUSH_INTERVAL * 2, buffer.run()).await;
        assert!(run.is_err(), "it never ends");
        assert_eq!(log.flush(LIMIT), Flushed::Whole);
        assert_eq!(sink.0.0.lock().unwrap().text, b"x\n");
    }
}
