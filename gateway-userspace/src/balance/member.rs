//! An endpoint as balancing knows it: what is configured, and what is known of it now.

/// Members of one upstream: what the greatest Maglev table has 100 slots for each of.
pub const MEMBERS_MAX: usize = 10_485;

/// A whole share, in per mille.
pub const SHARE_WHOLE: u16 = 1000;

/// One endpoint. The index of a member in its slice names it everywhere in balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// A hash of what it is (its address), the same on all nodes and in all snapshots: its place in hash tables.
    pub identity: u64,
    /// 1 to 1000, as configured; of those that take no new requests it does not matter.
    pub weight: u32,
    /// Which requests it takes.
    pub intake: Intake,
    /// Lower ones first.
    pub priority: u8,
    /// Where it is.
    pub zone: Zone,
    /// Per mille of its weight that it gets now, 0 to 1000: it starts slowly, or comes back from an open breaker.
    ///
    /// 0 is taken for 1: who may be picked gets at least a trickle, or nobody would learn that it is well again. One
    /// that is to get nothing is [`Standing::Failing`].
    pub share: u16,
    /// What is known of it.
    pub standing: Standing,
}

impl Member {
    /// A ready one of that identity and weight, of the first priority and the local zone. With a weight of 0 it keeps
    /// its sessions and takes no new requests.
    pub fn new(identity: u64, weight: u32) -> Self {
        Self {
            identity,
            weight,
            intake: match weight {
                0 => Intake::Sessions,
                _ => Intake::All,
            },
            priority: 0,
            zone: Zone::Local,
            share: SHARE_WHOLE,
            standing: Standing::Ready,
        }
    }

    /// What picks go by: in thousandths of a weight of 1, never 0.
    pub(super) fn effective_weight(&self) -> u32 {
        self.configured_weight() * u32::from(self.share.clamp(1, SHARE_WHOLE))
    }

    /// The weight, held to its bounds.
    pub(super) fn configured_weight(&self) -> u32 {
        self.weight.clamp(1, 1000)
    }
}

/// Which requests a member takes, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// All that it is picked for.
    All,
    /// Only those that name it ([`Roster::admits`](super::Roster::admits)): it is never picked.
    Sessions,
    /// None: it is not of this subset.
    None,
}

/// Checks, ejections and breakers in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// May get traffic.
    Ready,
    /// Not checked yet: gets traffic only while no member of its upstream is known to be ready.
    Unknown,
    /// Checked and failing, ejected, or behind an open breaker.
    Failing,
}

/// Where a member is, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zone {
    /// In this node's zone.
    Local,
    /// In another one.
    Other,
}
