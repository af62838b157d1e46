//! The packet's way, top to bottom: [`decide`] says what becomes of a frame, [`apply`] does it to the bytes. [`short`] is the
//! same for the plainest frames, from end to end, and is asked first.
//!
//! Both are generic over the frame and the tables, and run unchanged in the kernel and in tests. The steps are those of
//! the design: parse, decapsulate, look up the VIP, filter, ask the flow tables, ask the Maglev table, see whether the packet is
//! for this node's sockets, send it on.

mod about;
mod arrive;
mod candidates;
mod end;
mod filter;
mod remembered;
mod send;
mod short;
mod traced;

use core::sync::atomic::{Ordering, compiler_fence};

use crate::encap::{self, Hop};
use crate::frame::Frame;
use crate::hash;
use crate::headers::{Ethernet, PROTOCOL_TCP};
use crate::icmp;
use crate::node::Settings;
use crate::parse::{self, About, Matter, Network};
use crate::tables::{Socket, Tables};
use crate::verdict::{Action, Fate, Reason, Verdict};
use crate::vip::{TableId, VipEntry, VipId};

use about::{not_understood, vip_of};
use arrive::Arrival;
use candidates::Slots;
use end::{End, Place};
use filter::{Admitted, Heat, Memory};
use remembered::Opening;

pub use candidates::{HEARD_NS, LEASE_NS};
pub use short::short;

/// The table that all members share: of what a node sends that is for no VIP here.
pub const TABLE_OF_ALL: TableId = TableId(0);

/// What a decision notes while it is made.
///
/// It lies beside the stack, of which a kernel program has 512 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes {
    /// The packet; once it is taken out of what a node put around it, that one.
    packet: Network,
    /// What it is about.
    about: About,
    /// Who sent it; `None`: a client.
    arrival: Option<Arrival>,
    /// What the filter says of it.
    admitted: Admitted,
    /// Where its way ends.
    end: End,
    /// Where its flow falls.
    entropy: u16,
    /// Its VIP.
    vip: VipId,
    /// Where it is sent, and in what.
    hop: Hop,
    /// The longest packet that would have fitted, if it did not, in bytes.
    mtu: u16,
}

impl Notes {
    /// Where a packet is sent that is sent on, and in what.
    pub fn hop(&self) -> &Hop {
        &self.hop
    }

    /// The longest packet that would have fitted, where one did not, in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }
}

/// Decides what becomes of a frame.
#[inline(always)]
pub fn decide<F: Frame, T: Tables>(frame: &F, tables: &T, notes: &mut Notes) -> Verdict {
    // Parse.
    let link = match parse::link(frame) {
        Ok(link) => link,
        Err(reason) => return Verdict::early(reason),
    };
    let Notes {
        packet,
        about,
        arrival,
        admitted,
        end,
        entropy,
        vip: vip_id,
        hop,
        mtu,
    } = notes;
    if let Err(reason) = parse::network(frame, link.network_at, link.ether_type, packet) {
        return Verdict::early(reason);
    }
    let Some(settings) = tables.settings() else {
        return Verdict::early(Reason::NotConfigured);
    };

    // Decapsulate what another node sent.
    *arrival = None;
    *admitted = Admitted::default();
    if is_for(settings, packet)
        && let Err(reason) = arrive::encapsulated(frame, tables, settings, packet, arrival)
    {
        return Verdict::early(reason);
    }

    // Filter, whatever it is for, where the lists hold for the host.
    if arrival.is_none() && filter::is_denied_here(tables, packet) {
        return Verdict::early(Reason::Denied);
    }

    // Look up the VIP.
    if let Err(reason) = parse::about(frame, packet, about) {
        return not_understood(tables, packet, *arrival, reason);
    }
    let vip = vip_of(tables, about);
    if vip.is_none() && arrival.is_none() {
        return Verdict::early(Reason::NotAVip);
    }
    if let Some(vip) = vip {
        if is_for_a_group(frame) {
            return Verdict::of(vip.id, Action::Drop, Reason::GroupAddress);
        }
        if about.matter != Matter::Echo && arrival.is_none() {
            arrive::by_mac(frame, tables, settings, arrival);
        }
        // Filter, once, what a client sends.
        if arrival.is_none() {
            match filter::client(tables, settings, packet, about, vip) {
                Ok(found) => *admitted = found,
                Err(reason) => return Verdict::of(vip.id, Action::Drop, reason),
            }
        }
        if about.matter == Matter::Echo {
            return match *arrival {
                None => Verdict::of(vip.id, Action::AnswerEcho, Reason::EchoAnswered),
                // Whoever gets one answers it.
                Some(_) => Verdict::of(vip.id, Action::Drop, Reason::UnexpectedEncapsulation),
            };
        }
    }

    step();

    // Find where it ends: here, or at the node that owns it.
    let hash = hash::of_flow(settings.hash_key, &about.flow);
    *entropy = hash as u16;
    *end = match vip {
        Some(vip) => steer(
            frame, tables, settings, packet, about, *arrival, vip, *admitted, hash,
        ),
        None => unknown_inside(tables, settings, about, *arrival),
    };
    *vip_id = vip.map_or(VipId(0), |vip| vip.id);
    step();
    if let Some(vip) = vip
        && end.place == Place::Nobody
    {
        *end = by_flow(tables, settings, about, vip, *arrival);
        step();
    }
    let way = send::Way { hop, mtu };
    send::end(tables, settings, packet, *arrival, *entropy, *vip_id, *end, way)
}

