//! Which VIPs share a table, and which number it has.
//!
//! Pure. VIPs with equal eligible nodes, weights and history share one, computed from the view alone and so alike on all
//! nodes. Numbers are this node's own business: a group keeps the one that its VIPs have, so that a change writes tables
//! in place and moves few VIPs. Where there are too few, the rest goes by the table of all members, whose nodes pass on
//! what they do not serve.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gateway_common::forward::TABLE_OF_ALL;
use gateway_common::maglev::Slot;
use gateway_common::node::NodeId;
use gateway_common::vip::{TableId, VipEntry, VipKey};

use super::owners::{NodeShares, OwnersCache, TableShares};
use crate::view::{Fingerprint, SetId, Shares, View};

/// How VIPs are steered.
#[derive(Clone, Debug, Default)]
pub struct Steering {
    /// Tables by number; that of all members is always there.
    pub tables: BTreeMap<TableId, Arc<[Slot]>>,
    /// The table of each key.
    pub table_of: HashMap<VipKey, TableId>,
    /// Keys that want a table of their own, but go by that of all members, for there are no more.
    pub without_table: usize,
}

/// Who may serve what, by a view.
#[derive(Debug)]
pub struct Eligible<'v> {
    view: &'v View,
    me: NodeId,
    /// For each fingerprint the sets that have it, as bits.
    sets_with: HashMap<Fingerprint, u64>,
    all: TableShares,
}

impl<'v> Eligible<'v> {
    /// By this view, as this node sees it.
    pub fn new(view: &'v View, me: NodeId) -> Self {
        let mut sets_with = HashMap::new();
        for (bit, set) in (0..u64::BITS).zip(&view.sets) {
            for fingerprint in set {
                *sets_with.entry(*fingerprint).or_default() |= 1_u64 << bit;
            }
        }
        let every = |_: SetId| true;
        let now = shares_of(&view.shares(), every);
        let history = view.history.iter().map(|earlier| shares_of(earlier, every));
        Self {
            view,
            me,
            sets_with,
            all: table_shares(now, history),
        }
    }

    /// The shares of all members.
    pub fn all(&self) -> &TableShares {
        &self.all
    }

    /// The sets that have a key, or all ports of its address, as bits: keys of equal bits have equal shares.
    fn sets_of(&self, key: &VipKey) -> u64 {
        let bits = |fingerprint| self.sets_with.get(&fingerprint).copied().unwrap_or(0);
        let [own, any_port] = Fingerprint::standing_for(key);
        bits(own) | bits(any_port)
    }

    /// The shares of a key.
    pub fn shares(&self, key: &VipKey) -> TableShares {
        self.shares_of_sets(self.sets_of(key))
    }

    fn shares_of_sets(&self, sets: u64) -> TableShares {
        let serves = |id: SetId| match u32::from(id.0).checked_sub(1) {
            Some(bit) => sets.checked_shr(bit).unwrap_or(0) & 1 == 1,
            None => true,
        };
        let mut now = shares_of(&self.view.shares(), serves);
        if now.is_empty() {
            // If all of its nodes drain, they go on: nobody else can serve it.
            let draining = self.view.members.iter().filter(|member| serves(member.serves));
            now = draining.map(|member| (member.id, 1)).collect();
        }
        if now.is_empty() && !self.me.is_nobody() {
            // New here, and no view says so yet: nobody else has it.
            now.push((self.me, 1));
        }
        let history = self.view.history.iter().map(|earlier| shares_of(earlier, serves));
        table_shares(now, history)
    }
}

fn shares_of(shares: &Shares, serves: impl Fn(SetId) -> bool) -> NodeShares {
    let eligible = shares.0.iter().filter(|share| serves(share.serves));
    eligible.map(|share| (share.id, share.weight)).collect()
}

/// Leaves out earlier shares that add nothing.
fn table_shares(now: NodeShares, earlier: impl Iterator<Item = NodeShares>) -> TableShares {
    let mut history: Vec<NodeShares> = Vec::new();
    for shares in earlier {
        if !shares.is_empty() && shares != now && !history.contains(&shares) {
            history.push(shares);
        }
    }
    TableShares { now, history }
}

