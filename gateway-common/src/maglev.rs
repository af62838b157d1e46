//! Maglev tables: shares of nodes become owners of slots, the same on every node.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4;
//! weights by letting a node choose as often as its weight says.

use crate::hash::SipHash;
use crate::node::NodeId;

/// Slots of one table.
///
/// Prime, as the permutation needs (section 3.4). Kernel memory: 65,537 slots of 8 bytes, twice: 1 MiB a table.
pub const SLOTS: u32 = 65_537;

/// Keys of the two hashes that make a node's permutation: anything fixed and public, for the secret lies in the hash
/// that chooses a slot.
const OFFSET_KEY: [u64; 2] = [0x6f66_6673_6574, 1];
const SKIP_KEY: [u64; 2] = [0x736b_6970, 2];

/// Whose turn it is to choose, and where that node's permutation stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chooser {
    next: u32,
    skip: u32,
    credit: u32,
}

/// One slot as the kernel reads it: a single word, so that no reader sees half of it.
///
/// From the lowest bits up: owner, two previous owners (the later one first), successor; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Slot(pub u64);

impl Slot {
    /// Packs the four nodes of a slot.
    pub const fn new(owner: NodeId, previous: [NodeId; 2], successor: NodeId) -> Self {
        let [first, second] = previous;
        Self(owner.0 as u64 | (first.0 as u64) << 16 | (second.0 as u64) << 32 | (successor.0 as u64) << 48)
    }

    /// The node that takes new connections.
    #[inline(always)]
    pub const fn owner(self) -> NodeId {
        NodeId(self.0 as u16)
    }

    /// The node that took them before.
    #[inline(always)]
    pub const fn previous(self) -> NodeId {
        NodeId((self.0 >> 16) as u16)
    }

    /// The node that took them before that one.
    #[inline(always)]
    pub const fn second_previous(self) -> NodeId {
        NodeId((self.0 >> 32) as u16)
    }

    /// The node that would take them without the owner; only the owner's own tables say.
    #[inline(always)]
    pub const fn successor(self) -> NodeId {
        NodeId((self.0 >> 48) as u16)
    }
}

/// Fills `owners` with a node a slot; with nobody where there are no shares.
///
/// `shares` are distinct nodes with weights of at least 1, in any order that is the same everywhere; `choosers` is
/// scratch space of at least as many entries. Any number of slots that is prime will do. Takes some 3 ms for 65,537
/// slots.
pub fn fill(shares: &[(NodeId, u32)], choosers: &mut [Chooser], owners: &mut [NodeId]) {
    owners.fill(NodeId(0));
    let slots = owners.len() as u32;
    let weight_max = shares.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
    if weight_max == 0 || slots < 2 {
        return;
    }
    for (chooser, (node, _)) in choosers.iter_mut().zip(shares) {
        let word = u64::from(node.0);
        *chooser = Chooser {
            next: (SipHash::new(OFFSET_KEY).write(word).finish() % u64::from(slots)) as u32,
            skip: (SipHash::new(SKIP_KEY).write(word).finish() % u64::from(slots - 1)) as u32 + 1,
            credit: 0,
        };
    }
    let mut left = slots;
    loop {
        for (chooser, (node, weight)) in choosers.iter_mut().zip(shares) {
            chooser.credit += weight;
            if chooser.credit < weight_max {
                continue;
            }
            chooser.credit -= weight_max;
            // A permutation visits every slot, so a free one is found while one is left.
            loop {
                let at = chooser.next;
                chooser.next = (at + chooser.skip) % slots;
                if let Some(owner) = owners.get_mut(at as usize)
                    && owner.0 == 0
                {
                    *owner = *node;
                    break;
                }
            }
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(shares: &[(u16, u32)]) -> Vec<NodeId> {
        let shares: Vec<_> = shares
            .iter()
            .map(|(node, weight)| (NodeId(*node), *weight))
            .collect();
        let mut owners = vec![NodeId(9_999); SLOTS as usize];
        fill(&shares, &mut vec![Chooser::default(); shares.len()], &mut owners);
        owners
    }

    fn count(owners: &[NodeId], node: u16) -> usize {
        owners.iter().filter(|owner| owner.0 == node).count()
    }

    #[test]
    fn shares_follow_weights() {
        for shares in [
            &[(1, 1), (2, 1), (3, 1)][..],
            &[(1, 1), (2, 2), (3, 5)],
            &[(7, 3)],
            &[(1, 1_000), (2, 1)],
        ] {
            let owners = table(shares);
            let sum: u32 = shares.iter().map(|(_, weight)| weight).sum();
            for (node, weight) in shares {
                let expected = f64::from(SLOTS) * f64::from(*weight) / f64::from(sum);
                let found = count(&owners, *node) as f64;
                assert!(
                    (found - expected).abs() <= 2.0,
                    "node {node}: {found} of {expected}"
                );
            }
        }
    }

    #[test]
    fn no_shares_leave_every_slot_to_nobody() {
        assert_eq!(count(&table(&[]), 0), SLOTS as usize);
    }

    #[test]
    fn losing_a_node_moves_little_more_than_its_slots() {
        let before = table(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        let after = table(&[(1, 1), (2, 1), (4, 1), (5, 1)]);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .count();
        assert!(moved <= SLOTS as usize / 5 + SLOTS as usize / 50, "{moved} moved");
        assert_eq!(count(&after, 3), 0);
    }

    #[test]
    fn slots_give_back_the_nodes_that_they_were_made_of() {
        let slot = Slot::new(NodeId(1), [NodeId(2), NodeId(65_535)], NodeId(4));
        assert_eq!(slot.owner(), NodeId(1));
        assert_eq!(slot.previous(), NodeId(2));
        assert_eq!(slot.second_previous(), NodeId(65_535));
        assert_eq!(slot.successor(), NodeId(4));
    }
}
