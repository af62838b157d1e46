//! Which of two views to hold.
//!
//! A part of `membership`'s state machine: every node resolves a collision by this rule, so that all end with one view.

use std::time::Duration;

use super::{Action, Membership, REFUSED};
use crate::cluster::lineage::{Lineage, Relation};
use crate::cluster::message::Life;
use crate::cluster::notice::Notice;

/// Who wins where two views collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Keep,
    Adopt,
    /// Adopt, though mine was made from theirs: it left out too many that are alive.
    Retract,
}

impl Membership {
    /// Takes another node's view, or does not.
    pub(super) fn consider(
        &mut self,
        theirs: Lineage,
        their_live: &[Life],
        from: &str,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let judgement = match &self.held {
            None => Judgement::Adopt,
            Some(held) => judge(&held.lineage, &theirs, &self.live(), their_live),
        };
        let fork = self
            .held
            .as_ref()
            .is_some_and(|held| held.lineage.relation(&theirs) == Relation::Fork);
        match judgement {
            Judgement::Keep => return,
            Judgement::Adopt => {}
            Judgement::Retract => self.refused_until = now + REFUSED,
        }
        let (number, given_up) = (theirs.view.number, self.number());
        let from = from.to_owned();
        actions.push(Action::Notice(match judgement {
            Judgement::Retract => Notice::Refused {
                number: given_up,
                from,
            },
            _ if fork => Notice::Merged {
                number,
                given_up,
                from,
            },
            _ => Notice::Adopted { number, from },
        }));
        self.hold(theirs, now, actions);
    }
}

/// Which of two views to hold, given the lives that either side is connected with.
///
/// Both sides judge by the union of what both know, so that they come to the same result.
fn judge(mine: &Lineage, theirs: &Lineage, my_live: &[Life], their_live: &[Life]) -> Judgement {
    let live = [my_live, their_live].concat();
    let rank = |lineage: &Lineage| {
        (
            lineage.members_among(&live),
            lineage.view.number,
            lineage.digest(),
        )
    };
    let (my_rank, their_rank) = (rank(mine), rank(theirs));
    match mine.relation(theirs) {
        // A view that keeps under half of those alive was made by a node that hears too little: not followed.
        Relation::Descendant if 2 * their_rank.0 < my_rank.0 => Judgement::Keep,
        Relation::Ancestor if 2 * my_rank.0 < their_rank.0 => Judgement::Retract,
        Relation::Descendant => Judgement::Adopt,
        // Heard of through a third node only: adopted, it would be taken apart again at once, and so for ever.
        Relation::Fork if theirs.members_among(my_live) == 0 => Judgement::Keep,
        Relation::Fork if their_rank > my_rank => Judgement::Adopt,
        Relation::Fork | Relation::Ancestor | Relation::Same => Judgement::Keep,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::message::{Profile, Standing, State};
    use crate::view::Served;

    /// A view of these nodes, each named by one letter.
    fn view(parent: &Lineage, nodes: &str, number: u64) -> Lineage {
        let profile = |name: char| Profile {
            name: name.to_string(),
            listen: ([127, 0, 0, 1], 1).into(),
            address: None,
            address_v6: None,
            weight: 1,
            state: State::Ready,
            standing: Standing::Newcomer,
            incarnation: 1,
            serves: Served::All,
        };
        let profiles: Vec<Profile> = nodes.chars().map(profile).collect();
        Lineage::next(parent, &profiles.iter().collect::<Vec<_>>(), number)
    }

    fn lives(nodes: &str) -> Vec<Life> {
        nodes
            .chars()
            .map(|name| Life::new(&name.to_string(), 1))
            .collect()
    }

    #[test]
    fn collisions_are_resolved_by_who_is_alive() {
        use Judgement::{Adopt, Keep, Retract};
        let all = view(&Lineage::origin([0, 0]), "abcde", 5);
        let views = BTreeMap::from([
            ("all", all.clone()),
            ("a", view(&all, "a", 9)),
            ("ab", view(&all, "ab", 6)),
            ("abc", view(&all, "abc", 6)),
            ("bcde", view(&all, "bcde", 6)),
            ("de", view(&all, "de", 7)),
        ]);
        let rows = [
            ("a death is followed", "all", "bcde", "bcde", "bcde", Adopt),
            (
                "one's own is not given up for the past",
                "bcde",
                "all",
                "bcde",
                "bcde",
                Keep,
            ),
            (
                "four deaths in truth are followed",
                "all",
                "ab",
                "ab",
                "ab",
                Adopt,
            ),
            (
                "who hears too few is not followed",
                "all",
                "a",
                "abcde",
                "a",
                Keep,
            ),
            ("two of five alive are too few", "all", "ab", "abcde", "ab", Keep),
            ("three of five are not", "all", "abc", "abcde", "abc", Adopt),
            (
                "who heard too few takes it back",
                "a",
                "all",
                "ab",
                "abcde",
                Retract,
            ),
            (
                "the larger side wins, whatever the number",
                "a",
                "bcde",
                "ab",
                "bcde",
                Adopt,
            ),
            (
                "the smaller side loses, whatever the number",
                "bcde",
                "a",
                "abcde",
                "a",
                Keep,
            ),
            (
                "of equal sides the higher number wins",
                "ab",
                "de",
                "abd",
                "de",
                Adopt,
            ),
            (
                "of equal sides the lower number loses",
                "de",
                "ab",
                "dea",
                "ab",
                Keep,
            ),
            (
                "who is alive counts, not who is named",
                "abc",
                "de",
                "ad",
                "de",
                Adopt,
            ),
            (
                "a side heard of through others only is kept out",
                "ab",
                "de",
                "ab",
                "de",
                Keep,
            ),
        ];
        for (what, mine, theirs, my_live, their_live, expected) in rows {
            let judgement = judge(&views[mine], &views[theirs], &lives(my_live), &lives(their_live));
            assert_eq!(judgement, expected, "{what}");
        }
    }
}
