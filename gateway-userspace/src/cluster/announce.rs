//! Floating addresses: one live node answers for each VIP, and tells the segment when that changes.
//!
//! VIPs stand on `lo` with `arp_ignore=1`, so the kernel answers nothing for them; this thread does, for those that
//! the view gives to this node. So a node whose process is dead or stopped answers nothing either, and its addresses
//! are taken over by the next view. Frames: `arp`, `ndp`. Sockets: `announce::link`. VLANs are not spoken.
//!
//! Source: RFC 5227 (announcements); RFC 4861 section 7.2.6; Thaler and Ravishankar, "A Name-Based Mapping Scheme for
//! Rendezvous", 1996.

mod carrier;
mod link;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gateway_common::vip::VipKey;

use super::lineage::Hasher;
use super::wait::{self, Waker, Woken};
use crate::config::snapshot::Vip;
use crate::view::{Fingerprint, Member, View};
use carrier::Voice;
use link::Link;

/// When an address is announced after each new view: at once, and again in case the first was lost
/// or the switch was busy learning.
const BURST: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
];

/// Between announcements after the burst: below the time (15 to 60 s) in which neighbours doubt an entry.
const REPEAT: Duration = Duration::from_secs(5);
/// How often the links are looked at: a loss of carrier shorter than this cuts nobody off, for a death takes 500 ms.
const CARRIER_LOOK: Duration = Duration::from_millis(100);

/// Frames taken in from one socket before the clock is looked at again.
const FRAMES_PER_ROUND_MAX: usize = 64;

/// Why this node cannot answer for floating addresses.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The process may not open packet sockets.
    #[error(
        "answering for VIPs on {interface}: packet sockets are not permitted; run as root, grant CAP_NET_RAW, \
         or set [cluster] announce = \"none\" and let a router see to the VIPs"
    )]
    NotPermitted {
        /// The interface.
        interface: String,
    },
    /// There is no such interface.
    #[error("answering for VIPs on {interface}: there is no such interface; correct [dataplane] interfaces")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// It has no Ethernet address.
    #[error(
        "answering for VIPs on {interface}: it is no Ethernet interface; take it out of [dataplane] interfaces, \
         or set [cluster] announce = \"none\""
    )]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The system refuses otherwise.
    #[error("answering for VIPs on {interface}: {doing} failed; see the cause")]
    System {
        /// The interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process has reached a limit of the system.
    #[error("starting the announcer thread: raise the limits on processes and open files")]
    Thread(#[source] std::io::Error),
}

/// The member that answers for this address: the highest of the hashes with it of all members that serve it, for the
/// others do not know that there is anything to answer; of all members, while none says that it serves it.
///
/// When a member goes, only its addresses move, each to its next; when it returns, the same ones move back.
/// Members that drain stay eligible: they are live directors, and moving an address for a drain would
/// put neighbours' tables through a change that buys nothing, as their share of connections is 0 already.
pub fn holder(view: &View, address: IpAddr) -> Option<&Member> {
    let fingerprint = Fingerprint::of(&VipKey::of_address(address.into()));
    let serves = |member: &Member| view.serves(member, fingerprint);
    let is_named = view.members.iter().any(serves);
    let candidates = view.members.iter().filter(|member| !is_named || serves(member));
    candidates.max_by_key(|member| {
        let mut hasher = Hasher::default();
        match address {
            IpAddr::V4(v4) => hasher.bytes(&v4.octets()),
            IpAddr::V6(v6) => hasher.bytes(&v6.octets()),
        }
        hasher.text(&member.name);
        (hasher.finish(), &member.name)
    })
}

/// Answers for the VIPs that the latest view gives to this node.
#[derive(Debug)]
pub struct Announcer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    waker: Waker,
}

/// What the thread shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Orders {
    /// Grows with each update, so that the same addresses are announced again.
    number: u64,
    held: BTreeSet<IpAddr>,
    company: Company,
    course: Course,
}

/// Whether there are other nodes, as far as this one knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Company {
    /// There never were any.
    #[default]
    Never,
    /// There are.
    Present,
    /// There were, and none is heard any more.
    Lost,
}

