//! The sets of VIPs of a view: each distinct one once, within the bounds of a datagram.
//!
//! Pure. Whoever makes a view decides which sets find room, members by their ids first, then the history; the others
//! take the view as it is, so that all nodes agree on who counts as serving all.

use crate::view::{
    FINGERPRINTS_MAX, Fingerprint, HISTORY_VIEWS_MAX, Member, SETS_MAX, Served, SetId, Shares, View,
};

use super::super::message::Profile;

/// Sets in the order in which they came.
#[derive(Debug, Default)]
struct Sets {
    sets: Vec<Vec<Fingerprint>>,
    fingerprints: usize,
}

impl Sets {
    /// The number of a set for now; of one that finds no room, that of all VIPs.
    fn take_in(&mut self, set: Option<&[Fingerprint]>) -> SetId {
        let Some(set) = set else {
            return SetId::ALL;
        };
        let index = match self.sets.iter().position(|known| known == set) {
            Some(index) => index,
            None if self.sets.len() >= SETS_MAX || self.fingerprints + set.len() > FINGERPRINTS_MAX => {
                return SetId::ALL;
            }
            None => {
                self.fingerprints += set.len();
                self.sets.push(set.to_vec());
                self.sets.len() - 1
            }
        };
        u8::try_from(index + 1).map_or(SetId::ALL, SetId)
    }

    /// Those shares by this view's numbers, given in the other view's.
    fn translated(&mut self, shares: &Shares, from: &View) -> Shares {
        let mut shares = shares.clone();
        for share in &mut shares.0 {
            share.serves = self.take_in(from.set(share.serves));
        }
        shares
    }
}

/// Gives the view its sets and its history, of which it has neither yet: what its members serve, and the last distinct
/// shares of the view before it, the latest first.
pub fn complete(view: &mut View, serving: &[&Profile], before: &View) {
    let mut sets = Sets::default();
    for member in &mut view.members {
        let profile = serving.iter().find(|profile| profile.name == member.name);
        member.serves = match profile.map(|profile| &profile.serves) {
            Some(Served::These(set)) => sets.take_in(Some(set)),
            Some(Served::All) | None => SetId::ALL,
        };
    }
    let shares = view.shares();
    for earlier in std::iter::once(&before.shares()).chain(&before.history) {
        if view.history.len() >= HISTORY_VIEWS_MAX {
            break;
        }
        // What is left out here is equal to what is there, and so are its sets: none is taken in for nothing.
        let earlier = sets.translated(earlier, before);
        if !earlier.0.is_empty() && earlier != shares && !view.history.contains(&earlier) {
            view.history.push(earlier);
        }
    }
    renumber(view, sets.sets);
}

/// Sorts the sets, so that equal views are equal bit by bit, and refers to them by their new places.
fn renumber(view: &mut View, sets: Vec<Vec<Fingerprint>>) {
    let mut sorted: Vec<(usize, Vec<Fingerprint>)> = sets.into_iter().enumerate().collect();
    sorted.sort_by(|(_, a), (_, b)| a.cmp(b));
    let place = |old: SetId| {
        let index = usize::from(old.0).checked_sub(1)?;
        let place = sorted.iter().position(|(came_as, _)| *came_as == index)?;
        u8::try_from(place + 1).ok().map(SetId)
    };
    let new = |old| place(old).unwrap_or(SetId::ALL);
    for Member { serves, .. } in &mut view.members {
        *serves = new(*serves);
    }
    for share in view.history.iter_mut().flat_map(|shares| &mut shares.0) {
        share.serves = new(share.serves);
    }
    view.sets = sorted.into_iter().map(|(_, set)| set).collect();
}

/// Whether a view that came from elsewhere refers to sets that it has, in their order, within their bounds.
pub fn are_sound(view: &View) -> bool {
    let has = |id: SetId| usize::from(id.0) <= view.sets.len();
    let fingerprints: usize = view.sets.iter().map(Vec::len).sum();
    view.sets.len() <= SETS_MAX
        && fingerprints <= FINGERPRINTS_MAX
        && view.sets.is_sorted_by(|a, b| a < b)
        && view.sets.iter().all(|set| set.is_sorted_by(|a, b| a < b))
        && view.members.iter().all(|member| has(member.serves))
        && (view.history.iter().flat_map(|shares| &shares.0)).all(|share| has(share.serves))
}