/// Between two steps: what was noted is read again behind it, not carried over in registers.
///
/// Costs next to nothing, and keeps the verifier's work small: it then knows one state behind the step, not one for each
/// way that led there.
#[inline(always)]
fn step() {
    compiler_fence(Ordering::SeqCst);
}

/// Finds the owner of a packet for a VIP: at the director by what is remembered, else by the slot; and whether that is
/// this node, by its sockets.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one step of `decide`; a struct would only rename its locals"
)]
fn steer<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    settings: &Settings,
    packet: &Network,
    about: &About,
    arrival: Option<Arrival>,
    vip: &VipEntry,
    admitted: Admitted,
    hash: u64,
) -> End {
    let is_tcp = about.flow.protocol == u16::from(PROTOCOL_TCP);
    let opens = about.flags.opens();
    let known = match (about.matter, arrival) {
        (Matter::LaterFragment, _) => remembered::fragment_owner(tables, settings, packet),
        (_, Some(_)) => None,
        (Matter::Segment | Matter::Error, None) if is_tcp => {
            // One that begins anew is none of an old one; but of a source that is spread now and not the next moment, a SYN
            // that is sent again goes where the first one went.
            let as_first = if admitted.source == Heat::Unwatched {
                Opening::Anew
            } else {
                Opening::Again
            };
            remembered::flow_owner(tables, settings, about, hash, as_first)
        }
        (_, None) => remembered::named_node(frame, tables, settings, packet, about, vip)
            .or_else(|| remembered::udp_flow_owner(tables, settings, about, hash)),
    };
    // Most packets are of a flow that is known to be another node's: those need no slot.
    let slots = match known {
        Some((owner, _)) if owner != settings.node => Slots::unread(),
        _ if admitted.source == Heat::Hot => {
            Slots::read(tables, vip.table, filter::spread_by_flow(settings, about, vip))
        }
        _ => Slots::read(
            tables,
            vip.table,
            hash::spread(settings.hash_key, Some(vip), &about.flow),
        ),
    };
    let (owner, reason) = match (known, arrival) {
        (Some(known), _) => known,
        // Another node found it to be this one.
        (None, Some(_)) => (settings.node, Reason::ToOwner),
        (None, None) if admitted.source == Heat::Hot => {
            let (owner, _) = slots.owner(tables, settings);
            (owner, Reason::ToSpreadOwner)
        }
        (None, None) => slots.owner(tables, settings),
    };
    if owner.is_nobody() && arrival.is_none() {
        return End::nowhere(Reason::NoOwner);
    }
    if opens && arrival.is_none() && admitted.memory == Memory::Kept {
        remembered::remember(tables, &about.flow, hash, owner);
    }
    let is_for_here = owner == settings.node;
    let has_no_hop_left = arrival.is_some_and(|arrival| arrival.hops >= encap::HOPS_MAX);
    if about.matter == Matter::LaterFragment {
        return if is_for_here || has_no_hop_left {
            End::here(Reason::FragmentHere, Reason::FragmentFromNode)
        } else {
            End::at(owner, reason)
        };
    }

    // Mine? Then the stack gets it. A flow that no table knows may have been accepted here before its slot moved away, if
    // the slot does not say who had it all the time; a flow that a table knows needs no look at the sockets.
    let may_be_known = || slots.may_be_known(settings) || filter::may_be_spread(tables.protection(), vip);
    let looks = is_for_here || (known.is_none() && !opens && may_be_known());
    let socket = match (looks, is_tcp) {
        (false, _) => Socket::None,
        (true, true) => tables.tcp_socket(frame, packet, about).for_segment(about.flags),
        (true, false) => tables.udp_socket(packet, about),
    };
    let is_new_datagram = about.matter == Matter::Datagram && arrival.is_none() && known.is_none();
    if is_new_datagram && socket != Socket::Connection {
        remembered::remember_datagram(tables, settings, about, hash, owner);
    }
    if !is_for_here && socket != Socket::Connection {
        return End::at(owner, reason);
    }
    match (about.matter, socket) {
        (Matter::Segment, Socket::Connection) => {
            return End::here(Reason::SocketHere, Reason::SocketFromNode);
        }
        (Matter::Segment, Socket::Handshake) => {
            return End::here(Reason::HandshakeHere, Reason::HandshakeFromNode);
        }
        (Matter::Segment, Socket::Listener) if opens => {
            return End::here(Reason::ListenerHere, Reason::ListenerFromNode);
        }
        (Matter::Datagram, Socket::Connection | Socket::Listener) => {
            return End::here(Reason::DatagramHere, Reason::DatagramFromNode);
        }
        (Matter::Error, Socket::Connection) => {
            return End::here(Reason::ErrorHere, Reason::ErrorFromNode);
        }
        (Matter::Error, Socket::Listener) if !is_tcp => {
            return End::here(Reason::ErrorHere, Reason::ErrorFromNode);
        }
        _ => {}
    }

    // Not known here: to whoever may know it, while a hop is left; else the stack resets it.
    if has_no_hop_left {
        return End::here(Reason::NoCandidate, Reason::NoHopLeft);
    }
    match slots.next(tables, settings, socket, arrival) {
        Some((candidate, reason)) => End::at(candidate, reason),
        None => End::nobody(),
    }
}

