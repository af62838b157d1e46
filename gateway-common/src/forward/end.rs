//! Where the way of a packet ends, and why: what is decided before it is known how it gets there.

use crate::node::NodeId;
use crate::verdict::Reason;

/// Where the way of a packet ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere.
    #[default]
    Nowhere,
    /// At this node's stack.
    Here,
    /// At another node.
    Node,
    /// At whoever knows it, and nobody is left whom its slot names.
    Nobody,
}

/// The end of the way of a packet.
///
/// No enum with fields: of those that a variant lacks the compiler copies what was never written, and the verifier
/// refuses that.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) place: Place,
    /// The other node.
    pub(super) node: NodeId,
    /// Why.
    pub(super) reason: Reason,
    /// Why, if it came from another node and ends here.
    pub(super) from_node: Reason,
}

impl Default for End {
    fn default() -> Self {
        Self::nowhere(Reason::NoOwner)
    }
}

impl End {
    /// At this node's stack: for the first reason if it came from a client, for the second if from a node.
    #[inline(always)]
    pub(super) const fn here(reason: Reason, from_node: Reason) -> Self {
        Self {
            place: Place::Here,
            node: NodeId::NOBODY,
            reason,
            from_node,
        }
    }

    /// At another node.
    #[inline(always)]
    pub(super) const fn at(node: NodeId, reason: Reason) -> Self {
        Self {
            place: Place::Node,
            node,
            reason,
            from_node: reason,
        }
    }

    /// At whoever knows it.
    #[inline(always)]
    pub(super) const fn nobody() -> Self {
        Self {
            place: Place::Nobody,
            node: NodeId::NOBODY,
            reason: Reason::NoCandidate,
            from_node: Reason::NoCandidateFromNode,
        }
    }

    /// Nowhere.
    #[inline(always)]
    pub(super) const fn nowhere(reason: Reason) -> Self {
        Self {
            place: Place::Nowhere,
            node: NodeId::NOBODY,
            reason,
            from_node: reason,
        }
    }
}