#[cfg(test)]
mod tests {
    use super::super::super::message::{Standing, State};
    use super::super::Lineage;
    use super::*;
    use crate::view::VIPS_ADVERTISED_MAX;

    fn these(fingerprints: impl IntoIterator<Item = u32>) -> Served {
        Served::These(fingerprints.into_iter().map(Fingerprint).collect())
    }

    fn next(current: &Lineage, nodes: &[Served]) -> Lineage {
        let profiles: Vec<Profile> = (nodes.iter().enumerate())
            .map(|(i, serves)| Profile {
                name: format!("n{i:03}"),
                listen: ([127, 0, 0, 1], 1).into(),
                address: None,
                address_v6: None,
                weight: 1,
                state: State::Ready,
                standing: Standing::Newcomer,
                incarnation: 1,
                serves: serves.clone(),
            })
            .collect();
        let number = current.view.number + 1;
        let next = Lineage::next(current, &profiles.iter().collect::<Vec<_>>(), number);
        assert!(are_sound(&next.view), "{:?}", next.view);
        next
    }

    fn served(view: &View) -> Vec<Option<Vec<u32>>> {
        let set = |member: &Member| {
            let set = view.set(member.serves)?;
            Some(set.iter().map(|fingerprint| fingerprint.0).collect())
        };
        view.members.iter().map(set).collect()
    }

    #[test]
    fn equal_sets_are_carried_once_and_sorted() {
        let origin = Lineage::origin([0, 0]);
        let lineage = next(&origin, &[these([7, 8]), these([1]), these([7, 8]), Served::All]);
        assert_eq!(
            lineage.view.sets,
            [vec![Fingerprint(1)], vec![Fingerprint(7), Fingerprint(8)]]
        );
        let expected = [Some(vec![7, 8]), Some(vec![1]), Some(vec![7, 8]), None];
        assert_eq!(served(&lineage.view), expected);
    }

    #[test]
    fn change_of_a_set_goes_into_history_by_its_content_not_its_number() {
        let first = next(&Lineage::origin([0, 0]), &[these([5]), these([9])]);
        let second = next(&first, &[these([1]), these([9])]);
        let number = |lineage: &Lineage| lineage.view.members.first().map(|member| member.serves);
        assert_eq!(number(&second), number(&first), "the numbers are the same");
        assert_ne!(second.view.sets, first.view.sets);
        let before = second.view.history.first().unwrap();
        let sets: Vec<_> = before
            .0
            .iter()
            .map(|share| second.view.set(share.serves))
            .collect();
        assert_eq!(sets, [Some(&[Fingerprint(5)][..]), Some(&[Fingerprint(9)][..])]);
        let third = next(&second, &[these([5]), these([9])]);
        assert_eq!(third.view.history.len(), 1, "the present is not its own past");
    }

    #[test]
    fn nothing_changed_gives_the_same_sets_and_history() {
        let mut lineage = Lineage::origin([0, 0]);
        for round in 0..8 {
            let nodes: Vec<Served> = (0..5)
                .map(|node| these((0..VIPS_ADVERTISED_MAX as u32).map(|i| i * 8 + (node * round) % 7)))
                .collect();
            lineage = next(&lineage, &nodes);
            let again = next(&lineage, &nodes);
            assert_eq!(again.view.members, lineage.view.members, "round {round}");
            assert_eq!(again.view.sets, lineage.view.sets, "round {round}");
            assert_eq!(again.view.history, lineage.view.history, "round {round}");
        }
    }

    #[test]
    fn who_finds_no_room_serves_all() {
        let rows: [(&str, Vec<Served>, usize); 2] = [
            (
                "too many sets",
                (0..70)
                    .map(|i| these([i]))
                    .take(64)
                    .chain([these([99])])
                    .collect(),
                64,
            ),
            (
                "too many fingerprints",
                (0..6)
                    .map(|node| these((0..VIPS_ADVERTISED_MAX as u32).map(|i| i * 8 + node)))
                    .collect(),
                4,
            ),
        ];
        for (what, nodes, named) in rows {
            let view = next(&Lineage::origin([0, 0]), &nodes).view;
            let found = served(&view).iter().filter(|set| set.is_some()).count();
            assert_eq!(found, named, "{what}");
            assert_eq!(view.sets.len(), named, "{what}");
        }
    }
}
