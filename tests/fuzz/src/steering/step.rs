//! One frame at one node: decided, done, and checked against what the bytes say.

use std::collections::HashMap;

use gateway_common::encap::HOPS_MAX;
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::forward::{Notes, apply, decide, short};
use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::{Action, Fate, Reason, Verdict};

use super::frame::StrictFrame;
use super::naive::{self, Link, Outer, Packet, word};
use super::packets::{pseudo, sum};
use super::world::{NodeTables, World, cookie, mac, v4, v6, vip_v4, vip_v6};

/// Headroom that is enough for whatever is put before a packet.
pub const HEADROOM: usize = 64;

/// What became of a frame.
#[derive(Debug)]
pub enum Outcome {
    /// The node's stack has it.
    Stack(Vec<u8>),
    /// It is gone.
    Dropped(Reason),
    /// It is on its way to that node.
    Sent(u8, Vec<u8>),
    /// Its sender gets an answer.
    Answered(Vec<u8>),
}

/// Gives a frame to node `at`. `notes` may hold what was noted of another: the kernel does not clear them.
pub fn step(world: &World, at: u8, before: &[u8], headroom: usize, notes: &mut Notes) -> Outcome {
    let tables = &world.nodes[usize::from(at) - 1];
    let short = Short::take(tables, before, headroom);
    let mut frame = StrictFrame::new(before.to_vec(), headroom);
    let mut verdict = decide(&frame, tables, notes);
    let decided = verdict.reason;
    let fate = apply(&mut frame, &mut verdict, notes);
    assert_eq!(fate, verdict.reason.fate(), "{}", verdict.reason.name());
    let after = frame.bytes();
    if let Some(short) = short {
        short.came_to_the_same_end(tables, verdict, fate, after);
    }
    if verdict.reason != decided {
        assert_eq!(verdict.reason, Reason::NoHeadroom);
        let quotes_too_much = matches!(verdict.action, Action::AnswerTooBig) && before.len() < 22 + 176;
        assert!(
            headroom < HEADROOM || quotes_too_much,
            "{} is not done",
            decided.name()
        );
        return Outcome::Dropped(Reason::NoHeadroom);
    }
    let step = Step {
        world,
        at,
        before,
        after,
    };
    match (verdict.action, fate) {
        (Action::Pass, Fate::Pass) => {
            assert_eq!(after, before, "passed as it came");
            Outcome::Stack(after.to_vec())
        }
        (Action::Decapsulate, Fate::Pass) => {
            step.decapsulated();
            Outcome::Stack(after.to_vec())
        }
        (Action::Drop, Fate::Drop) => {
            assert_eq!(after, before, "dropped as it came");
            Outcome::Dropped(verdict.reason)
        }
        (Action::Send, Fate::Transmit) => {
            let to = step.sent_to(verdict.node.0);
            if step.is_for_here() {
                step.relayed(to);
            } else {
                step.encapsulated(to);
            }
            Outcome::Sent(to, after.to_vec())
        }
        (Action::AnswerEcho, Fate::Transmit) => {
            step.answered_echo();
            Outcome::Answered(after.to_vec())
        }
        (Action::AnswerTooBig, Fate::Transmit) => {
            step.answered_too_big();
            Outcome::Answered(after.to_vec())
        }
        (action, fate) => panic!("{action:?} makes {fate:?}"),
    }
}

/// What the short way did to a frame, and to what is remembered.
struct Short {
    verdict: Verdict,
    fate: Fate,
    bytes: Vec<u8>,
    flows: HashMap<FlowKey, FlowEntry>,
}

impl Short {
    /// Has it do that, and puts the tables back; `None`, if it leaves the frame to the long way.
    fn take(tables: &NodeTables, before: &[u8], headroom: usize) -> Option<Self> {
        let flows = tables.memory.flows.borrow().clone();
        let mut frame = StrictFrame::new(before.to_vec(), headroom);
        let mut verdict = Verdict::early(Reason::NotAVip);
        let fate = short(&mut frame, tables, &mut verdict);
        let flows = tables.memory.flows.replace(flows);
        if fate.is_none() {
            assert_eq!(frame.bytes(), before, "left as it came");
            assert_eq!(flows, *tables.memory.flows.borrow(), "nothing is remembered");
        }
        Some(Self {
            verdict,
            fate: fate?,
            bytes: frame.bytes().to_vec(),
            flows,
        })
    }

    fn came_to_the_same_end(&self, tables: &NodeTables, verdict: Verdict, fate: Fate, after: &[u8]) {
        let reason = verdict.reason.name();
        assert_eq!(self.verdict, verdict, "{reason}");
        assert_eq!(self.fate, fate, "{reason}");
        assert_eq!(self.bytes, after, "{reason}");
        assert_eq!(self.flows, *tables.memory.flows.borrow(), "{reason}");
    }
}

