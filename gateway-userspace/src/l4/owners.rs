//! From the shares of tables to their slots: owner, previous owners, successor; the same on every node.
//!
//! A table of owners takes a millisecond or so to fill, and a death changes every table: so they are filled on all cores,
//! and kept, for the owners of now are the previous owners of the next view.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use gateway_common::maglev::{self, Chooser, Layers, NodeSet, SLOTS, Slot};
use gateway_common::node::NodeId;

use super::tables::Eligible;
use crate::view::View;

/// Threads that compute tables at once: more would wait for memory, and packets want the other cores.
const THREADS_MAX: usize = 16;

/// Nodes with weights of at least 1, sorted by id: what owners are computed from.
pub type NodeShares = Vec<(NodeId, u32)>;

/// All that a table is computed from, the members and this node aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TableShares {
    /// Who shares it now.
    pub now: NodeShares,
    /// Who shared it in earlier views, the latest first; distinct, and none like now.
    pub history: Vec<NodeShares>,
}

/// A table that was put together, by all that it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TableKey {
    shares: TableShares,
    /// Nodes of its history that are no members any more.
    gone: Vec<NodeId>,
    me: NodeId,
}

/// Something that was computed, and in which round it was last asked for.
#[derive(Debug)]
struct Known<T: ?Sized> {
    value: Arc<T>,
    asked: u64,
}

/// What was computed for the last change: the next one asks mostly for the same.
///
/// Holds what the last round asked for: at most one table of slots (512 KiB) and six of owners (128 KiB) for each table.
#[derive(Debug, Default)]
pub struct OwnersCache {
    round: u64,
    successors: Successors,
    owners: HashMap<NodeShares, Known<[NodeId]>>,
    tables: HashMap<TableKey, Known<[Slot]>>,
    spare_owners: Spare<NodeId>,
    spare_slots: Spare<Slot>,
}

