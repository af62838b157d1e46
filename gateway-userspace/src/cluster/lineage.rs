//! A view with its descent: how views are made from each other, told apart, and recognised as older or newer.
//!
//! Pure. A view says who serves; the digests of the views it was made from say whether another view is its
//! past, its future, or a fork made on the other side of a cut. When to make one is `membership`'s business.

use serde::{Deserialize, Serialize};

use gateway_common::node::NodeId;

use super::message::{Life, Profile, State};
use crate::view::{Member, SetId, View};

mod sets;

pub use sets::are_sound as sets_are_sound;

/// Members of a view. More nodes would not fit the sizes here: all of a view travels in one datagram
/// ([`super::wire::DATAGRAM_BYTES_MAX`]), each node hears each other, and the fleets this is for have 2 to 16.
pub const MEMBERS_MAX: usize = 64;

/// Earlier views that a view can be recognised by.
///
/// A node that missed more is resolved like a fork, which gives the same result but for rare ties.
pub const ANCESTRY_MAX: usize = 16;

/// Former members whose number is remembered by name, so that a node that returns gets it back.
pub const RETIRED_MAX: usize = 64;

/// Digest of a view: equal digests are equal views. Not a defence; the wire is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub u64);

/// FNV-1a with 64 bits over an explicit order of bytes: the same on every architecture and release,
/// which `std::hash` does not promise.
///
/// Source: draft-eastlake-fnv.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Hasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    /// Feeds bytes without a length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Feeds a number.
    pub fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Feeds a text and its length.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    /// The hash, mixed once more so that its high bits depend on all input (the finalizer of MurmurHash3).
    pub fn finish(self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

/// A former member that the history still names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its number, kept for it.
    pub id: NodeId,
    /// Its name.
    pub name: String,
}

/// A view, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The view.
    pub view: View,
    /// Former members that the history names, sorted by id; at most [`RETIRED_MAX`].
    pub retired: Vec<Retired>,
    /// Digests of the views it was made from, the latest first; at most [`ANCESTRY_MAX`].
    pub ancestry: Vec<Digest>,
}

/// How another view stands to one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are equal.
    Same,
    /// It was made from mine.
    Descendant,
    /// Mine was made from it.
    Ancestor,
    /// Neither: made on two sides of a cut, or too long apart.
    Fork,
}

impl Lineage {
    /// Digest of all but the ancestry, so that equal views reached by different ways are equal.
    pub fn digest(&self) -> Digest {
        let mut h = Hasher::default();
        h.number(self.view.number);
        self.view.hash_key.iter().for_each(|word| h.number(*word));
        h.number(self.view.members.len() as u64);
        for member in &self.view.members {
            h.number(u64::from(member.id.0));
            h.text(&member.name);
            h.number(u64::from(member.weight));
            h.number(u64::from(member.incarnation));
            h.number(u64::from(member.serves.0));
            h.bytes(&[
                u8::from(member.address.is_some()),
                u8::from(member.address_v6.is_some()),
            ]);
            member
                .address
                .iter()
                .for_each(|address| h.bytes(&address.octets()));
            member
                .address_v6
                .iter()
                .for_each(|address| h.bytes(&address.octets()));
        }
        h.number(self.view.history.len() as u64);
        for shares in &self.view.history {
            h.number(shares.0.len() as u64);
            for share in &shares.0 {
                h.number(u64::from(share.id.0));
                h.number(u64::from(share.weight));
                h.number(u64::from(share.serves.0));
            }
        }
        h.number(self.view.sets.len() as u64);
        for set in &self.view.sets {
            h.number(set.len() as u64);
            set.iter()
                .for_each(|fingerprint| h.number(u64::from(fingerprint.0)));
        }
        for retired in &self.retired {
            h.number(u64::from(retired.id.0));
            h.text(&retired.name);
        }
        Digest(h.finish())
    }

    /// How `theirs` stands to this one.
    pub fn relation(&self, theirs: &Lineage) -> Relation {
        let (mine_digest, their_digest) = (self.digest(), theirs.digest());
        if mine_digest == their_digest {
            Relation::Same
        } else if theirs.ancestry.contains(&mine_digest) {
            Relation::Descendant
        } else if self.ancestry.contains(&their_digest) {
            Relation::Ancestor
        } else {
            Relation::Fork
        }
    }

    /// How many members are among these lives.
    pub fn members_among(&self, live: &[Life]) -> usize {
        self.view
            .members
            .iter()
            .filter(|m| live.contains(&Life::new(&m.name, m.incarnation)))
            .count()
    }

    /// Whether this life of a node is a member.
    pub fn has(&self, node: &Profile) -> bool {
        let member = self.view.member(&node.name);
        member.is_some_and(|member| member.incarnation == node.incarnation)
    }

