//! What was decided for a packet, and why.

use crate::node::NodeId;
use crate::vip::VipId;

/// What becomes of a frame. What was noted of it says the rest ([`crate::forward::Notes`]): of an enum with fields the
/// compiler copies what was never written, and the verifier refuses that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The stack gets it as it is.
    Pass,
    /// Nobody gets it.
    Drop,
    /// The stack gets what another node put something around.
    Decapsulate,
    /// Another node gets it: a client's packet with something put around it, or what a node sent with something else.
    Send,
    /// The sender gets an echo reply.
    AnswerEcho,
    /// The sender learns the length of the longest packet that would have fitted.
    AnswerTooBig,
}

impl Action {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Pass,
        Self::Drop,
        Self::Decapsulate,
        Self::Send,
        Self::AnswerEcho,
        Self::AnswerTooBig,
    ];

    /// Its name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Decapsulate => "decapsulate",
            Self::Send => "send",
            Self::AnswerEcho => "answer-echo",
            Self::AnswerTooBig => "answer-too-big",
        }
    }
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
    /// Out of another one: that of its hop. As a reason's fate it is [`Fate::Transmit`].
    Redirect,
}

/// What was decided for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// User space has not filled the tables yet.
    NotConfigured = "not-configured" Pass,
    /// A heartbeat of a node.
    Heartbeat = "heartbeat" Pass,
    /// A SYN for a listener of this node.
    ListenerHere = "listener-here" Pass,
    /// A packet of a connection of this node.
    SocketHere = "socket-here" Pass,
    /// The last packet of a handshake by SYN cookie with a listener of this node.
    HandshakeHere = "handshake-here" Pass,
    /// A datagram for a socket of this node.
    DatagramHere = "datagram-here" Pass,
    /// A fragment without ports whose packet is this node's.
    FragmentHere = "fragment-here" Pass,
    /// An ICMP error about a flow of this node.
    ErrorHere = "error-here" Pass,
    /// Nobody is left who might know the connection: the stack resets it.
    NoCandidate = "no-candidate" Pass,
    /// A SYN that another node sent, for a listener of this node.
    ListenerFromNode = "listener-from-node" Pass,
    /// A packet that another node sent, of a connection of this node.
    SocketFromNode = "socket-from-node" Pass,
    /// The last packet of a handshake by SYN cookie that another node sent.
    HandshakeFromNode = "handshake-from-node" Pass,
    /// A datagram that another node sent, for a socket of this node.
    DatagramFromNode = "datagram-from-node" Pass,
    /// A fragment without ports that another node sent.
    FragmentFromNode = "fragment-from-node" Pass,
    /// An ICMP error that another node sent, about a flow of this node.
    ErrorFromNode = "error-from-node" Pass,
    /// Another node sent it, and nobody is left who might know the connection: the stack resets it.
    NoCandidateFromNode = "no-candidate-from-node" Pass,
    /// It was sent from node to node as often as it may be: the stack resets it.
    NoHopLeft = "no-hop-left" Pass,
    /// To the owner of its slot.
    ToOwner = "to-owner" Transmit,
    /// To the node that the flow table names.
    ToFlowOwner = "to-flow-owner" Transmit,
    /// To the node that its QUIC connection id names.
    ToNamedNode = "to-named-node" Transmit,
    /// To the node that got the first fragment of its packet.
    ToFragmentOwner = "to-fragment-owner" Transmit,
    /// To a node that owned its slot before, for no socket here knows it.
    ToPreviousOwner = "to-previous-owner" Transmit,
    /// To the owner that this node's tables name, for the sender's named this node and no socket here knows it.
    ToOtherOwner = "to-other-owner" Transmit,
    /// To the node that owns the slot without this one, for nothing listens here.
    ToSuccessor = "to-successor" Transmit,
    /// To the owner of another slot, for this node's control plane is dead and its own slot's owner was not heard lately.
    ToHeardNode = "to-heard-node" Transmit,
    /// To the owner of the slot of its 5-tuple, for its source has more than its share of a VIP with `ip-hash`, or had it.
    ToSpreadOwner = "to-spread-owner" Transmit,
    /// To another node, for a node sent it here and this one does not know the VIP.
    ToNodeThatKnows = "to-node-that-knows" Transmit,
    /// An echo request for a VIP: answered.
    EchoAnswered = "echo-answered" Transmit,
    /// It does not fit into the way to its owner: the sender is told what would.
    TooBigAnswered = "too-big-answered" Transmit,
    /// Ends within Ethernet or its tags.
    TruncatedLink = "truncated-link" Drop,
    /// Three VLAN tags or more.
    TooManyTags = "too-many-tags" Drop,
    /// Ends within the IP header or its extensions, or before the length that it claims.
    TruncatedNetwork = "truncated-network" Drop,
    /// An IP header that contradicts itself.
    BadNetwork = "bad-network" Drop,
    /// For a VIP, with more extension headers than are walked over.
    TooManyExtensions = "too-many-extensions" Drop,
    /// Ends within the TCP, UDP or ICMP header.
    TruncatedTransport = "truncated-transport" Drop,
    /// A TCP header that contradicts itself.
    BadTransport = "bad-transport" Drop,
    /// For a VIP or encapsulated for this node, to a group's hardware address: more than one node may have got it.
    GroupAddress = "group-address" Drop,
    /// Encapsulated for this node, but not in the way that nodes encapsulate.
    UnexpectedEncapsulation = "unexpected-encapsulation" Drop,
    /// Encapsulated for this node, on an interface that nodes are not reached by.
    ForeignInterface = "foreign-interface" Drop,
    /// Encapsulated for this node, by an address that is no other node's.
    UnknownNode = "unknown-node" Drop,
    /// Encapsulated for this node, with a node's address and another hardware address.
    WrongMac = "wrong-mac" Drop,
    /// Encapsulated for this node, with a node's address and without its cookie.
    BadCookie = "bad-cookie" Drop,
    /// Encapsulated for this node with a hop count that no node writes.
    BadHops = "bad-hops" Drop,
    /// A node sent something that is for no VIP of ours, and nobody is left who might know it.
    UnknownVipInside = "unknown-vip-inside" Drop,
    /// No node serves.
    NoOwner = "no-owner" Drop,
    /// The node it should go to has no address that this one could send to, or left a moment ago.
    UnknownOwner = "unknown-owner" Drop,
    /// The node it should go to has no known hardware address yet, or the interface that leads there is gone.
    UnresolvedNextHop = "unresolved-next-hop" Drop,
    /// Too many hops: a loop was cut.
    TtlExpired = "ttl-expired" Drop,
    /// It does not fit into the way to the next node, and nobody is told: too many were told already, or nobody may be.
    TooBigUnanswered = "too-big-unanswered" Drop,
    /// No headroom for an outer header.
    NoHeadroom = "no-headroom" Drop,
    /// Its sender is denied.
    Denied = "denied" Drop,
    /// It says that the receiver sent it.
    Land = "land" Drop,
    /// It says that an address sent it that no machine has: multicast, broadcast, loopback or none.
    BadSource = "bad-source" Drop,
    /// A TCP segment with flags that no TCP sends: none, SYN with FIN or RST, FIN without ACK.
    BadFlags = "bad-flags" Drop,
    /// A SYN of a source that has begun too many connections.
    SourceLimit = "source-limit" Drop,
    /// A SYN for a VIP to which too many connections have begun.
    VipLimit = "vip-limit" Drop,
}

/// Number of reasons, and of their counters.
pub const REASONS: u32 = Reason::ALL.len() as u32;

impl Verdict {
    /// A verdict for a packet for that VIP.
    #[inline(always)]
    pub fn of(vip: VipId, action: Action, reason: Reason) -> Self {
        Self {
            action,
            reason,
            vip,
            node: NodeId::NOBODY,
        }
    }

    /// A verdict for a packet that got no further than a check.
    #[inline(always)]
    pub fn early(reason: Reason) -> Self {
        let action = match reason.fate() {
            Fate::Pass => Action::Pass,
            Fate::Drop | Fate::Transmit | Fate::Redirect => Action::Drop,
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
    fn actions_stand_in_the_order_of_their_numbers() {
        for (index, action) in Action::ALL.iter().enumerate() {
            assert_eq!(*action as usize, index, "{}", action.name());
        }
    }

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
