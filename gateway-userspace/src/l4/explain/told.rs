//! A decision in words: which VIP, what was remembered, the slot with its nodes, the socket, and what becomes of the packet.

use std::time::Duration;

use gateway_common::encap::Format;
use gateway_common::flow::FlowPhase;
use gateway_common::forward::TABLE_OF_ALL;
use gateway_common::node::NodeId;
use gateway_common::parse::Family;
use gateway_common::protection::{FOREVER_NS, Protection, Rate};
use gateway_common::tables::{Noted, Socket};
use gateway_common::vip::{SteeringCode, VipEntry, VipKey};

use super::{Decided, End, Look};
use crate::config::Places;
use crate::config::path::KeyPath;
use crate::config::snapshot::{Snapshot, Vip};
use crate::explain::Trail;
use crate::explain::packet::{Explained, Question, Verdict};
use crate::view::{View, keys};

/// What names and lines are taken from.
#[derive(Clone, Copy, Debug)]
pub struct Around<'s> {
    /// The configuration in force.
    pub snapshot: &'s Snapshot,
    /// The view in force.
    pub view: &'s View,
    /// Where the configuration stands in its file.
    pub places: &'s Places,
}

/// Says what was decided, and what it was asked for.
pub fn tell(question: &Question, decided: &Decided, around: Around<'_>) -> Explained {
    let mut told = Trail::new(around.places);
    let mut vip = None;
    for look in &decided.looks {
        match look {
            Look::Vip(key, entry) => vip = around.vip(&mut told, key, entry.as_ref()).or(vip),
            Look::Denied(None) => told.note("filter", "no denied prefix is around its sender"),
            Look::Denied(Some(until_ns)) => told.note("filter", denied_says(*until_ns, decided.now_ns)),
            Look::Bounds(bounds) => told.note("filter", bounds_say(*bounds)),
            Look::Allowed(true) => told.note("filter", "but protection.allow has its sender"),
            Look::Allowed(false) => {}
            Look::Noted(noted) => told.note("filter", noted_says(*noted)),
            Look::Slot { table, index, slot } => {
                let table = match *table {
                    TABLE_OF_ALL => "of all members".to_owned(),
                    other => other.0.to_string(),
                };
                let mut says = format!("{index} of table {table}: owner {}", around.node(slot.owner()));
                for (what, node) in [
                    ("previous owner", slot.previous()),
                    ("before that", slot.second_previous()),
                    ("successor", slot.successor()),
                ] {
                    if !node.is_nobody() {
                        says.push_str(&format!(", {what} {}", around.node(node)));
                    }
                }
                told.note("slot", says);
            }
            Look::Flow(None) => told.note("flow table", "the flow is not remembered"),
            Look::Flow(Some(entry)) => {
                let member = around.view.members.iter().find(|member| member.id == entry.node);
                let counts = member.is_some_and(|member| member.incarnation == entry.incarnation);
                let mut says = format!("the flow is {}'s", around.node(entry.node));
                match entry.phase {
                    FlowPhase::FINISHED => says.push_str(", and one side has finished"),
                    FlowPhase::RESET => says.push_str(", and was reset"),
                    _ => {}
                }
                if !counts {
                    says.push_str("; but in an earlier life of that node, which does not count");
                }
                told.note("flow table", says);
            }
            Look::Socket(socket) => told.note("socket", socket_says(*socket)),
            Look::Remembers(node) => {
                let says = format!("the flow would be remembered as {}'s", around.node(*node));
                told.note("flow table", says);
            }
        }
    }
    if let Some(why) = &decided.socket_unknown {
        let says = format!("the kernel does not say ({why}): supposed by the configuration's listeners");
        told.note("socket", says);
    }
    if let Some(age) = decided.lease_age_ns {
        let says = format!(
            "nobody has renewed the lease for {:.1} s: only nodes that were heard lately count",
            age as f64 / 1e9
        );
        told.note("lease", says);
    }
    Explained {
        node: around.snapshot.node.name.clone(),
        view: around.view.number,
        snapshot: around.snapshot.number,
        verdict: around.verdict(question, decided, vip),
        steps: told.into_steps(),
    }
}

