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
