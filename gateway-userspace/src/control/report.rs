//! What the control loop tells operators: the node in one view, and the nodes around it.

use std::time::Instant;

use super::controller::Controller;
use crate::admin::status::{
    AttachedMode, Dataplane, Interface, Member, Node, NodeState, Status, Steered, VerdictCount, acme,
    listeners, upstreams, vips,
};
use crate::cluster::{NodeStatus, State};
use crate::l4;
use crate::view::View;

impl Controller {
    /// The node in one view.
    pub fn status(&self) -> Status {
        let snapshot = self.snapshot();
        let view = self.view();
        let upstreams = upstreams(&snapshot, &self.parts.checks.known());
        let reasons = self.reasons.get();
        Status {
            node: snapshot.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot: snapshot.number,
            config: snapshot.source.display().to_string(),
            uptime_s: Instant::now().duration_since(self.started).as_secs(),
            state: self.state,
            ready: reasons.is_empty(),
            reasons,
            view: view.number,
            members: members(&view),
            dataplane: self.dataplane_status(),
            connections: self.parts.shared.metrics.connections_open(),
            active_requests: upstreams
                .iter()
                .flat_map(|upstream| &upstream.endpoints)
                .map(|endpoint| u64::from(endpoint.active))
                .sum(),
            listeners: listeners(&snapshot),
            acme: acme(&self.parts.acme.shown()),
            upstreams,
            last_refused: self.last_refused.clone(),
        }
    }

    fn dataplane_status(&self) -> Option<Dataplane> {
        let dataplane = self.parts.dataplane.as_ref()?;
        match dataplane.status() {
            Ok(status) => Some(described(status, vips(&self.snapshot()))),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the data plane does not tell its state"
                );
                None
            }
        }
    }

    /// The nodes of the cluster; this one alone where there is none.
    pub fn nodes(&self) -> Vec<Node> {
        match &self.parts.cluster {
            Some(cluster) => cluster.nodes().iter().map(node).collect(),
            None => self.alone(),
        }
    }

    fn alone(&self) -> Vec<Node> {
        let view = self.view();
        let state = self.state;
        let one = |member: &crate::view::Member| Node {
            name: member.name.clone(),
            addresses: l4::desired::addresses(member).collect(),
            weight: member.weight,
            state,
            alive: true,
            last_heard_ms: Some(0),
            view: view.number,
            incarnation: member.incarnation,
        };
        view.members.iter().map(one).collect()
    }
}

fn described(status: l4::Status, mut vips: Vec<crate::admin::status::Vip>) -> Dataplane {
    for vip in &mut vips {
        let counts = status.vips.get(&vip.name).into_iter().flatten();
        vip.verdicts = counts.map(verdict).collect();
        vip.packets = vip.verdicts.iter().map(|count| count.packets).sum();
        vip.bytes = vip.verdicts.iter().map(|count| count.bytes).sum();
    }
    let steered = status.steered.into_iter().map(|(node, counted)| Steered {
        node,
        packets: counted.packets,
        bytes: counted.bytes,
    });
    let interface = |at: l4::dataplane::Attachment| {
        let mode = at.state.mode().map(|mode| match mode {
            l4::interfaces::Mode::Generic => AttachedMode::Generic,
            l4::interfaces::Mode::Native | l4::interfaces::Mode::Other => AttachedMode::Native,
        });
        let attached = at.link.and_then(|link| link.attached);
        Interface {
            name: at.name,
            state: at.state.word().to_owned(),
            mode,
            program: attached
                .filter(|_| mode.is_some())
                .map(|attached| attached.program),
            mtu: at.link.map(|link| link.mtu),
            why: at.state.why(),
        }
    };
    Dataplane {
        interfaces: status.interfaces.into_iter().map(interface).collect(),
        vips,
        verdicts: status.verdicts.iter().map(verdict).collect(),
        steered: steered.collect(),
    }
}

fn verdict(count: &l4::counters::ReasonCount) -> VerdictCount {
    VerdictCount {
        reason: count.reason.to_owned(),
        action: count.action.to_owned(),
        packets: count.packets,
        bytes: count.bytes,
    }
}

fn members(view: &View) -> Vec<Member> {
    let member = |member: &crate::view::Member| Member {
        name: member.name.clone(),
        weight: member.weight,
        incarnation: member.incarnation,
    };
    view.members.iter().map(member).collect()
}

fn node(status: &NodeStatus) -> Node {
    let v4 = status.address.map(Into::into);
    let v6 = status.address_v6.map(Into::into);
    Node {
        name: status.name.clone(),
        addresses: v4.into_iter().chain(v6).collect(),
        weight: status.weight,
        state: match status.state {
            State::Joining => NodeState::Joining,
            State::Ready => NodeState::Ready,
            State::Draining => NodeState::Draining,
            State::Leaving => NodeState::Leaving,
        },
        alive: status.alive,
        last_heard_ms: Some(status.last_heard_ms),
        view: status.view_number,
        incarnation: status.incarnation,
    }
}
