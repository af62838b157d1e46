//! The thread that drives `membership`: one UDP socket, the monotonic clock, and nothing else to wait for.
//!
//! It decides nothing. It has a thread of its own, in front of all others where the system lets it, so that
//! a busy proxy is not taken for a dead node.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::membership::{Action, Event, Membership, TICK};
use super::message::{Heartbeat, State};
use super::notice::Notice;
use super::status::NodeStatus;
use super::wait::{self, Waker, Woken};
use super::wire::{DATAGRAM_BYTES_MAX, DropCounters, Replays, Wire};
use crate::view::{Served, View};

/// Datagrams taken in before the clock is looked at again: a flood must not hold up the own heartbeat.
const DATAGRAMS_PER_ROUND_MAX: usize = 64;

/// Heartbeats that say farewell, so that the loss of one is not taken for a death.
const FAREWELLS: u32 = 3;

/// Between two farewells: longer than a burst of loss on a switch, and short against a stop.
const FAREWELL_PAUSE: Duration = Duration::from_millis(20);

/// Between two log lines about the same standing trouble.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);

/// What the handle and the thread share.
#[derive(Debug)]
pub struct Shared {
    wanted: Mutex<Wanted>,
    nodes: Mutex<Vec<NodeStatus>>,
    /// Datagrams that were not heard, by reason.
    pub drops: DropCounters,
    waker: Waker,
}

/// What this node shall say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its state.
    pub state: State,
    /// Its share.
    pub weight: u32,
    /// Which VIPs it serves.
    pub serves: Served,
    /// Whether the thread goes on.
    pub course: Course,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Yes.
    Run,
    /// It says farewell and ends.
    Stop,
}

impl Shared {
    /// Shared state with a way to wake the thread.
    pub fn new(wanted: Wanted, waker: Waker) -> Shared {
        Shared {
            wanted: Mutex::new(wanted),
            nodes: Mutex::new(Vec::new()),
            drops: DropCounters::default(),
            waker,
        }
    }

    /// Changes what is wanted, and wakes the thread.
    pub fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut lock(&self.wanted));
        self.waker.wake();
    }

    /// All nodes as of the last tick.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        lock(&self.nodes).clone()
    }
}

/// Whoever panicked while holding it left plain data behind: it is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
#[derive(Debug)]
pub struct Driver {
    /// Non-blocking.
    pub socket: UdpSocket,
    /// Seals and opens datagrams.
    pub wire: Wire,
    /// The decisions.
    pub membership: Membership,
    /// What the membership's times count from.
    pub epoch: Instant,
    /// The handle's side.
    pub shared: Arc<Shared>,
    /// Wakes this thread.
    pub woken: Woken,
    /// Where views go.
    pub views: watch::Sender<Arc<View>>,
}

impl Driver {
    /// Runs until stopped; said farewell by then.
    pub fn run(mut self) {
        if let Err(error) = prefer_this_thread() {
            tracing::warn!(cause = %error.0, "{error}");
        }
        let mut replays = Replays::default();
        let mut troubles = Troubles::default();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
        // Nothing yet: the handle may have changed its mind before this thread ran.
        let mut said = None;
        let mut tick_at = self.epoch.elapsed();
        loop {
            let wanted = lock(&self.shared.wanted).clone();
            if said.as_ref() != Some(&wanted) {
                self.step(Event::Weight(wanted.weight), &mut troubles);
                self.step(Event::Serves(wanted.serves.clone()), &mut troubles);
                if wanted.course == Course::Stop {
                    return self.farewell(&mut troubles);
                }
                self.step(Event::State(wanted.state), &mut troubles);
                said = Some(wanted);
            }
            let now = self.epoch.elapsed();
            if now >= tick_at {
                self.step(Event::Tick, &mut troubles);
                tick_at = if now >= tick_at + TICK {
                    now + TICK
                } else {
                    tick_at + TICK
                };
                *lock(&self.shared.nodes) = self.membership.nodes(now);
            }
            let time = tick_at.saturating_sub(self.epoch.elapsed());
            if let Err(error) = wait::readable(&[self.socket.as_fd(), self.woken.as_fd()], time) {
                troubles.warn("waiting for heartbeats", &error);
                std::thread::sleep(time);
            }
            self.woken.clear();
            self.receive(&mut buffer, &mut replays, &mut troubles);
        }
    }