struct Step<'s> {
    world: &'s World,
    at: u8,
    before: &'s [u8],
    after: &'s [u8],
}

impl<'s> Step<'s> {
    fn links(&self) -> (Link<'s>, Link<'s>) {
        let [before, after] =
            [self.before, self.after].map(|frame| naive::link(frame).expect("a frame with a link header"));
        assert_eq!(after.tags.len(), before.tags.len(), "tags");
        assert_eq!(after.tags, before.tags, "tags");
        (before, after)
    }

    /// Whether the frame is for the node's own address: no VIP has one.
    fn is_for_here(&self) -> bool {
        let packet = naive::link(self.before).and_then(|link| link.packet());
        packet.is_some_and(|packet| is_node(packet.to(), self.at))
    }

    /// The packet that came, and what its sender put around it.
    fn arrived(&self, link: &Link<'s>) -> (Packet<'s>, Outer<'s>) {
        let packet = link.packet().expect("an IP packet");
        let outer = packet.outer().expect("encapsulated as nodes do");
        assert_eq!(self.world.common.odd & 1, 0, "from a foreign interface");
        assert!(is_node(outer.to, self.at), "for this node");
        let from = (1..=super::world::NODES).find(|node| is_node(outer.from, *node));
        let from = from.expect("from a node");
        assert_ne!(from, self.at, "from another node");
        match outer.cookie {
            Some(theirs) => assert_eq!(theirs, cookie(from), "its cookie"),
            None => assert_eq!(link.from, mac(from), "its hardware address"),
        }
        assert!((1..=HOPS_MAX).contains(&outer.hops), "{} hops", outer.hops);
        (packet, outer)
    }

    fn decapsulated(&self) {
        let (before, after) = self.links();
        let (_, outer) = self.arrived(&before);
        assert_eq!([after.to, after.from], [before.to, before.from]);
        assert_eq!(
            after.ether_type,
            if outer.inner_version == 4 { 0x0800 } else { 0x86dd }
        );
        assert_eq!(
            after.rest,
            &before.rest[outer.bytes..],
            "the packet that was inside"
        );
        let inner = after.packet().expect("a packet was inside");
        assert!(inner.bytes.len() <= outer.inner.len(), "all of it");
        let is_a_vip = [1, 2]
            .iter()
            .any(|vip| inner.to() == vip_v4(*vip) || inner.to() == vip_v6(*vip));
        assert!(is_a_vip, "nodes send each other what is for VIPs");
    }

    /// Which node the frame goes to, as verdict and hardware address say.
    fn sent_to(&self, node: u16) -> u8 {
        let (before, after) = self.links();
        let to = self.world.node_with(after.to).expect("to a node");
        assert_eq!(u16::from(to), node, "to the verdict's node");
        assert_ne!(to, self.at, "not to itself");
        assert_eq!(after.from, before.to, "from the address that it came to");
        assert_eq!(after.from[0] & 1, 0, "never from a group");
        to
    }

    fn encapsulated(&self, to: u8) {
        let (before, after) = self.links();
        let packet = before.packet().expect("an IP packet");
        let is_l2 = self.world.common.encapsulation == EncapsulationCode::L2;
        if is_l2 && after.rest.len() == before.rest.len() {
            assert_eq!(
                self.after[12..],
                self.before[12..],
                "only the hardware addresses change"
            );
            return;
        }
        let outer = self.written(to, &after, &packet, before.rest);
        let is_member = |node: u8| self.world.common.lacks[usize::from(node) - 1] >> 4 & 1 == 0;
        let sender = self.world.node_with(before.from);
        let is_other = sender.is_some_and(|sender| sender != self.at && is_member(sender));
        let came_by_mac = is_l2 && is_other && self.world.common.odd & 1 == 0;
        assert_eq!(outer.hops, if came_by_mac { 2 } else { 1 });
        assert_eq!(outer.ttl, if came_by_mac { 63 } else { 64 });
    }

    fn relayed(&self, to: u8) {
        let (before, after) = self.links();
        let (_, came) = self.arrived(&before);
        let inside = &before.rest[came.bytes..];
        let packet = naive::packet(came.inner_version, inside).expect("a packet was inside");
        let outer = self.written(to, &after, &packet, inside);
        assert_eq!(outer.hops, came.hops + 1);
        assert_eq!(outer.ttl, came.ttl - 1);
        assert!(outer.hops <= HOPS_MAX && outer.ttl > 0);
    }