/// Where a packet ends whose connection nobody knows that its slot names: of a source that has more than its share of a VIP
/// now and then, at the owner of the slot of its 5-tuple; else here, where the stack resets it.
#[inline(always)]
fn by_flow<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    vip: &VipEntry,
    arrival: Option<Arrival>,
) -> End {
    let spread = filter::spread_if_hot(tables, settings, about, vip);
    let owner = spread
        .and_then(|spread| Slots::read(tables, vip.table, spread).other_owner(tables, settings, arrival));
    match owner {
        Some(node) => End::at(node, Reason::ToSpreadOwner),
        None => End::here(Reason::NoCandidate, Reason::NoCandidateFromNode),
    }
}

/// Where a packet ends that another node sent and that is for no VIP of ours: at a node that may know it.
#[inline(always)]
fn unknown_inside<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    arrival: Option<Arrival>,
) -> End {
    let spread = hash::spread(settings.hash_key, None, &about.flow);
    let slots = Slots::read(tables, TABLE_OF_ALL, spread);
    match arrival.and_then(|arrival| slots.who_knows(settings, &arrival)) {
        Some(node) => End::at(node, Reason::ToNodeThatKnows),
        None => End::nowhere(Reason::UnknownVipInside),
    }
}

/// Does to the frame what was decided, and says what the kernel does with it then. `notes` are those of the decision.
///
/// The reason changes only where the frame has no headroom.
#[inline(always)]
pub fn apply<F: Frame>(frame: &mut F, verdict: &mut Verdict, notes: &Notes) -> Fate {
    let packet = &notes.packet;
    let outer = notes.arrival.and_then(|arrival| arrival.outer);
    let done = match verdict.action {
        Action::Pass => return Fate::Pass,
        Action::Drop => return Fate::Drop,
        Action::Decapsulate => match outer {
            Some(outer) => encap::decapsulate(frame, outer, packet.family),
            // Nothing is around it.
            None => return Fate::Pass,
        },
        Action::Send => encap::send(frame, packet, outer, &notes.hop),
        Action::AnswerEcho => icmp::answer_echo(frame, packet),
        Action::AnswerTooBig => icmp::answer_too_big(frame, packet, notes.mtu),
    };
    if done.is_err() {
        verdict.reason = Reason::NoHeadroom;
        return Fate::Drop;
    }
    if verdict.action == Action::Send && notes.hop.interface != 0 {
        return Fate::Redirect;
    }
    verdict.reason.fate()
}

#[inline(always)]
fn is_for(settings: &Settings, packet: &Network) -> bool {
    let address = settings.address(packet.family);
    packet.destination == *address && !address.is_unset()
}

/// Whether the frame is for a group of machines; more than one may have got it then.
#[inline(always)]
fn is_for_a_group<F: Frame>(frame: &F) -> bool {
    let ethernet: Option<Ethernet> = frame.read(0);
    ethernet.is_some_and(|ethernet| ethernet.is_for_a_group())
}

#[cfg(test)]
mod tests;
