//! Whom a node calls, and what it says.
//!
//! A part of `membership`'s state machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Action, GOSSIP, Membership};
use crate::cluster::lineage::Digest;
use crate::cluster::message::{Echo, GOSSIP_MAX, Heartbeat, PEERS_MAX, State};
use crate::cluster::peer::{Hearing, Peer};

impl Membership {
    /// Notes addresses heard of, within their bound.
    pub(super) fn learn(&mut self, addresses: &[SocketAddr], now: Duration) {
        for address in addresses.iter().take(GOSSIP_MAX) {
            let known =
                *address == self.me.listen || self.peers.values().any(|peer| peer.listen() == *address);
            if !known && (self.addresses.len() < PEERS_MAX || self.addresses.contains_key(address)) {
                self.addresses.insert(*address, now);
            }
        }
    }

    pub(super) fn send_to_all(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let mut called = BTreeSet::from([self.me.listen]);
        let mut receivers: Vec<Receiver> = self.peers.values().map(Receiver::known).collect();
        // A renamed node has two names at one address: the one that is heard counts.
        receivers.sort_by_key(|receiver| receiver.echo.is_none());
        receivers.extend(
            self.seeds
                .iter()
                .chain(self.addresses.keys())
                .copied()
                .map(Receiver::unknown),
        );
        for receiver in receivers {
            if called.insert(receiver.address) {
                self.send(receiver, now, actions);
            }
        }
    }

    /// Sends one heartbeat; with the view, unless the receiver is known to hold it already.
    pub(super) fn send(&mut self, to: Receiver, now: Duration, actions: &mut Vec<Action>) {
        self.sequence = self.sequence.saturating_add(1);
        let unknown = self.held.as_ref().filter(|held| Some(held.digest) != to.digest);
        let heartbeat = Heartbeat {
            sender: self.me.clone(),
            sequence: self.sequence,
            echo: to.echo,
            peers: self.gossip(to.address, now),
            live: self.live(),
            number_seen: self.number_seen,
            number: self.number(),
            digest: self.digest(),
            lineage: unknown.map(|held| held.lineage.clone()),
        };
        actions.push(Action::Send(to.address, Box::new(heartbeat)));
    }

    /// Where others were heard lately, the latest first: only what was heard by this node itself,
    /// or the address of a node that is gone would be passed around for ever.
    fn gossip(&self, to: SocketAddr, now: Duration) -> Vec<SocketAddr> {
        let heard_lately = |peer: &&Peer| peer.unheard(now) < GOSSIP && peer.profile.state != State::Leaving;
        let mut peers: Vec<&Peer> = self.peers.values().filter(heard_lately).collect();
        peers.sort_by_key(|peer| peer.unheard(now));
        let addresses = peers
            .into_iter()
            .map(Peer::listen)
            .filter(|address| *address != to);
        addresses.take(GOSSIP_MAX).collect()
    }
}

/// Whom a heartbeat is for, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    /// Its life that is heard.
    echo: Option<Echo>,
    /// Of the view it holds.
    digest: Option<Digest>,
}

impl Receiver {
    fn known(peer: &Peer) -> Receiver {
        let is_heard = peer.hearing == Hearing::Heard;
        let echo = is_heard.then_some(Echo {
            incarnation: peer.profile.incarnation,
            sequence: peer.sequence,
        });
        Receiver {
            address: peer.listen(),
            echo,
            digest: peer.digest,
        }
    }

    fn unknown(address: SocketAddr) -> Receiver {
        Receiver {
            address,
            echo: None,
            digest: None,
        }
    }

    /// The sender of a heartbeat: it learns at once that it is heard, and need not wait for a tick.
    pub(super) fn greeted(heartbeat: &Heartbeat) -> Receiver {
        let sender = &heartbeat.sender;
        let echo = Echo {
            incarnation: sender.incarnation,
            sequence: heartbeat.sequence,
        };
        Receiver {
            address: sender.listen,
            echo: Some(echo),
            digest: None,
        }
    }
}
