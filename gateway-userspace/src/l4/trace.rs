//! Has the kernel tell of packets, and hands them to who asked.
//!
//! Each trace has a place in the kernel's map, and a bit in what is told. While there is one, a thread reads the ring buffer,
//! and renews the time until which the kernel goes on; without any, there is no thread, and the kernel looks at one word a
//! packet. What a packet's numbers mean, `told` says.

mod maps;
mod thread;
mod told;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use gateway_common::trace::{TRACES_MAX, Trace};
use tokio::sync::mpsc;

use super::mapped::wait_for_readers;
use super::maps::now_ns;
use super::{DataPlane, L4Error};
use crate::trace::{Counting, Counts, Order, Running, Wish};
use maps::TraceMaps;
use thread::LEASE_NS;

/// Packets that a reader may be behind before it loses some: of some 500 bytes each.
const LINES_BEHIND_MAX: usize = 4_096;

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There are as many as there can be.
    #[error("{TRACES_MAX} traces run already, as many as can; end one of them")]
    TooMany,
    /// No VIP has that name.
    #[error("there is no VIP `{name}`; there is: {}", known.join(", "))]
    NoVip {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The kernel's maps cannot be used.
    #[error(transparent)]
    L4(#[from] L4Error),
}

/// What packets' numbers mean on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// This node.
    pub node: String,
    /// VIPs by the number of their counters.
    pub vips: BTreeMap<u16, String>,
    /// Nodes.
    pub nodes: BTreeMap<u16, String>,
}

impl Names {
    fn vip(&self, name: &str) -> Option<u64> {
        let mut vips = self.vips.iter();
        vips.find(|(_, known)| *known == name)
            .map(|(id, _)| u64::from(*id))
    }
}

/// The traces of this node.
pub struct Tracer {
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

struct Inner {
    maps: TraceMaps,
    names: Arc<Names>,
    places: [Option<Place>; TRACES_MAX],
    /// Which trace is the next: so that none ends another one that has its place.
    next: u64,
    /// What the configuration samples, by which place and number; `None`: nothing.
    sampling: Option<(Wish, usize, u64)>,
    /// `None` while the thread has it.
    ring: Option<RingBuf<MapData>>,
}

/// One trace.
struct Place {
    number: u64,
    wish: Wish,
    sink: Sink,
    /// What came before it is none of its own.
    since_ns: u64,
    /// What its place had counted before.
    before: Counts,
    /// Packets that its reader was too slow for.
    unread: u64,
}

/// Who gets the packets.
enum Sink {
    /// A reader, while more are wanted.
    Reader {
        lines: Option<mpsc::Sender<Bytes>>,
        snap: Option<usize>,
        left: Option<u64>,
    },
    /// The log.
    Log,
}

impl Tracer {
    /// Takes the maps of traces out of a loaded object.
    ///
    /// # Errors
    /// The object is not what this program expects.
    pub(super) fn take(object: &mut Ebpf) -> Result<Arc<Self>, L4Error> {
        let (maps, ring) = TraceMaps::take(object)?;
        let inner = Inner {
            maps,
            names: Arc::default(),
            places: Default::default(),
            next: 0,
            sampling: None,
            ring: Some(ring),
        };
        Ok(Arc::new(Self {
            inner: Mutex::new(inner),
        }))
    }

    /// Begins a trace. Blocks, for some milliseconds: not for the control loop.
    ///
    /// # Errors
    /// There are too many, no such VIP, or no thread to be had.
    pub fn start(self: &Arc<Self>, order: Order) -> Result<Running, TraceError> {
        let (sender, lines) = mpsc::channel(LINES_BEHIND_MAX);
        let sink = Sink::Reader {
            lines: Some(sender),
            snap: order.snap,
            left: order.count,
        };
        let (index, number) = self.begin(order.wish, sink)?;
        let held = Held {
            tracer: Arc::clone(self),
            index,
            number,
        };
        Ok(Running {
            lines,
            counting: Box::new(held),
        })
    }

    /// Samples what the configuration says, into the log.
    fn sample(self: &Arc<Self>, wish: Option<&Wish>) {
        let before = self.inner().sampling.take();
        if let Some((now, index, number)) = before {
            if Some(&now) == wish {
                self.inner().sampling = Some((now, index, number));
                return;
            }
            self.end(index, number);
        }
        let Some(wish) = wish else {
            return;
        };
        match self.begin(wish.clone(), Sink::Log) {
            Ok((index, number)) => self.inner().sampling = Some((wish.clone(), index, number)),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "packets are not sampled as [trace] says; trying again with the next change"
            ),
        }
    }

