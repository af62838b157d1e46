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

/// Words of a bit for each slot.
const TAKEN_WORDS: usize = (SLOTS as usize).div_ceil(64);

/// Whose turn it is to choose, and where that node's permutation stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chooser {
    next: u32,
    skip: u32,
    credit: u64,
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
/// scratch space of at least as many entries. Any number of slots that is prime and at most [`SLOTS`] will do; of more,
/// nobody owns any. Most of its time goes into slots that are taken already, some 11 tries for each slot: so these are
/// looked up in a bitmap that stays in the first-level cache, and a step is an addition, not a division.
pub fn fill(shares: &[(NodeId, u32)], choosers: &mut [Chooser], owners: &mut [NodeId]) {
    owners.fill(NodeId::NOBODY);
    let weight_max = shares.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
    if weight_max == 0 || owners.len() < 2 || owners.len() > SLOTS as usize {
        return;
    }
    let slots = owners.len() as u32;
    for (chooser, (node, _)) in choosers.iter_mut().zip(shares) {
        let word = u64::from(node.0);
        *chooser = Chooser {
            next: (SipHash::new(OFFSET_KEY).write(word).finish() % u64::from(slots)) as u32,
            skip: (SipHash::new(SKIP_KEY).write(word).finish() % u64::from(slots - 1)) as u32 + 1,
            credit: 0,
        };
    }
    let mut taken = [0_u64; TAKEN_WORDS];
    let mut left = slots;
    loop {
        for (chooser, (node, weight)) in choosers.iter_mut().zip(shares) {
            chooser.credit += u64::from(*weight);
            if chooser.credit < u64::from(weight_max) {
                continue;
            }
            chooser.credit -= u64::from(weight_max);
            let Some(at) = take_free(&mut taken, chooser, slots) else {
                return;
            };
            if let Some(owner) = owners.get_mut(at) {
                *owner = *node;
            }
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }
}

/// Takes the next free slot of a node's permutation, which visits every slot; `None` only if a slot is out of bounds.
#[inline(always)]
fn take_free(taken: &mut [u64; TAKEN_WORDS], chooser: &mut Chooser, slots: u32) -> Option<usize> {
    let (mut next, skip) = (chooser.next, chooser.skip);
    loop {
        let at = next;
        next += skip;
        if next >= slots {
            next -= slots;
        }
        let word = taken.get_mut((at / 64) as usize)?;
        let bit = 1 << (at % 64);
        if *word & bit == 0 {
            *word |= bit;
            chooser.next = next;
            return Some(at as usize);
        }
    }
}

/// A set of nodes, as bits.
#[derive(Clone)]
pub struct NodeSet([u64; 1 << 10]);

impl Default for NodeSet {
    fn default() -> Self {
        Self([0; 1 << 10])
    }
}

impl NodeSet {
    /// Adds a node.
    pub fn insert(&mut self, node: NodeId) {
        if let Some(word) = self.0.get_mut(usize::from(node.0 / 64)) {
            *word |= 1 << (node.0 % 64);
        }
    }

    /// Whether that node was added.
    #[inline]
    pub fn contains(&self, node: NodeId) -> bool {
        let word = self.0.get(usize::from(node.0 / 64)).copied().unwrap_or(0);
        word & 1 << (node.0 % 64) != 0
    }
}

/// Who owns the slots of one table, now, before, and without this node; each slice has an entry a slot.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// The owners.
    pub owners: &'a [NodeId],
    /// The owners of earlier views, the latest first.
    pub earlier: &'a [&'a [NodeId]],
    /// Nodes that can still be previous owners.
    pub members: &'a NodeSet,
    /// This node, and who owns its slots without it.
    pub successors: Option<(NodeId, &'a [NodeId])>,
}

/// Puts the slots of a table together: the owner, the last two others that owned it and are still members, and in the
/// slots of this node its successor.
pub fn compose(layers: Layers<'_>, slots: &mut [Slot]) {
    for (index, (slot, owner)) in slots.iter_mut().zip(layers.owners).enumerate() {
        let mut previous = [NodeId::NOBODY; 2];
        for owners in layers.earlier {
            let before = owners.get(index).copied().unwrap_or_default();
            if before == *owner || before == previous[0] || !layers.members.contains(before) {
                continue;
            }
            if previous[0].is_nobody() {
                previous[0] = before;
            } else {
                previous[1] = before;
                break;
            }
        }
        let successor = match layers.successors {
            Some((me, successors)) if *owner == me => successors.get(index).copied().unwrap_or_default(),
            _ => NodeId::NOBODY,
        };
        *slot = Slot::new(*owner, previous, successor);
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

    /// As the paper has it, without a bitmap and with a division a step: what [`fill`] must agree with bit by bit.
    fn by_the_paper(shares: &[(u16, u32)], slots: u32) -> Vec<NodeId> {
        let permutation = |node: u16| {
            let word = u64::from(node);
            let offset = SipHash::new(OFFSET_KEY).write(word).finish() % u64::from(slots);
            let skip = SipHash::new(SKIP_KEY).write(word).finish() % u64::from(slots - 1) + 1;
            (0..u64::from(slots)).map(move |step| ((offset + step * skip) % u64::from(slots)) as usize)
        };
        let weight_max = shares.iter().map(|(_, weight)| *weight).max().unwrap_or(1);
        let mut nodes: Vec<_> = shares
            .iter()
            .map(|(node, weight)| (*node, *weight, 0, permutation(*node)))
            .collect();
        let mut owners = vec![NodeId(0); slots as usize];
        loop {
            for (node, weight, credit, permutation) in &mut nodes {
                *credit += *weight;
                if *credit < weight_max {
                    continue;
                }
                *credit -= weight_max;
                let Some(free) = permutation.find(|at| owners[*at].is_nobody()) else {
                    return owners;
                };
                owners[free] = NodeId(*node);
            }
        }
    }

    #[test]
    fn owners_are_those_of_the_paper_bit_by_bit() {
        let many: Vec<(u16, u32)> = (1..=200).map(|node| (node, u32::from(node % 7) + 1)).collect();
        for shares in [
            &[(1, 1)][..],
            &[(1, 3), (9, 2)],
            &[(1, 1), (2, 1), (700, 1)],
            &many,
        ] {
            for slots in [2, 3, 251, SLOTS] {
                let given: Vec<_> = shares
                    .iter()
                    .map(|(node, weight)| (NodeId(*node), *weight))
                    .collect();
                let mut owners = vec![NodeId(9); slots as usize];
                fill(&given, &mut vec![Chooser::default(); given.len()], &mut owners);
                assert!(
                    owners == by_the_paper(shares, slots),
                    "{} nodes, {slots} slots",
                    shares.len()
                );
            }
        }
    }

    #[test]
    fn the_greatest_weights_there_are_do_no_harm() {
        let owners = table(&[(1, u32::MAX), (2, u32::MAX), (3, u32::MAX - 1)]);
        assert!((1..=3).all(|node| count(&owners, node).abs_diff(SLOTS as usize / 3) <= 2));
    }

    #[test]
    fn more_slots_than_the_bound_are_nobodys() {
        let mut owners = vec![NodeId(9); SLOTS as usize + 2];
        fill(&[(NodeId(1), 1)], &mut [Chooser::default()], &mut owners);
        assert!(owners.iter().all(|owner| owner.is_nobody()));
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