    fn receive(&mut self, buffer: &mut [u8], replays: &mut Replays, troubles: &mut Troubles) {
        for _ in 0..DATAGRAMS_PER_ROUND_MAX {
            let length = match self.socket.recv_from(buffer) {
                Ok((length, _)) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return troubles.warn("receiving heartbeats", &error),
            };
            let opened = self.wire.open(buffer.get(..length).unwrap_or_default());
            match opened.and_then(|heartbeat| replays.admit(&heartbeat).map(|()| heartbeat)) {
                Ok(heartbeat) => self.step(Event::Heartbeat(Box::new(heartbeat)), troubles),
                Err(reason) => self.shared.drops.count(reason),
            }
        }
    }

    fn step(&mut self, event: Event, troubles: &mut Troubles) {
        for action in self.membership.step(event, self.epoch.elapsed()) {
            match action {
                Action::Send(to, heartbeat) => self.send(to, &heartbeat, troubles),
                Action::Publish(view) => drop(self.views.send_replace(view)),
                Action::Notice(notice) => troubles.log(&notice),
            }
        }
    }

    fn send(&self, to: SocketAddr, heartbeat: &Heartbeat, troubles: &mut Troubles) {
        match self.wire.seal(heartbeat, rand::random()) {
            Ok(datagram) => {
                if let Err(error) = self.socket.send_to(&datagram, to) {
                    // The other node notices by itself; a dead link says so with every heartbeat.
                    tracing::debug!(%to, %error, "sending a heartbeat");
                }
            }
            Err(error) => troubles.warn("sending heartbeats", &error),
        }
    }

    fn farewell(&mut self, troubles: &mut Troubles) {
        self.step(Event::State(State::Leaving), troubles);
        for _ in 0..FAREWELLS {
            std::thread::sleep(FAREWELL_PAUSE);
            self.step(Event::Tick, troubles);
        }
    }
}

/// Logs, but what repeats with every heartbeat only now and then.
#[derive(Debug, Default)]
struct Troubles {
    logged_at: Option<Instant>,
}

impl Troubles {
    fn log(&mut self, notice: &Notice) {
        match notice {
            Notice::NameTaken { .. } | Notice::Full { .. } if !self.is_due() => {}
            Notice::Died { .. }
            | Notice::Merged { .. }
            | Notice::Refused { .. }
            | Notice::NameTaken { .. }
            | Notice::Full { .. }
            | Notice::Late { .. } => tracing::warn!("{notice}"),
            _ => tracing::info!("{notice}"),
        }
    }

    fn warn(&mut self, doing: &str, error: &(dyn std::error::Error + 'static)) {
        if self.is_due() {
            tracing::warn!(error, "{doing}");
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.logged_at.is_none_or(|at| at.elapsed() >= TROUBLE_PAUSE);
        if due {
            self.logged_at = Some(Instant::now());
        }
        due
    }
}

/// The heartbeat thread competes with all others for a processor.
#[derive(Debug, thiserror::Error)]
#[error(
    "heartbeats run without real-time priority, so a busy machine may delay them until this node is taken for dead: \
     grant CAP_SYS_NICE (in the systemd unit, CapabilityBoundingSet= and, if not root, AmbientCapabilities=), \
     and have no RestrictRealtime= in the unit"
)]
struct NoPriority(#[source] std::io::Error);

/// Puts this thread in front of all ordinary ones, where the system allows it (CAP_SYS_NICE or an rlimit).
///
/// The lowest real-time priority: it suffices, and kernel threads stay in front.
fn prefer_this_thread() -> Result<(), NoPriority> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: `parameters` is valid for the call; 0 means the calling thread.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) } != 0;
    if refused {
        return Err(NoPriority(std::io::Error::last_os_error()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_priority_names_the_remedy() {
        let thread = std::thread::spawn(|| {
            // SAFETY: only this thread becomes nobody (the raw call, not the C library's), and it ends here.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
            if result != 0 {
                // Not root, so without the permission already.
                assert_ne!(nix::unistd::geteuid().as_raw(), 0);
            }
            prefer_this_thread()
        });
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_RTPRIO).unwrap();
        match thread.join().unwrap() {
            Ok(()) => assert!(limit.0 > 0, "an rlimit may permit it to anybody"),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.contains("CAP_SYS_NICE") && text.contains("RestrictRealtime"),
                    "{text}"
                );
            }
        }
    }
}