    /// Checks an outer header that this program wrote before `packet`, which lies at the start of `inside`.
    fn written(&self, to: u8, after: &Link<'s>, packet: &Packet<'_>, inside: &[u8]) -> Outer<'s> {
        let around = after.packet().expect("an IP packet");
        let outer = around.outer().expect("as nodes encapsulate");
        assert_eq!(
            around.bytes.len(),
            outer.bytes + packet.bytes.len(),
            "as long as it says"
        );
        assert_eq!(
            &after.rest[outer.bytes..],
            inside,
            "the packet as it was, and what stood behind it"
        );
        assert_eq!(outer.inner_version, packet.version);
        assert_eq!(around.traffic_class(), packet.traffic_class());
        assert!(around.is_whole(), "the outer header's checksum");
        assert!(is_node(outer.from, self.at) && is_node(outer.to, to));
        if around.version == 4 {
            assert_eq!(word(around.bytes, 6), 0x4000, "DF and no fragment");
        }
        let is_gue = self.world.common.encapsulation != EncapsulationCode::IPIP;
        assert_eq!(outer.cookie, is_gue.then(|| cookie(self.at)));
        if is_gue {
            let udp = &around.bytes[outer.bytes - 24..];
            assert!(word(udp, 0) >= 0xc000, "a dynamic port");
            assert_eq!(word(udp, 6), 0, "no checksum");
        }
        let mtu = usize::from(self.world.common.mtu);
        assert!(mtu == 0 || around.bytes.len() <= mtu, "fits into the way");
        outer
    }

    fn answered_echo(&self) {
        let (before, after) = self.links();
        let packet = before.packet().expect("an IP packet");
        let (protocol, at) = packet.upper().expect("ICMP");
        assert!(packet.bytes.len() >= at + 8, "a whole ICMP header");
        let answer = after.packet().expect("an IP packet");
        assert_eq!([after.to, after.from], [before.from, before.to]);
        assert_eq!([answer.from(), answer.to()], [packet.to(), packet.from()]);
        let (ttl, reply) = if packet.version == 4 { (8, 0) } else { (7, 129) };
        assert_eq!(protocol, if packet.version == 4 { 1 } else { 58 });
        assert_eq!((answer.bytes[ttl], answer.bytes[at]), (64, reply));
        // All else is as it was, and checksums that were right are.
        let mut expected = before.rest.to_vec();
        let addresses = if packet.version == 4 { 12..20 } else { 8..40 };
        let checksums = [(packet.version == 4).then_some(10..12), Some(at + 2..at + 4)];
        let changed = [addresses, ttl..ttl + 1, at..at + 1];
        for range in changed.into_iter().chain(checksums.into_iter().flatten()) {
            expected[range.clone()].copy_from_slice(&after.rest[range]);
        }
        // IPv6 answers are without traffic class and label.
        if packet.version == 6 {
            expected[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        }
        assert_eq!(after.rest, expected);
        assert_eq!(answer.is_whole(), packet.is_whole());
        let is_right = |packet: &Packet<'_>| icmp_sum(packet, at) == 0xffff;
        assert_eq!(is_right(&answer), is_right(&packet), "the ICMP checksum");
    }

    fn answered_too_big(&self) {
        let (before, after) = self.links();
        let packet = before.packet().expect("an IP packet");
        let answer = after.packet().expect("an IP packet");
        assert_eq!([after.to, after.from], [before.from, before.to]);
        assert_eq!([answer.from(), answer.to()], [packet.to(), packet.from()]);
        assert_eq!(answer.bytes.len(), after.rest.len(), "as long as the frame");
        assert!(answer.is_whole(), "the header's checksum");
        let at = answer.header_end;
        assert_eq!(icmp_sum(&answer, at), 0xffff, "the ICMP checksum");
        let quoted = &answer.bytes[at + 8..];
        assert_eq!(quoted, &before.rest[..quoted.len()]);
        let (head, bytes_max) = if answer.version == 4 {
            ([3, 4], 576)
        } else {
            ([2, 0], 1_280)
        };
        assert_eq!(answer.bytes[at..at + 2], head);
        let (_, payload_at) = packet.upper().expect("TCP or UDP");
        assert!(quoted.len() >= payload_at + 8, "quotes the ports");
        assert!(answer.bytes.len() <= bytes_max, "not longer than an error may be");
        let told = word(answer.bytes, at + 6);
        let fits = |overhead: u16| {
            let limit = self.world.common.mtu;
            let limit = if limit == 0 { u16::MAX } else { limit };
            let mtu = limit.saturating_sub(overhead);
            told == if answer.version == 6 { mtu.max(1_280) } else { mtu }
        };
        assert!([20, 40, 44, 64].into_iter().any(fits), "an MTU of {told}");
    }
}

fn icmp_sum(packet: &Packet<'_>, at: usize) -> u16 {
    let icmp = &packet.bytes[at..];
    match packet.version {
        4 => sum(&[icmp]),
        _ => sum(&[&pseudo(packet.from(), packet.to(), icmp.len()), icmp]),
    }
}

fn is_node(address: &[u8], node: u8) -> bool {
    address == v4(node) || address == v6(node)
}