/// VIP keys that share a table.
#[derive(Debug)]
struct Group {
    shares: TableShares,
    keys: Vec<VipKey>,
}

/// The tables of that view for these keys, on the node `me`; `now` are the VIPs in the maps, and there is room for so many
/// `tables`, at least one.
pub fn steering(
    view: &View,
    me: NodeId,
    keys: &[VipKey],
    now: &HashMap<VipKey, VipEntry>,
    tables: u32,
    cache: &mut OwnersCache,
) -> Steering {
    let eligible = Eligible::new(view, me);
    let groups = groups(&eligible, keys);
    let ids = numbers(&groups, now, tables);
    let mut steering = Steering::default();
    let mut wanted = vec![(TABLE_OF_ALL, eligible.all())];
    for (group, id) in groups.iter().zip(&ids) {
        match id {
            Some(id) => wanted.push((*id, &group.shares)),
            None if group.shares != *eligible.all() => steering.without_table += group.keys.len(),
            None => {}
        }
        for key in &group.keys {
            steering.table_of.insert(*key, id.unwrap_or(TABLE_OF_ALL));
        }
    }
    let shares: Vec<&TableShares> = wanted.iter().map(|(_, shares)| *shares).collect();
    let slots = cache.tables(view, me, &shares);
    steering.tables = wanted.iter().map(|(id, _)| *id).zip(slots).collect();
    steering
}

/// Groups of keys, in the order of their first; those that all members serve alike are the first group.
fn groups(eligible: &Eligible<'_>, keys: &[VipKey]) -> Vec<Group> {
    let mut groups = vec![Group {
        shares: eligible.all().clone(),
        keys: Vec::new(),
    }];
    let mut by_sets: HashMap<u64, usize> = HashMap::new();
    for key in keys {
        let index = *by_sets.entry(eligible.sets_of(key)).or_insert_with_key(|sets| {
            let shares = eligible.shares_of_sets(*sets);
            let known = groups.iter().position(|group| group.shares == shares);
            known.unwrap_or_else(|| {
                groups.push(Group {
                    shares,
                    keys: Vec::new(),
                });
                groups.len() - 1
            })
        });
        if let Some(group) = groups.get_mut(index) {
            group.keys.push(*key);
        }
    }
    groups
}

/// The number of each group's table; `None`: that of all members. Of several groups that want one, that with most VIPs on
/// it gets it; new ones get first what no VIP uses.
fn numbers(groups: &[Group], now: &HashMap<VipKey, VipEntry>, tables: u32) -> Vec<Option<TableId>> {
    let mut wishes: BTreeMap<(usize, TableId), u32> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate().skip(1) {
        let standing = group
            .keys
            .iter()
            .filter_map(|key| now.get(key))
            .map(|entry| entry.table);
        for id in standing.filter(|id| *id != TABLE_OF_ALL && id.0 < tables) {
            *wishes.entry((index, id)).or_default() += 1;
        }
    }
    let mut wishes: Vec<_> = wishes.into_iter().collect();
    wishes.sort_by_key(|((index, id), vips)| (Reverse(*vips), *index, *id));
    let mut ids: Vec<Option<TableId>> = vec![None; groups.len()];
    let mut taken: BTreeSet<TableId> = BTreeSet::from([TABLE_OF_ALL]);
    for ((index, id), _) in wishes {
        if let Some(place @ None) = ids.get_mut(index)
            && taken.insert(id)
        {
            *place = Some(id);
        }
    }
    let used: BTreeSet<TableId> = now.values().map(|entry| entry.table).collect();
    let mut free: Vec<TableId> = (0..tables)
        .map(TableId)
        .filter(|id| !taken.contains(id))
        .collect();
    free.sort_by_key(|id| (used.contains(id), *id));
    let mut free = free.into_iter();
    for place in ids.iter_mut().skip(1).filter(|place| place.is_none()) {
        *place = free.next();
    }
    ids
}

#[cfg(test)]
mod tests;
