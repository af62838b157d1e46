//! The node's interfaces: what becomes of them is told as events, and the other nodes are told while one is lost.

use super::controller::Controller;
use crate::config::snapshot::Vip;
use crate::l4::dataplane::Change;
use crate::view::Served;

/// By how many of its interfaces a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// By all that it should be.
    ByAll,
    /// One is lost at least.
    BySome,
}

impl Controller {
    /// Looks at the interfaces; what came gets the program, and what changed is told.
    pub(super) async fn look_after_interfaces(&mut self, vips: &[Vip]) {
        let Some(dataplane) = &mut self.parts.dataplane else {
            return;
        };
        let changes = match dataplane.look_after_interfaces().await {
            Ok(changes) => changes,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(error, "looking at the interfaces");
            }
        };
        let reached = match dataplane.is_reached_by_all() {
            true => Reached::ByAll,
            false => Reached::BySome,
        };
        for change in changes {
            let Change {
                interface,
                from,
                to,
                why,
            } = change;
            self.events.tell_interface(&interface, from, to, &why);
        }
        if reached != self.reached {
            self.reached = reached;
            self.tell_served(vips);
        }
    }

    /// Says to the other nodes which VIPs this one serves: none, while an interface is lost, by which clients may come or be
    /// answered. The others then take its share and its addresses, as when it drains; what comes in by the other
    /// interfaces is steered as ever.
    pub(super) fn tell_served(&self, vips: &[Vip]) {
        if let Some(cluster) = &self.parts.cluster {
            cluster.set_served(match self.reached {
                Reached::ByAll => Served::by(vips),
                Reached::BySome => Served::by(&[]),
            });
        }
    }
}