    /// The next view: these nodes serve, under this number.
    ///
    /// Members keep their ids; a node the history knows by name gets its old one back; any other gets the lowest
    /// that is neither in use nor named by the history, since its slots there belong to somebody else.
    /// Nodes beyond [`MEMBERS_MAX`] are left out, new ones first. The order of `serving` does not matter.
    pub fn next(current: &Lineage, serving: &[&Profile], number: u64) -> Lineage {
        let mut members: Vec<Member> = Vec::new();
        let mut newcomers: Vec<&Profile> = Vec::new();
        for profile in serving {
            match current.view.member(&profile.name) {
                Some(known) => members.push(member(profile, known.id)),
                None => newcomers.push(profile),
            }
        }
        newcomers.sort_by(|a, b| a.name.cmp(&b.name));
        newcomers.truncate(MEMBERS_MAX.saturating_sub(members.len()));
        let reserved = current.reserved();
        for profile in newcomers {
            let kept = current
                .retired
                .iter()
                .find(|retired| retired.name == profile.name)
                .map(|r| r.id);
            let kept = kept.filter(|id| members.iter().all(|m| m.id != *id));
            let id = kept.or_else(|| {
                (1..=u16::MAX)
                    .map(NodeId)
                    .find(|id| !reserved.contains(id) && members.iter().all(|m| m.id != *id))
            });
            // 65,535 ids against at most 5 x 64 that are taken: there is always a free one.
            if let Some(id) = id {
                members.push(member(profile, id));
            }
        }
        members.sort_by_key(|m| m.id);
        if members.iter().all(|m| m.weight == 0) {
            // Somebody must serve: if everyone drains, everyone goes on.
            for m in &mut members {
                let own = serving
                    .iter()
                    .find(|profile| profile.name == m.name)
                    .map_or(1, |profile| profile.weight);
                m.weight = own.max(1);
            }
        }
        let mut view = View {
            number,
            hash_key: current.view.hash_key,
            members,
            history: Vec::new(),
            sets: Vec::new(),
        };
        sets::complete(&mut view, serving, &current.view);
        let mut ancestry = vec![current.digest()];
        ancestry.extend(current.ancestry.iter().copied());
        ancestry.truncate(ANCESTRY_MAX);
        let retired = current.retired_beside(&view);
        Lineage {
            view,
            retired,
            ancestry,
        }
    }

    /// The empty beginning that the first view is made from: only the secret of the steering hash.
    pub fn origin(hash_key: [u64; 2]) -> Lineage {
        let view = View {
            number: 0,
            hash_key,
            members: Vec::new(),
            history: Vec::new(),
            sets: Vec::new(),
        };
        Lineage {
            view,
            retired: Vec::new(),
            ancestry: Vec::new(),
        }
    }

    /// Ids that a newcomer must not get: in use, or named by the history (this view's shares are about to be).
    fn reserved(&self) -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = self.view.members.iter().map(|m| m.id).collect();
        ids.extend(
            self.view
                .history
                .iter()
                .flat_map(|shares| shares.0.iter().map(|share| share.id)),
        );
        ids.extend(self.retired.iter().map(|retired| retired.id));
        ids
    }

    /// Former members to remember beside `next`: named by its history, and not in it.
    fn retired_beside(&self, next: &View) -> Vec<Retired> {
        let gone = self.view.members.iter().map(|m| Retired {
            id: m.id,
            name: m.name.clone(),
        });
        let mut retired: Vec<Retired> = self
            .retired
            .iter()
            .cloned()
            .chain(gone)
            .filter(|r| next.members.iter().all(|m| m.id != r.id && m.name != r.name))
            .filter(|r| {
                next.history
                    .iter()
                    .any(|shares| shares.0.iter().any(|share| share.id == r.id))
            })
            .collect();
        retired.sort_by_key(|r| r.id);
        retired.dedup_by_key(|r| r.id);
        retired.truncate(RETIRED_MAX);
        retired
    }
}