    /// Begins a trace; its place, and its number there.
    fn begin(self: &Arc<Self>, wish: Wish, sink: Sink) -> Result<(usize, u64), TraceError> {
        // No packet is still decided on by what a place said before.
        wait_for_readers();
        let mut inner = self.inner();
        let free = inner.places.iter().position(Option::is_none);
        let index = free.ok_or(TraceError::TooMany)?;
        if let Some(name) = &wish.vip
            && inner.names.vip(name).is_none()
        {
            return Err(TraceError::NoVip {
                name: name.clone(),
                known: inner.names.vips.values().cloned().collect(),
            });
        }
        let before = inner.maps.counts(index)?;
        let since_ns = now_ns()?;
        let number = inner.next;
        inner.next += 1;
        inner.places[index] = Some(Place {
            number,
            wish,
            sink,
            since_ns,
            before,
            unread: 0,
        });
        if let Some(ring) = inner.ring.take()
            && let Err(error) = thread::start(Arc::clone(self), ring, &mut inner.ring)
        {
            inner.places[index] = None;
            return Err(error.into());
        }
        inner.write(index, since_ns + LEASE_NS);
        Ok((index, number))
    }

    /// Ends all traces; their readers find the end of their lines.
    pub(super) fn stop(&self) {
        let mut inner = self.inner();
        inner.sampling = None;
        for index in 0..TRACES_MAX {
            inner.places[index] = None;
            inner.write(index, 0);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Traces that run, that of the configuration among them.
    pub fn running(&self) -> usize {
        self.inner().places.iter().flatten().count()
    }

    fn end(&self, index: usize, number: u64) {
        let mut inner = self.inner();
        let place = inner.places.get_mut(index);
        if let Some(place) = place
            && place.as_ref().is_some_and(|place| place.number == number)
        {
            *place = None;
            inner.write(index, 0);
        }
    }
}

impl Inner {
    /// Writes a trace, which runs until then; 0: none does any more.
    fn write(&mut self, index: usize, until_ns: u64) {
        let trace = self.places.get(index).and_then(Option::as_ref).map(|place| {
            let wish = &place.wish;
            let (mask, prefix) = wish
                .address
                .map_or_else(Default::default, |prefix| prefix.halves());
            Trace {
                until_ns,
                drawn_below: Trace::drawn_below(wish.sample),
                rate: Trace::rate(u64::from(wish.rate)),
                mask,
                prefix,
                vip: match &wish.vip {
                    None => Trace::ANY_VIP,
                    // One that is configured no more is of no packet.
                    Some(name) => self.names.vip(name).unwrap_or(Trace::NO_VIP),
                },
            }
        });
        self.maps.write(index, &trace.unwrap_or_default());
    }
}

/// A trace, which ends when this is dropped.
struct Held {
    tracer: Arc<Tracer>,
    index: usize,
    number: u64,
}

impl Counting for Held {
    fn counts(&self) -> Counts {
        let inner = self.tracer.inner();
        let place = inner.places.get(self.index).and_then(Option::as_ref);
        let Some(place) = place.filter(|place| place.number == self.number) else {
            return Counts::default();
        };
        match inner.maps.counts(self.index) {
            Ok(now) => Counts {
                seen: now.seen - place.before.seen,
                sampled: now.sampled - place.before.sampled,
                limited: now.limited - place.before.limited,
                lost: now.lost - place.before.lost + place.unread,
            },
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "counting a trace");
                Counts::default()
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tracer.end(self.index, self.number);
    }
}

impl DataPlane {
    /// The traces of this node.
    pub fn tracer(&self) -> Arc<Tracer> {
        Arc::clone(&self.loaded.tracer)
    }

    /// Has traces know what packets' numbers mean now, and samples what the configuration says.
    pub(super) fn configure_traces(&self, names: Names, sampling: Option<&Wish>) {
        let tracer = &self.loaded.tracer;
        let mut inner = tracer.inner();
        if *inner.names != names {
            inner.names = Arc::new(names);
            for index in 0..TRACES_MAX {
                if let Some(until_ns) = inner.maps.until_ns(index).filter(|until_ns| *until_ns > 0) {
                    inner.write(index, until_ns);
                }
            }
        }
        drop(inner);
        tracer.sample(sampling);
    }
}