impl Around<'_> {
    /// What a VIP was found by; its name, if it is one of a port.
    fn vip(&self, told: &mut Trail<'_>, key: &VipKey, entry: Option<&VipEntry>) -> Option<String> {
        let address = std::net::IpAddr::from(key.address);
        let place = match (u16::from_be(key.port), key.protocol) {
            (0, 0) => format!("{address} itself"),
            (0, _) => format!("every port of {address}"),
            (port, _) => std::net::SocketAddr::new(address, port).to_string(),
        };
        let Some(entry) = entry else {
            told.note("vip", format!("{place} is none"));
            return None;
        };
        let is_it = |vip: &&Vip| keys(vip).any(|known| known == *key);
        let vip = self.snapshot.vips.iter().find(is_it);
        let steering = match entry.steering {
            SteeringCode::IP_HASH => "ip-hash",
            _ => "flow-hash",
        };
        let name = vip.map(|vip| format!("\"{}\"", vip.name)).unwrap_or_default();
        let at = vip.map_or_else(|| KeyPath::top("vip"), |vip| self.places.named("vip", &vip.name));
        told.step("vip", format!("{name} by {place}, steered by {steering}"), &at);
        vip.filter(|_| key.protocol != 0).map(|vip| vip.name.clone())
    }

    fn node(&self, id: NodeId) -> String {
        if id.is_nobody() {
            return "nobody".to_owned();
        }
        let member = self.view.members.iter().find(|member| member.id == id);
        match member {
            Some(member) if member.name == self.snapshot.node.name => format!("{} (this node)", member.name),
            Some(member) => member.name.clone(),
            None => format!("node {}, which is no member any more", id.0),
        }
    }

    fn verdict(&self, question: &Question, decided: &Decided, vip: Option<String>) -> Verdict {
        let (action, says) = match decided.end {
            End::Pass => ("pass", "the stack of this node gets it".to_owned()),
            End::Drop => ("drop", "nobody gets it".to_owned()),
            End::Else => ("answer", "this node answers".to_owned()),
            End::TooBig(bytes) => (
                "answer",
                format!(
                    "{} is told that {bytes} bytes would have fitted",
                    question.from.ip()
                ),
            ),
            End::Send {
                to, format, outer, ..
            } => {
                let outer = match outer {
                    Family::V4 => "IPv4",
                    Family::V6 => "IPv6",
                };
                let around = match format {
                    Format::Gue => format!("in GUE over {outer}"),
                    Format::Ipip => format!("in {outer}"),
                    Format::L2 => "by its hardware address".to_owned(),
                };
                let by = decided.exit.as_ref().map(|name| format!(", by {name}"));
                let by = by.unwrap_or_default();
                ("send", format!("{} gets it, {around}{by}", self.node(to)))
            }
        };
        let to = match decided.end {
            End::Send { to, .. } => self.view.members.iter().find(|member| member.id == to),
            _ => None,
        };
        Verdict {
            action: action.to_owned(),
            reason: decided.reason.name().to_owned(),
            says,
            node: to.map(|member| member.name.clone()),
            vip,
        }
    }
}

/// Until when a sender is denied.
fn denied_says(until_ns: u64, now_ns: u64) -> String {
    if until_ns == FOREVER_NS {
        return "its sender is denied".to_owned();
    }
    let left = Duration::from_nanos(until_ns.saturating_sub(now_ns)).as_secs();
    match left {
        0 if until_ns <= now_ns => "its sender was denied until a moment ago".to_owned(),
        left => format!(
            "its sender is denied for {} more",
            humantime::format_duration(Duration::from_secs(left.max(1)))
        ),
    }
}

/// How many connections may begin, as the kernel has it.
fn bounds_say(bounds: Option<Protection>) -> String {
    let bounds = bounds.unwrap_or_default();
    let rate = |rate: Rate| match (rate.token_ns, rate.burst_ns) {
        (0, _) => "no limit".to_owned(),
        (token_ns, burst_ns) => {
            format!(
                "{} new connections a second, {} at once",
                1_000_000_000 / token_ns,
                burst_ns / token_ns
            )
        }
    };
    let whose = match bounds.own_sources {
        0 => "at all VIPs without bounds of their own",
        _ => "at this VIP",
    };
    format!(
        "its source, {whose}: {}; the VIP: {}",
        rate(bounds.source_connections),
        rate(bounds.vip_connections)
    )
}

fn noted_says(noted: Noted) -> &'static str {
    match noted {
        Noted::FlowSpared => "its source or VIP has used up what it may have remembered",
        Noted::SourceSpread => "its source has more than its share of the VIP: spread by 5-tuple",
    }
}

fn socket_says(socket: Socket) -> &'static str {
    match socket {
        Socket::None => "nothing listens here",
        Socket::Listener => "somebody listens here, and has no such connection",
        Socket::Handshake => "somebody listens here, and it completes a handshake",
        Socket::Connection => "there is such a connection here",
        Socket::TimeWait => "such a connection has ended here a moment ago",
    }
}
