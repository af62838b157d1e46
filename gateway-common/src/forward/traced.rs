//! What is read of a decision's notes where packets are traced.

use super::Notes;
use crate::node::NodeId;
use crate::parse::{About, Network};
use crate::vip::Address;

impl Notes {
    /// The packet; once it is taken out of what a node put around it, that one.
    #[inline(always)]
    pub fn packet(&self) -> &Network {
        &self.packet
    }

    /// What it is about.
    #[inline(always)]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Which node sent it, and how often it had been sent from node to node; nobody, and 0: a client did.
    #[inline(always)]
    pub fn came_from(&self) -> (NodeId, u16) {
        match &self.arrival {
            Some(arrival) => (arrival.sender, arrival.hops),
            None => (NodeId::NOBODY, 0),
        }
    }

    /// Forgets what was noted of an earlier packet, so that of one that cannot be read nothing is told that is another's.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.packet.source = Address::default();
        self.packet.destination = Address::default();
        self.packet.protocol = 0;
        self.about = About::default();
        self.arrival = None;
    }
}
