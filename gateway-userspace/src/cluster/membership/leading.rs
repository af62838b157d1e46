//! Who makes the next view, when, and of whom.
//!
//! A part of `membership`'s state machine; how a view is made is `lineage`'s business.

use std::time::Duration;

use super::{ACKNOWLEDGE, Action, BOOTSTRAP, Membership, UNANSWERED};
use crate::cluster::lineage::Lineage;
use crate::cluster::message::{Life, Profile, Standing, State};
use crate::cluster::notice::Notice;
use crate::cluster::peer::{Hearing, Peer};

impl Membership {
    /// Makes the next view, if that is this node's to do and anything is to be changed.
    pub(super) fn lead(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let may_lead = self.me.state != State::Leaving && now >= self.refused_until && self.leads(now);
        let origin;
        let current = match &self.held {
            _ if !may_lead => return,
            Some(held) => &held.lineage,
            None => {
                origin = Lineage::origin(self.hash_key);
                &origin
            }
        };
        let number = self.number_seen.saturating_add(1);
        let next = Lineage::next(current, &self.serving(), number);
        if next.view.members.is_empty() {
            return;
        }
        let live = self.live();
        let someone_gone = current.members_among(&live) < current.view.members.len();
        // Sets have other numbers where their contents have changed, or not: both must be the same.
        let changed = next.view.members != current.view.members || next.view.sets != current.view.sets;
        let acknowledged = self
            .held
            .as_ref()
            .is_none_or(|held| self.live_peers().all(|peer| peer.digest == Some(held.digest)));
        // A view won against one with a higher number: numbers must not seem to fall for ever. But while anyone
        // holds another view, that comes first: two sides would outbid each other.
        let undisputed = || {
            self.peers
                .values()
                .all(|p| p.hearing == Hearing::Silent || p.digest == self.digest())
        };
        let outnumbered = self.held.is_some() && current.view.number < self.number_seen && undisputed();
        let waited = acknowledged || now.saturating_sub(self.held_at) >= ACKNOWLEDGE;
        if outnumbered || (changed && (someone_gone || waited)) {
            actions.push(Action::Notice(Notice::Made {
                number,
                members: next.view.members.len(),
            }));
            self.hold(next, now, actions);
            self.send_to_all(now, actions);
        }
    }

    /// Whether this node makes the next view: the live member with the lowest id does, else the lowest name.
    fn leads(&self, now: Duration) -> bool {
        let by_name = || self.live_peers().all(|peer| self.me.name < peer.profile.name);
        let Some(held) = &self.held else {
            let age = now.saturating_sub(self.started_at);
            let waited = self.seeds.is_empty() || age >= BOOTSTRAP;
            let counts = |peer: &Peer| {
                let is_heard = peer.hearing == Hearing::Heard && age < UNANSWERED;
                is_heard || peer.is_connected(self.me.incarnation)
            };
            let no_view = self.peers.values().all(|p| p.digest.is_none() || !counts(p));
            return waited && no_view && by_name();
        };
        let live = self.live();
        let mut members = held.lineage.view.members.iter();
        match members.find(|m| live.contains(&Life::new(&m.name, m.incarnation))) {
            Some(first) => first.name == self.me.name,
            None => by_name(),
        }
    }

    /// The nodes that the next view is made of.
    ///
    /// A node that holds a fork is not taken in before the fork is resolved: otherwise either side could pull the
    /// other's nodes over, one by one, and the smaller might win. A node that drains is kept, but not taken in where it
    /// never served, unless nobody else is left.
    fn serving(&self) -> Vec<&Profile> {
        let admissible = |peer: &Peer| match (&self.held, peer.digest) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(held), Some(digest)) => {
                digest == held.digest
                    || held.lineage.ancestry.contains(&digest)
                    || held.lineage.view.member(&peer.profile.name).is_some()
            }
        };
        let peers = self
            .live_peers()
            .filter(|peer| admissible(peer))
            .map(|peer| &peer.profile);
        let (mut serving, idle): (Vec<&Profile>, Vec<&Profile>) = std::iter::once(&self.me)
            .chain(peers)
            .filter(|profile| matches!(profile.state, State::Ready | State::Draining))
            .partition(|profile| profile.state == State::Ready || self.has_served(profile));
        if serving.is_empty() {
            serving = idle;
        }
        serving
    }

    /// Whether connections may have been steered to this life of a node.
    fn has_served(&self, node: &Profile) -> bool {
        node.standing == Standing::Member || self.held.as_ref().is_some_and(|held| held.lineage.has(node))
    }
}