/// A member as its profile says; weight 0 unless it is ready.
fn member(profile: &Profile, id: NodeId) -> Member {
    Member {
        id,
        name: profile.name.clone(),
        address: profile.address,
        address_v6: profile.address_v6,
        weight: if profile.state == State::Ready {
            profile.weight
        } else {
            0
        },
        incarnation: profile.incarnation,
        // Until the view has its sets.
        serves: SetId::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Standing;
    use super::*;
    use crate::view::{HISTORY_VIEWS_MAX, Served};

    fn profile(name: &str, state: State) -> Profile {
        Profile {
            name: name.to_owned(),
            listen: "127.0.0.1:1".parse().unwrap(),
            address: None,
            address_v6: None,
            weight: 2,
            state,
            standing: Standing::Newcomer,
            incarnation: 1,
            serves: Served::All,
        }
    }

    fn step(current: &Lineage, nodes: &[(&str, State)]) -> Lineage {
        let profiles: Vec<Profile> = nodes.iter().map(|(name, state)| profile(name, *state)).collect();
        Lineage::next(
            current,
            &profiles.iter().collect::<Vec<_>>(),
            current.view.number + 1,
        )
    }

    fn ids(lineage: &Lineage) -> Vec<(u16, String, u32)> {
        lineage
            .view
            .members
            .iter()
            .map(|m| (m.id.0, m.name.clone(), m.weight))
            .collect()
    }

    use State::{Draining, Ready};

    #[test]
    fn order_of_candidates_does_not_matter() {
        let origin = Lineage::origin([1, 2]);
        let one = step(&origin, &[("a", Ready), ("b", Ready), ("c", Ready)]);
        let other = step(&origin, &[("c", Ready), ("a", Ready), ("b", Ready)]);
        assert_eq!(one, other);
        assert_eq!(one.view.hash_key, [1, 2]);
    }

    #[test]
    fn returning_node_gets_its_id_back_and_nobody_else_does() {
        let first = step(&Lineage::origin([0, 0]), &[("a", Ready), ("b", Ready)]);
        let without = step(&first, &[("b", Ready)]);
        assert_eq!(
            without.retired,
            vec![Retired {
                id: NodeId(1),
                name: "a".into()
            }]
        );
        let with_c = step(&without, &[("b", Ready), ("c", Ready)]);
        assert_eq!(ids(&with_c), vec![(2, "b".into(), 2), (3, "c".into(), 2)]);
        let back = step(&with_c, &[("c", Ready), ("b", Ready), ("a", Ready)]);
        assert_eq!(
            ids(&back),
            vec![(1, "a".into(), 2), (2, "b".into(), 2), (3, "c".into(), 2)]
        );
        assert!(back.retired.is_empty());
    }

    #[test]
    fn id_is_free_again_once_history_forgot_it() {
        let mut lineage = step(&Lineage::origin([0, 0]), &[("a", Ready), ("b", Ready)]);
        lineage = step(&lineage, &[("b", Ready)]);
        for name in ["c", "d", "e", "f", "g"] {
            lineage = step(&lineage, &[("b", Ready), (name, Ready)]);
        }
        assert_eq!(ids(&lineage), vec![(1, "g".into(), 2), (2, "b".into(), 2)]);
        assert_eq!(lineage.view.history.len(), HISTORY_VIEWS_MAX);
    }

    #[test]
    fn draining_weighs_nothing_unless_everyone_drains() {
        let first = step(&Lineage::origin([0, 0]), &[("a", Ready), ("b", Ready)]);
        let one = step(&first, &[("a", Draining), ("b", Ready)]);
        assert_eq!(ids(&one), vec![(1, "a".into(), 0), (2, "b".into(), 2)]);
        let all = step(&one, &[("a", Draining), ("b", Draining)]);
        assert_eq!(ids(&all), vec![(1, "a".into(), 2), (2, "b".into(), 2)]);
    }

    #[test]
    fn history_is_distinct_and_leaves_out_the_present() {
        let first = step(&Lineage::origin([0, 0]), &[("a", Ready), ("b", Ready)]);
        let drained = step(&first, &[("a", Draining), ("b", Ready)]);
        let back = step(&drained, &[("a", Ready), ("b", Ready)]);
        assert_eq!(drained.view.history, vec![first.view.shares()]);
        assert_eq!(back.view.history, vec![drained.view.shares()]);
    }

    #[test]
    fn descent_is_recognised() {
        let first = step(
            &Lineage::origin([0, 0]),
            &[("a", Ready), ("b", Ready), ("c", Ready)],
        );
        let left = step(&first, &[("a", Ready)]);
        let right = step(&first, &[("b", Ready), ("c", Ready)]);
        assert_eq!(first.relation(&first.clone()), Relation::Same);
        assert_eq!(first.relation(&left), Relation::Descendant);
        assert_eq!(left.relation(&first), Relation::Ancestor);
        assert_eq!(left.relation(&right), Relation::Fork);
    }

    #[test]
    fn view_is_bounded_and_members_stay_before_newcomers() {
        let many: Vec<Profile> = (0..100).map(|i| profile(&format!("n{i:03}"), Ready)).collect();
        let late: Vec<&Profile> = many.iter().skip(90).collect();
        let first = Lineage::next(&Lineage::origin([0, 0]), &late, 1);
        let all: Vec<&Profile> = many.iter().collect();
        let next = Lineage::next(&first, &all, 2);
        assert_eq!(next.view.members.len(), MEMBERS_MAX);
        assert!(late.iter().all(|p| next.view.member(&p.name).is_some()));
    }
}
