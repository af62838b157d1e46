//! The two ends of the packet's way that are not a drop: this node's stack, or another node.

use super::arrive::Arrival;
use super::fragment_key;
use crate::encap::{Format, Hop, OUTER_TTL};
use crate::fragment::FragmentEntry;
use crate::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use crate::parse::{Family, Fragment, Network};
use crate::tables::Tables;
use crate::verdict::{Action, Reason, Verdict};

/// A packet on its last steps.
pub(super) struct Sending<'p, 't, T> {
    pub(super) tables: &'t T,
    pub(super) settings: &'t Settings,
    pub(super) packet: &'p Network,
    pub(super) arrival: Option<Arrival>,
    pub(super) entropy: u16,
    pub(super) verdict: Verdict<'t>,
}

impl<'t, T: Tables> Sending<'_, 't, T> {
    /// Gives the packet to this node's stack.
    #[inline(always)]
    pub(super) fn accept(self, here: Reason, from_node: Reason) -> Verdict<'t> {
        self.note_first_fragment(self.settings.node);
        match self.arrival {
            None => self.verdict.done(Action::Pass, here),
            Some(Arrival { outer: None, .. }) => self.verdict.done(Action::Pass, from_node),
            Some(Arrival {
                outer: Some(outer), ..
            }) => {
                let inner = self.packet.family;
                self.verdict.done(Action::Decapsulate { outer, inner }, from_node)
            }
        }
    }

    /// Sends the packet to another node.
    #[inline(always)]
    pub(super) fn send(self, to: NodeId, reason: Reason) -> Verdict<'t> {
        self.note_first_fragment(to);
        let verdict = Verdict {
            node: to,
            ..self.verdict
        };
        let Some(node) = self.tables.node(to) else {
            return verdict.dropped(Reason::UnknownOwner);
        };
        let format = match (self.settings.encapsulation, self.arrival) {
            (EncapsulationCode::IPIP, _) => Format::Ipip,
            (EncapsulationCode::L2, None) => Format::L2,
            _ => Format::Gue,
        };
        let (outer, mac) = match self.way(node, format) {
            Ok(way) => way,
            Err(reason) => return verdict.dropped(reason),
        };
        let (hops, ttl) = match self.arrival {
            None => (1, OUTER_TTL),
            Some(arrival) => {
                let ttl = arrival.outer.map_or(OUTER_TTL, |outer| outer.ttl);
                if ttl <= 1 {
                    return verdict.dropped(Reason::TtlExpired);
                }
                (arrival.hops + 1, ttl - 1)
            }
        };
        if let Some(mtu) = node.mtu(outer)
            && self.packet.total_bytes + format.bytes(outer) > mtu
            && format != Format::L2
        {
            return self.too_big(verdict, mtu.saturating_sub(format.bytes(outer)));
        }
        let hop = Hop {
            from: self.settings,
            to: node,
            mac,
            format,
            outer,
            hops,
            ttl,
            entropy: self.entropy,
        };
        let packet = self.packet.shape();
        let action = match self.arrival.and_then(|arrival| arrival.outer) {
            None => Action::Encapsulate { packet, hop },
            Some(outer) => Action::Relay { outer, packet, hop },
        };
        verdict.done(action, reason)
    }

    /// By which family's outer header, and which hardware address: the packet's own family where both nodes have it.
    #[inline(always)]
    fn way(&self, node: &NodeEntry, format: Format) -> Result<(Family, [u16; 3]), Reason> {
        let mut refusal = Reason::UnknownOwner;
        for family in [self.packet.family, self.packet.family.other()] {
            let has_addresses = !node.address(family).is_unset() && !self.settings.address(family).is_unset();
            if !has_addresses && format != Format::L2 {
                continue;
            }
            match node.mac(family) {
                Some(mac) => return Ok((family, mac)),
                None => refusal = Reason::UnresolvedNextHop,
            }
        }
        Err(refusal)
    }

    /// Tells the client what would have fitted. Between nodes nobody can be told, and of a fragment without ports or an
    /// ICMP error nobody is (RFC 1122, 3.2.2).
    #[inline(always)]
    fn too_big(&self, verdict: Verdict<'t>, mtu: usize) -> Verdict<'t> {
        let may_be_told = self.arrival.is_none()
            && self.packet.fragment != Fragment::Later
            && crate::parse::is_steered(self.packet.protocol);
        if !may_be_told || !self.tables.may_send_error() {
            return verdict.dropped(Reason::TooBigUnanswered);
        }
        let packet = self.packet.shape();
        verdict.done(Action::AnswerTooBig { packet, mtu }, Reason::TooBigAnswered)
    }

    /// Remembers where the first fragment of a packet goes, so that the rest can follow.
    #[inline(always)]
    fn note_first_fragment(&self, node: NodeId) {
        if self.packet.fragment == Fragment::First {
            let entry = FragmentEntry {
                node,
                zero: [0; 3],
                at_ns: self.tables.now_ns(),
            };
            self.tables.remember_fragment(&fragment_key(self.packet), entry);
        }
    }
}
