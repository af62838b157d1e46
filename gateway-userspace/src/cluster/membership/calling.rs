//! Whom a node calls, and what it says.
//!
//! A part of `membership`'s state machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Action, Membership};
use crate::cluster::lineage::Digest;
use crate::cluster::message::{GOSSIP_MAX, Heartbeat, PEERS_MAX};
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

    pub(super) fn send_to_all(&mut self, actions: &mut Vec<Action>) {
        let mut called = BTreeSet::from([self.me.listen]);
        let mut peers: Vec<_> = self
            .peers
            .values()
            .map(|p| {
                (
                    p.listen(),
                    (p.hearing == Hearing::Heard).then_some(p.profile.incarnation),
                    p.digest,
                )
            })
            .collect();
        // A renamed node has two names at one address: the one that is heard counts.
        peers.sort_by_key(|(_, echo, _)| echo.is_none());
        for (address, echo, digest) in peers {
            if called.insert(address) {
                self.send(address, echo, digest, actions);
            }
        }
        let others: Vec<_> = self.seeds.iter().chain(self.addresses.keys()).copied().collect();
        for address in others {
            if called.insert(address) {
                self.send(address, None, None, actions);
            }
        }
    }

    /// Sends one heartbeat; with the view, unless `digest` says that the receiver holds it already.
    pub(super) fn send(
        &mut self,
        to: SocketAddr,
        echo: Option<u32>,
        digest: Option<Digest>,
        actions: &mut Vec<Action>,
    ) {
        self.sequence = self.sequence.saturating_add(1);
        let mut peers: Vec<SocketAddr> = self
            .live_peers()
            .map(Peer::listen)
            .filter(|at| *at != to)
            .collect();
        peers.truncate(GOSSIP_MAX);
        let unknown = self.held.as_ref().filter(|held| Some(held.digest) != digest);
        let heartbeat = Heartbeat {
            sender: self.me.clone(),
            sequence: self.sequence,
            echo,
            peers,
            live: self.live(),
            number_seen: self.number_seen,
            number: self.number(),
            digest: self.held.as_ref().map(|held| held.digest),
            lineage: unknown.map(|held| held.lineage.clone()),
        };
        actions.push(Action::Send(to, Box::new(heartbeat)));
    }
}
