//! What was decided for a packet, and why.

use crate::encap::Hop;
use crate::node::NodeId;
use crate::parse::Network;
use crate::vip::VipId;

/// What becomes of a frame, with all that doing it needs.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// The stack gets it as it is.
    Pass,
    /// Nobody gets it.
    Drop,
    /// The stack gets what the outer header encloses.
    Decapsulate {
        /// The outer header.
        outer: Network,
    },
    /// Another node gets it, with an outer header before `packet`.
    Encapsulate {
        /// The packet as it came.
        packet: Network,
        /// Where it goes.
        hop: Hop,
    },
    /// Another node gets it, with the outer header that it came with, readdressed.
    Readdress {
        /// The outer header as it came.
        outer: Network,
        /// Where it goes.
        hop: Hop,
    },
}

/// What the kernel does with the frame once the action is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Up the stack.
    Pass,
    /// Gone.
    Drop,
    /// Out of the interface that it came in by.
    Transmit,
}

/// What was decided for a packet.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// What becomes of it.
    pub action: Action,
    /// Why; each reason has one counter.
    pub reason: Reason,
    /// Its VIP, as far as it got.
    pub vip: VipId,
    /// The node it goes to, if to another one.
    pub node: NodeId,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $fate:ident,)+) => {
        /// Why a packet was passed, dropped or sent on. The order is that of the counters in the kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in metrics, logs and messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happens to a packet for this reason.
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)+ }
            }
        }
    };
}

reasons! {
    /// Not IPv4 or IPv6: ARP and whatever else the link carries.
    NotIp = "not-ip" Pass,
    /// For no VIP of ours.
    NotAVip = "not-a-vip" Pass,
    /// A fragment without ports: the stack may know what it belongs to.
    FragmentWithoutPorts = "fragment-without-ports" Pass,
    /// User space has not filled the tables yet.
    NotConfigured = "not-configured" Pass,
    /// A SYN for a listener of this node.
    ListenerHere = "listener-here" Pass,
    /// A packet of a connection of this node.
    SocketHere = "socket-here" Pass,
    /// A datagram whose owner is this node.
    DatagramHere = "datagram-here" Pass,
    /// Nobody is left who might know the connection: the stack resets it.
    NoCandidate = "no-candidate" Pass,
    /// A SYN that another node sent, for a listener of this node.
    ListenerFromNode = "listener-from-node" Pass,
    /// A packet that another node sent, of a connection of this node.
    SocketFromNode = "socket-from-node" Pass,
    /// A datagram that another node sent.
    DatagramFromNode = "datagram-from-node" Pass,
    /// Another node sent it, and nobody is left who might know the connection: the stack resets it.
    NoCandidateFromNode = "no-candidate-from-node" Pass,
    /// It was sent from node to node as often as it may be: the stack resets it.
    NoHopLeft = "no-hop-left" Pass,
    /// To the owner of its slot.
    ToOwner = "to-owner" Transmit,
    /// To the node that the flow table names.
    ToFlowOwner = "to-flow-owner" Transmit,
    /// To a node that owned its slot before, for no socket here knows it.
    ToPreviousOwner = "to-previous-owner" Transmit,
    /// To the owner that this node's tables name, for the sender's named this node and no socket here knows it.
    ToOtherOwner = "to-other-owner" Transmit,
    /// To the node that owns the slot without this one, for nothing listens here.
    ToSuccessor = "to-successor" Transmit,
    /// Ends within Ethernet or its tags.
    TruncatedLink = "truncated-link" Drop,
    /// Three VLAN tags or more.
    TooManyTags = "too-many-tags" Drop,
    /// Ends within the IP header, or before the length that it claims.
    TruncatedNetwork = "truncated-network" Drop,
    /// An IP header that contradicts itself.
    BadNetwork = "bad-network" Drop,
    /// Ends within the TCP or UDP header.
    TruncatedTransport = "truncated-transport" Drop,
    /// A TCP header that contradicts itself.
    BadTransport = "bad-transport" Drop,
    /// For a VIP, to a group's hardware address: more than one node may have got it.
    GroupAddress = "group-address" Drop,
    /// The first fragment of a packet for a VIP, or any that another node sent: the rest could not follow.
    Fragment = "fragment" Drop,
    /// Encapsulated for this node, but not in the way that nodes encapsulate.
    UnexpectedEncapsulation = "unexpected-encapsulation" Drop,
    /// Encapsulated for this node, on an interface that nodes are not reached by.
    ForeignInterface = "foreign-interface" Drop,
    /// Encapsulated for this node, by an address that is no node's.
    UnknownNode = "unknown-node" Drop,
    /// Encapsulated for this node, with a node's address and another hardware address.
    WrongMac = "wrong-mac" Drop,
    /// Encapsulated for this node with a hop count that no node writes.
    BadHops = "bad-hops" Drop,
    /// A node sent something that is for no VIP of ours.
    UnknownVipInside = "unknown-vip-inside" Drop,
    /// No node serves.
    NoOwner = "no-owner" Drop,
    /// The node it should go to has no address of that family, or left a moment ago.
    UnknownOwner = "unknown-owner" Drop,
    /// The node it should go to has no known hardware address yet.
    UnresolvedNextHop = "unresolved-next-hop" Drop,
    /// Too many hops: a loop was cut.
    TtlExpired = "ttl-expired" Drop,
    /// No headroom for an outer header.
    NoHeadroom = "no-headroom" Drop,
}

/// Number of reasons, and of their counters.
pub const REASONS: u32 = Reason::ALL.len() as u32;

impl Verdict {
    /// A verdict for a packet that got no further than a check.
    #[inline(always)]
    pub fn early(reason: Reason) -> Self {
        let action = match reason.fate() {
            Fate::Pass => Action::Pass,
            Fate::Drop | Fate::Transmit => Action::Drop,
        };
        Self {
            action,
            reason,
            vip: VipId(0),
            node: NodeId::NOBODY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_name_and_counter() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.name());
            assert_eq!(
                Reason::ALL
                    .iter()
                    .filter(|other| other.name() == reason.name())
                    .count(),
                1
            );
        }
    }
}
