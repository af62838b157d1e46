//! The thread that reads what the kernel tells, for as long as anybody wants it.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use gateway_common::trace::PacketEvent;
use tokio::sync::mpsc::error::TrySendError;

use super::told::{self, Moment};
use super::{Inner, Place, Sink, Tracer};
use crate::json_line::json_line;
use crate::l4::L4Error;
use crate::l4::maps::now_ns;

/// How long the kernel tells packets that nobody asks for any more, in nanoseconds.
pub(super) const LEASE_NS: u64 = 3_000_000_000;
/// How often the traces are renewed, and looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Packets that are handed on before the traces are looked at again.
const EVENTS_AT_ONCE: usize = 256;

/// Starts it; where that fails, the ring buffer goes back to where it was.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn start(
    tracer: Arc<Tracer>,
    ring: RingBuf<MapData>,
    back: &mut Option<RingBuf<MapData>>,
) -> Result<(), L4Error> {
    // The thread takes it from here: a closure that could not be started would take the ring buffer with it.
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let started = std::thread::Builder::new()
        .name("trace".to_owned())
        .spawn(move || {
            if let Ok(ring) = receiver.recv() {
                follow(&tracer, ring);
            }
        });
    match started {
        Ok(_) => {
            if let Err(std::sync::mpsc::SendError(ring)) = sender.send(ring) {
                *back = Some(ring);
            }
            Ok(())
        }
        Err(source) => {
            *back = Some(ring);
            Err(L4Error::File {
                action: "start the thread of",
                path: "trace".into(),
                source,
            })
        }
    }
}

fn follow(tracer: &Tracer, mut ring: RingBuf<MapData>) {
    let mut looked = Instant::now();
    loop {
        wait(&ring, LOOK);
        let moment = Moment::now();
        let mut inner = tracer.inner();
        for _ in 0..EVENTS_AT_ONCE {
            let Some(item) = ring.next() else {
                break;
            };
            if let Some(event) = event(&item) {
                inner.tell(&event, moment);
            }
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if !inner.look_after() {
                inner.ring = Some(ring);
                return;
            }
        }
    }
}

/// Waits until the kernel has told something, or so long.
fn wait(ring: &RingBuf<MapData>, longest: Duration) {
    let mut descriptor = libc::pollfd {
        fd: ring.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let milliseconds = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one descriptor, which is open as long as `ring`; that the wait may be cut short does no harm.
    let ready = unsafe { libc::poll(&raw mut descriptor, 1, milliseconds) };
    if ready < 0 {
        // As after a signal; never without a pause.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An event, as the kernel wrote it.
fn event(bytes: &[u8]) -> Option<PacketEvent> {
    if bytes.len() < size_of::<PacketEvent>() {
        return None;
    }
    // SAFETY: there are as many bytes, and any are a value of the type, which is `Pod`.
    Some(unsafe { bytes.as_ptr().cast::<PacketEvent>().read_unaligned() })
}

impl Inner {
    /// Hands a packet to the traces that want it.
    fn tell(&mut self, event: &PacketEvent, moment: Moment) {
        let names = &self.names;
        let mut packet = None;
        for (index, place) in self.places.iter_mut().enumerate() {
            let Some(place) = place else {
                continue;
            };
            if event.traces & 1 << index == 0 || event.at_ns < place.since_ns {
                continue;
            }
            let packet = packet.get_or_insert_with(|| told::packet(event, names, moment));
            place.tell(event, packet);
        }
    }

    /// Renews what is still wanted; `false`: nothing is.
    fn look_after(&mut self) -> bool {
        if self.places.iter().all(Option::is_none) {
            return false;
        }
        let now_ns = match now_ns() {
            Ok(now_ns) => now_ns,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "traces end, for there is no clock"
                );
                return true;
            }
        };
        for (index, place) in self.places.iter().enumerate() {
            if place.as_ref().is_some_and(Place::is_wanted) {
                self.maps.renew(index, now_ns + LEASE_NS);
            }
        }
        true
    }
}

impl Place {
    /// Whether anybody still reads it.
    fn is_wanted(&self) -> bool {
        match &self.sink {
            Sink::Log => true,
            Sink::Reader { lines, .. } => lines.as_ref().is_some_and(|lines| !lines.is_closed()),
        }
    }

    fn tell(&mut self, event: &PacketEvent, packet: &crate::trace::Packet) {
        let Sink::Reader { lines, snap, left } = &mut self.sink else {
            told::log(packet);
            return;
        };
        let Some(sender) = lines else {
            return;
        };
        let line = match snap {
            Some(snap) => json_line(&told::with_frame(packet, event, *snap)),
            None => json_line(packet),
        };
        match sender.try_send(Bytes::from(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.unread += 1;
                return;
            }
            Err(TrySendError::Closed(_)) => {
                *lines = None;
                return;
            }
        }
        if let Some(left) = left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                // The reader finds the end behind the last line.
                *lines = None;
            }
        }
    }
}
