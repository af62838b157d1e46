//! From a view to the slots of a table: owner, previous owners, successor; the same on every node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gateway_common::maglev::{self, Chooser, SLOTS, Slot};
use gateway_common::node::NodeId;

use crate::view::{Shares, View};

/// Owners by shares that were computed before: a change asks mostly for what the last one asked for.
#[derive(Debug, Default)]
pub struct OwnersCache {
    known: HashMap<Shares, Arc<[NodeId]>>,
    asked: HashSet<Shares>,
}

impl OwnersCache {
    fn owners(&mut self, shares: &Shares) -> Arc<[NodeId]> {
        self.asked.insert(shares.clone());
        if let Some(owners) = self.known.get(shares) {
            return Arc::clone(owners);
        }
        let mut owners = vec![NodeId::NOBODY; SLOTS as usize];
        maglev::fill(
            &shares.0,
            &mut vec![Chooser::default(); shares.0.len()],
            &mut owners,
        );
        let owners: Arc<[NodeId]> = owners.into();
        self.known.insert(shares.clone(), Arc::clone(&owners));
        owners
    }

    /// Forgets what the last tables did not ask for.
    fn forget_the_rest(&mut self) {
        self.known.retain(|shares, _| self.asked.contains(shares));
        self.asked.clear();
    }
}

/// The slots of a view's table.
///
/// Owners and previous owners are the same on all nodes. A successor stands only in the slots that `me` owns, for
/// nobody else asks for it. A previous owner is left out once it is no member.
pub fn slots(cache: &mut OwnersCache, view: &View, me: NodeId) -> Vec<Slot> {
    let shares = view.shares();
    let owners = cache.owners(&shares);
    let earlier: Vec<Arc<[NodeId]>> = view.history.iter().map(|shares| cache.owners(shares)).collect();
    let without_me = Shares(shares.0.iter().copied().filter(|(id, _)| *id != me).collect());
    let successors = (without_me != shares).then(|| cache.owners(&without_me));
    cache.forget_the_rest();
    let members: HashSet<NodeId> = view.members.iter().map(|member| member.id).collect();

    let slot = |(index, owner): (usize, &NodeId)| {
        let mut previous = [NodeId::NOBODY; 2];
        let mut found = 0;
        for owners in &earlier {
            let before = owners.get(index).copied().unwrap_or_default();
            if before == *owner || previous.contains(&before) || !members.contains(&before) {
                continue;
            }
            if let Some(place) = previous.get_mut(found) {
                *place = before;
                found += 1;
            }
        }
        let successor = match &successors {
            Some(successors) if *owner == me => successors.get(index).copied().unwrap_or_default(),
            _ => NodeId::NOBODY,
        };
        Slot::new(*owner, previous, successor)
    };
    owners.iter().enumerate().map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Member;

    fn member(id: u16, weight: u32) -> Member {
        Member {
            id: NodeId(id),
            name: format!("gw-{id}"),
            address: None,
            address_v6: None,
            weight,
            incarnation: 1,
        }
    }

    fn shares(shares: &[(u16, u32)]) -> Shares {
        Shares(shares.iter().map(|(id, weight)| (NodeId(*id), *weight)).collect())
    }

    fn view(members: &[(u16, u32)], history: &[&[(u16, u32)]]) -> View {
        View {
            members: members.iter().map(|(id, weight)| member(*id, *weight)).collect(),
            history: history.iter().map(|history| shares(history)).collect(),
            ..View::default()
        }
    }

    fn all(view: &View, me: u16) -> Vec<Slot> {
        slots(&mut OwnersCache::default(), view, NodeId(me))
    }

    #[test]
    fn node_that_came_back_knows_who_held_its_slots_meanwhile() {
        let now = view(
            &[(1, 1), (2, 1), (3, 1)],
            &[&[(2, 1), (3, 1)], &[(1, 1), (2, 1), (3, 1)]],
        );
        let meanwhile = all(&view(&[(2, 1), (3, 1)], &[]), 2);
        for (slot, before) in all(&now, 1).iter().zip(&meanwhile) {
            if slot.owner() == NodeId(1) {
                assert_eq!(slot.previous(), before.owner());
            }
        }
    }

    #[test]
    fn drained_node_is_previous_owner_and_owns_nothing() {
        let slots = all(&view(&[(1, 0), (2, 1), (3, 1)], &[&[(1, 1), (2, 1), (3, 1)]]), 2);
        assert!(slots.iter().all(|slot| slot.owner() != NodeId(1)));
        assert!(slots.iter().filter(|slot| slot.previous() == NodeId(1)).count() > SLOTS as usize / 4);
    }

    #[test]
    fn dead_node_is_nobodys_previous_owner() {
        let slots = all(&view(&[(2, 1), (3, 1)], &[&[(1, 1), (2, 1), (3, 1)]]), 2);
        assert!(
            slots
                .iter()
                .all(|slot| slot.previous() != NodeId(1) && slot.second_previous() != NodeId(1))
        );
    }

    #[test]
    fn successor_is_the_owner_that_all_nodes_agree_on_after_the_death() {
        let before = all(&view(&[(1, 1), (2, 1), (3, 2)], &[]), 3);
        let after = all(&view(&[(1, 1), (2, 1)], &[&[(1, 1), (2, 1), (3, 2)]]), 1);
        for (before, after) in before.iter().zip(&after) {
            if before.owner() == NodeId(3) {
                assert_eq!(before.successor(), after.owner());
            } else {
                assert_eq!(before.successor(), NodeId::NOBODY);
            }
        }
    }

    #[test]
    fn nodes_agree_on_all_but_successors() {
        let view = view(&[(1, 1), (2, 3), (3, 2)], &[&[(1, 1), (3, 2)], &[(1, 1), (2, 1)]]);
        let without_successor =
            |slots: Vec<Slot>| -> Vec<u64> { slots.iter().map(|slot| slot.0 & (u64::MAX >> 16)).collect() };
        let first = without_successor(all(&view, 1));
        assert_eq!(first, without_successor(all(&view, 2)));
        assert_eq!(first, without_successor(all(&view, 0)));
    }

    #[test]
    fn lone_node_has_no_successor() {
        assert!(
            all(&view(&[(1, 1)], &[]), 1)
                .iter()
                .all(|slot| *slot == Slot::new(NodeId(1), Default::default(), NodeId(0)))
        );
    }
}