/// Tables that are not asked for any more: written anew, they cost no page faults, which cost as much as computing.
/// Holds what the last round gave up, at most as much as it asked for.
#[derive(Debug)]
struct Spare<T>(Mutex<Vec<Arc<[T]>>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy + Default> Spare<T> {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<[T]>>> {
        // Whoever panicked while holding it left whole tables behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A table with that written into it; on a spare one, if nobody reads it any more.
    fn written(&self, write: impl FnOnce(&mut [T])) -> Arc<[T]> {
        let mut table = self.list().pop().filter(|table| Arc::strong_count(table) == 1);
        let fresh = || std::iter::repeat_n(T::default(), SLOTS as usize).collect();
        let mut table: Arc<[T]> = table.take().unwrap_or_else(fresh);
        if let Some(slots) = Arc::get_mut(&mut table) {
            write(slots);
        }
        table
    }

    /// Keeps what was not asked for in this round instead of what was kept before.
    fn keep<K: Eq + std::hash::Hash>(&self, known: &mut HashMap<K, Known<[T]>>, round: u64) {
        let mut spare: Vec<Arc<[T]>> = Vec::new();
        known.retain(|_, known| {
            if known.asked != round {
                spare.push(Arc::clone(&known.value));
            }
            known.asked == round
        });
        spare.truncate(known.len());
        *self.list() = spare;
    }
}

/// Whether tables wait for their successors, which take as long to compute as their owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Successors {
    /// They do.
    #[default]
    Awaited,
    /// They have those that are known already.
    Later,
}

impl OwnersCache {
    /// Says whether the tables from here on wait for their successors.
    pub fn set_successors(&mut self, successors: Successors) {
        self.successors = successors;
    }

    /// The slots of these tables, in their order.
    ///
    /// Owners and previous owners are the same on all nodes. A successor stands only in the slots that `me` owns, for
    /// nobody else asks for it. A previous owner is left out once it is no member.
    pub fn tables(&mut self, view: &View, me: NodeId, wanted: &[&TableShares]) -> Vec<Arc<[Slot]>> {
        self.round += 1;
        let mut members = NodeSet::default();
        view.members.iter().for_each(|member| members.insert(member.id));
        let keys: Vec<TableKey> = wanted
            .iter()
            .map(|shares| key(shares, &members, self.whose_successors(shares, me)))
            .collect();
        self.fill(&keys);
        let missing: Vec<&TableKey> = keys.iter().filter(|key| !self.tables.contains_key(key)).collect();
        let composed = on_all_cores(&missing, |key| self.compose(key, &members));
        for (key, value) in missing.into_iter().zip(composed) {
            self.tables.insert(key.clone(), Known { value, asked: 0 });
        }
        let round = self.round;
        let mut tables = Vec::with_capacity(keys.len());
        for key in &keys {
            if let Some(known) = self.tables.get_mut(key) {
                known.asked = round;
                tables.push(Arc::clone(&known.value));
            }
        }
        self.spare_owners.keep(&mut self.owners, round);
        self.spare_slots.keep(&mut self.tables, round);
        tables
    }

    /// The node whose successors the table gets; nobody, if they are not known and not waited for.
    fn whose_successors(&self, shares: &TableShares, me: NodeId) -> NodeId {
        let is_known = || without(&shares.now, me).is_some_and(|others| self.owners.contains_key(&others));
        match self.successors {
            Successors::Later if !is_known() => NodeId::NOBODY,
            _ => me,
        }
    }

    /// Fills all tables of owners that these tables are put together from, and are not known yet.
    fn fill(&mut self, wanted: &[TableKey]) {
        let mut missing: Vec<NodeShares> = Vec::new();
        for TableKey {
            shares: table, me, ..
        } in wanted
        {
            let layers = std::iter::once(&table.now).chain(&table.history).cloned();
            for shares in layers.chain(without(&table.now, *me)) {
                match self.owners.get_mut(&shares) {
                    Some(known) if known.asked == self.round => {}
                    Some(known) => known.asked = self.round,
                    None => {
                        let asked = self.round;
                        let value = Arc::default();
                        self.owners.insert(shares.clone(), Known { value, asked });
                        missing.push(shares);
                    }
                }
            }
        }
        let filled = on_all_cores(&missing, |shares| {
            let mut choosers = vec![Chooser::default(); shares.len()];
            self.spare_owners
                .written(|owners| maglev::fill(shares, &mut choosers, owners))
        });
        for (shares, value) in missing.into_iter().zip(filled) {
            let asked = self.round;
            self.owners.insert(shares, Known { value, asked });
        }
    }

    fn compose(&self, table: &TableKey, members: &NodeSet) -> Arc<[Slot]> {
        let owners = |shares: &NodeShares| {
            self.owners
                .get(shares)
                .map(|known| &*known.value)
                .unwrap_or_default()
        };
        let earlier: Vec<&[NodeId]> = table.shares.history.iter().map(owners).collect();
        let successors = without(&table.shares.now, table.me);
        let layers = Layers {
            owners: owners(&table.shares.now),
            earlier: &earlier,
            members,
            successors: successors.as_ref().map(|shares| (table.me, owners(shares))),
        };
        self.spare_slots.written(|slots| maglev::compose(layers, slots))
    }
}

fn key(shares: &TableShares, members: &NodeSet, me: NodeId) -> TableKey {
    let before = shares.history.iter().flatten().map(|(id, _)| *id);
    let gone: BTreeSet<NodeId> = before.filter(|id| !members.contains(*id)).collect();
    TableKey {
        shares: shares.clone(),
        gone: gone.into_iter().collect(),
        me,
    }
}

/// The shares without that node, if it has one and others have, too.
fn without(shares: &NodeShares, me: NodeId) -> Option<NodeShares> {
    let others: NodeShares = shares.iter().copied().filter(|(id, _)| *id != me).collect();
    (!others.is_empty() && others.len() < shares.len()).then_some(others)
}

/// Does a job for each item, on as many threads as there are cores; on this one alone if the system gives no other.
fn on_all_cores<I: Sync, T: Send + Sync>(items: &[I], job: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let results: Vec<OnceLock<T>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((item, result)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).zip(results.get(index))
        } {
            result.get_or_init(|| job(item));
        }
    };
    let cores = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 1..cores.min(items.len()) {
            if let Err(error) = thread::Builder::new()
                .name("tables".to_owned())
                .spawn_scoped(scope, work)
            {
                tracing::debug!(%error, "tables are computed on fewer cores");
                break;
            }
        }
        work();
    });
    results.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// The slots of the table that all members share.
pub fn slots(cache: &mut OwnersCache, view: &View, me: NodeId) -> Vec<Slot> {
    let eligible = Eligible::new(view, me);
    let tables = cache.tables(view, me, &[eligible.all()]);
    tables.first().map(|slots| slots.to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Member, SetId, Share, Shares};

    fn member(id: u16, weight: u32) -> Member {
        Member {
            id: NodeId(id),
            name: format!("gw-{id}"),
            address: None,
            address_v6: None,
            weight,
            incarnation: 1,
            serves: SetId::ALL,
        }
    }

    fn shares(shares: &[(u16, u32)]) -> Shares {
        let share = |(id, weight): &(u16, u32)| Share {
            id: NodeId(*id),
            weight: *weight,
            serves: SetId::ALL,
        };
        Shares(shares.iter().map(share).collect())
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
    fn tables_that_do_not_wait_differ_in_unknown_successors_alone() {
        let view = view(&[(1, 1), (2, 1), (3, 2)], &[&[(1, 1), (2, 1)]]);
        let mut cache = OwnersCache::default();
        cache.set_successors(Successors::Later);
        let early = slots(&mut cache, &view, NodeId(1));
        cache.set_successors(Successors::Awaited);
        let whole = slots(&mut cache, &view, NodeId(1));
        cache.set_successors(Successors::Later);
        assert_eq!(
            slots(&mut cache, &view, NodeId(1)),
            whole,
            "what is known is not left out"
        );
        for (early, whole) in early.iter().zip(&whole) {
            let without = Slot::new(
                whole.owner(),
                [whole.previous(), whole.second_previous()],
                NodeId(0),
            );
            assert_eq!(*early, without);
        }
        assert!(whole.iter().any(|slot| slot.successor() == NodeId(2)));
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