impl Company {
    fn after(self, members: usize) -> Self {
        match self {
            _ if members > 1 => Self::Present,
            Self::Never => Self::Never,
            Self::Present | Self::Lost => Self::Lost,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Course {
    #[default]
    Run,
    Stop,
}

impl Announcer {
    /// Opens its sockets on these interfaces, in the caller's network namespace, and stays silent
    /// until the first [`Announcer::update`]. Those that are not there, or go, are opened once they are.
    ///
    /// # Errors
    /// If packet sockets are not permitted, all interfaces are missing, or one is not Ethernet.
    pub fn start(interfaces: &[String]) -> Result<Announcer, AnnounceError> {
        let (mut links, mut missing) = (Vec::new(), Vec::new());
        for name in interfaces {
            match Link::open(name) {
                Ok(link) => links.push(link),
                Err(AnnounceError::NoInterface { interface }) => missing.push(interface),
                Err(error) => return Err(error),
            }
        }
        if let ([], Some(interface)) = (links.as_slice(), missing.first().cloned()) {
            return Err(AnnounceError::NoInterface { interface });
        }
        let (waker, woken) = wait::waker().map_err(AnnounceError::Thread)?;
        let shared = Arc::new(Shared {
            orders: Mutex::default(),
            waker,
        });
        let worker = Worker {
            links,
            missing,
            looked: Instant::now(),
            woken,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("announcer".to_owned())
            .spawn(move || worker.run())
            .map_err(AnnounceError::Thread)?;
        Ok(Announcer {
            shared,
            thread: Some(thread),
        })
    }

    /// Answers, from now on, for exactly those VIPs whose holder in this view is `me`, and announces them.
    ///
    /// Call it with each new view and each new configuration. Returns the addresses held.
    pub fn update(&self, view: &View, me: &str, vips: &[Vip]) -> Vec<IpAddr> {
        let is_mine = |address: &IpAddr| holder(view, *address).is_some_and(|member| member.name == me);
        let held: BTreeSet<IpAddr> = vips.iter().map(|vip| vip.address).filter(is_mine).collect();
        let list = held.iter().copied().collect();
        self.order(|orders| {
            for gained in held.difference(&orders.held) {
                tracing::info!(vip = %gained, view = view.number, "this node answers for the VIP");
            }
            for lost in orders.held.difference(&held) {
                tracing::info!(vip = %lost, view = view.number, "this node no longer answers for the VIP");
            }
            orders.number = orders.number.wrapping_add(1);
            orders.held = held;
            orders.company = orders.company.after(view.members.len());
        });
        list
    }

    /// Whether its thread runs. If it does not, it has panicked: nobody answers for the VIPs this node holds.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.waker.wake();
    }

    /// Falls silent and ends the thread; so does dropping it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.order(|orders| orders.course = Course::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(
                "the announcer thread had panicked: VIPs held by this node were not answered for"
            );
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's own.
struct Worker {
    links: Vec<Link>,
    /// Interfaces that are not there.
    missing: Vec<String>,
    /// When that was last looked at.
    looked: Instant,
    woken: Woken,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        let mut orders = Orders::default();
        let mut ordered_at = Instant::now();
        let mut sent = 0;
        loop {
            let latest = self
                .shared
                .orders
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if latest.course == Course::Stop {
                return;
            }
            if latest.number != orders.number {
                self.links
                    .iter_mut()
                    .for_each(|link| link.listen_for(&latest.held));
                (orders, ordered_at, sent) = (latest, Instant::now(), 0);
            }
            self.follow_interfaces(&orders.held);
            // What a link that was down keeps from being said is made up for by the burst of the next update.
            let voices = self.voices(&orders);
            let elapsed = ordered_at.elapsed();
            if elapsed >= due(sent) {
                sent = sent.saturating_add(1);
                for (link, _) in self
                    .links
                    .iter_mut()
                    .zip(&voices)
                    .filter(|(_, voice)| **voice == Voice::Speaks)
                {
                    link.announce(&orders.held);
                }
            }
            let time = due(sent).saturating_sub(ordered_at.elapsed()).min(CARRIER_LOOK);
            let fds: Vec<BorrowedFd<'_>> = std::iter::once(self.woken.as_fd())
                .chain(self.links.iter().flat_map(Link::fds))
                .collect();
            if let Err(error) = wait::readable(&fds, time) {
                tracing::warn!(%error, "waiting for neighbour requests");
                std::thread::sleep(time.min(BURST[1]));
            }
            self.woken.clear();
            let nothing = BTreeSet::new();
            // Looked at again: a link may have come back while this thread slept.
            let voices = self.voices(&orders);
            for (link, voice) in self.links.iter_mut().zip(voices) {
                let held = match voice {
                    Voice::Silent => &nothing,
                    Voice::Speaks => &orders.held,
                };
                link.answer(held, FRAMES_PER_ROUND_MAX);
            }
        }
    }

    /// On which links addresses may be claimed now. On none, where no other node is heard any more and a link is lost: by
    /// that one the others may be there, and claim the same.
    fn voices(&mut self, orders: &Orders) -> Vec<Voice> {
        let links = self.links.iter_mut();
        let mut voices: Vec<Voice> = links.map(|link| link.voice(orders.number)).collect();
        let has_lost_one = !self.missing.is_empty() || voices.contains(&Voice::Silent);
        if orders.company == Company::Lost && has_lost_one {
            voices.fill(Voice::Silent);
        }
        voices
    }

    /// Closes links of interfaces that have gone, and opens those that came, or came back.
    fn follow_interfaces(&mut self, held: &BTreeSet<IpAddr>) {
        if self.looked.elapsed() < CARRIER_LOOK {
            return;
        }
        self.looked = Instant::now();
        let gone = self.links.extract_if(.., |link| !link.is_there());
        self.missing.extend(gone.map(Link::into_name));
        for name in std::mem::take(&mut self.missing) {
            match Link::open(&name) {
                Ok(link) => {
                    let mut link = link.come_back();
                    link.listen_for(held);
                    self.links.push(link);
                }
                Err(_) => self.missing.push(name),
            }
        }
    }
}

/// When the announcement after `sent` others is due, counted from the update.
fn due(sent: u32) -> Duration {
    let burst = BURST.into_iter().nth(usize::try_from(sent).unwrap_or(usize::MAX));
    let repeats = sent.saturating_sub(2);
    burst.unwrap_or_else(|| BURST[2].saturating_add(REPEAT.saturating_mul(repeats)))
}

#[cfg(test)]
mod tests;
