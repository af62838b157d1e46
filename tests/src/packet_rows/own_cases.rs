//! Our own packet cases as files for `cargo xtask packets`: those that need no state beside the world's listeners.
//!
//! A case begins with empty tables, a run of rows with what the rows before left there. So cases that leave nothing
//! come first, and of those that leave something no two leave it under the same key.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_common::headers::PROTOCOL_TCP;
use gateway_common::maglev::Slot;
use gateway_common::node::{EncapsulationCode, NodeId, Settings};
use gateway_common::protection::Protection;
use gateway_common::verdict::{Fate, Reason};
use gateway_common::vip::{Address, SteeringCode, VipFlags, VipKey};

use super::rows::{FRAME_BYTES_MIN, XdpAction};
use crate::packets::cases::{self, After, Before, Case, ErrorsLeft, Interface};
use crate::packets::world::{
    self, ANY_PORT_LISTENER, CONNECTED_PORT, COOKIE_MARK, COOKIE_PORT, ENDED_PORT, HEARTBEAT_PORT, QUIC_PORT,
    SITUATIONS, Situation, Version, node_mac,
};

/// The three ways in which nodes send to each other, by their names in a configuration.
pub const ENCAPSULATIONS: [(&str, EncapsulationCode); 3] = [
    ("gue", EncapsulationCode::GUE),
    ("ipip", EncapsulationCode::IPIP),
    ("l2", EncapsulationCode::L2),
];

/// The rows of that encapsulation's cases.
pub fn rows(encapsulation: EncapsulationCode) -> String {
    let settings = Settings {
        encapsulation,
        ..world::settings()
    };
    let untold_ports = untold_ports();
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| is_stateless(case, &settings) && can_be_told(case, &untold_ports))
        .collect();
    let (leaving_nothing, leaving): (Vec<_>, Vec<_>) = cases
        .iter()
        .partition(|case| keys(&case.expected.after).is_empty());
    let mut left = HashSet::new();
    let leaving = leaving.into_iter().filter(|case| {
        let keys = keys(&case.expected.after);
        let is_new = keys.iter().all(|key| !left.contains(key));
        left.extend(keys.into_iter().filter(|_| is_new));
        is_new
    });
    leaving_nothing.into_iter().chain(leaving).map(row).collect()
}

fn row(case: &Case) -> String {
    let action = match case.expected.fate {
        Fate::Drop => XdpAction::Drop,
        Fate::Pass => XdpAction::Pass,
        // Rows know one interface.
        Fate::Transmit | Fate::Redirect => XdpAction::Tx,
    };
    let [frame, expected] = [&case.frame, &case.expected.bytes].map(|bytes| STANDARD.encode(bytes));
    format!("{}\t{action}\t{frame}\t{expected}\n", case.name)
}

/// Whether nothing is there before, and no socket but the world's listeners has to do with it.
fn is_stateless(case: &Case, settings: &Settings) -> bool {
    let Before {
        settings: before,
        interface,
        table_of_all,
        lease_age_ns,
        heard,
        flows,
        udp_flows,
        fragments,
        errors_left,
        protection,
        bounds,
        denied,
        allowed,
        spent,
    } = &case.before;
    let is_default = before.as_ref() == Some(settings)
        && *interface == Interface::Cluster
        && *table_of_all == Before::default().table_of_all
        && lease_age_ns.is_none()
        && heard.is_empty()
        && *errors_left == ErrorsLeft::Some;
    let is_free = *protection == Protection::default()
        && bounds.is_empty()
        && denied.is_empty()
        && allowed.is_empty()
        && spent.is_none();
    let remembers = !flows.is_empty() || !udp_flows.is_empty() || !fragments.is_empty();
    let has_socket = [CONNECTED_PORT, COOKIE_PORT, ENDED_PORT]
        .iter()
        .any(|port| holds(&case.frame, &port.to_be_bytes()));
    let is_runnable = case.frame.len() >= FRAME_BYTES_MIN && case.expected.bytes.len() >= FRAME_BYTES_MIN;
    is_default && is_free && !remembers && !has_socket && !holds(&case.frame, &COOKIE_MARK) && is_runnable
}

/// Ports of situations that no configuration tells: that slots take turns, that a stranger owns them, or that another
/// interface leads to their owner.
fn untold_ports() -> Vec<u16> {
    let untold = SITUATIONS.iter().filter(|situation| told(**situation).is_none());
    untold
        .flat_map(|situation| [situation.port(), situation.port() + 100])
        .collect()
}

/// Whether a configuration can tell the world that the case is about: of the table of all members it says only weights.
fn can_be_told(case: &Case, untold_ports: &[u16]) -> bool {
    let asks_all = matches!(
        case.expected.reason,
        Reason::UnknownVipInside | Reason::ToNodeThatKnows
    );
    !asks_all
        && untold_ports
            .iter()
            .all(|port| !holds(&case.frame, &port.to_be_bytes()))
}

fn holds(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}

/// Under what a case leaves something in the tables.
fn keys(after: &After) -> Vec<String> {
    let flows = after.flows.iter().chain(&after.udp_flows);
    let fragments = after.fragments.iter().map(|(key, ..)| format!("{key:?}"));
    flows
        .map(|kept| format!("{:?}", kept.key))
        .chain(fragments)
        .collect()
}

/// The slot of a situation, if all are alike and name members only, which the one interface leads to that rows know.
fn told(situation: Situation) -> Option<Slot> {
    if situation == Situation::Elsewhere {
        return None;
    }
    let slots = situation.slots();
    let first = slots.first().copied()?;
    let is_member = |id: NodeId| id.is_nobody() || world::nodes().iter().any(|(member, _)| *member == id);
    let alike = slots.iter().all(|slot| *slot == first);
    (alike && is_member(first.owner())).then_some(first)
}

/// The world as a configuration.
pub fn config(encapsulation: &str) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _is_written = write_config(&mut text, encapsulation).is_ok();
    text
}

fn write_config(text: &mut String, encapsulation: &str) -> std::fmt::Result {
    let [first, second] = world::settings().hash_key;
    writeln!(text, "encapsulation = \"{encapsulation}\"")?;
    writeln!(text, "hash_key = \"{first:016x}{second:016x}\"")?;
    writeln!(text, "heartbeat_port = {HEARTBEAT_PORT}")?;
    for (id, node) in world::nodes() {
        let header = if id == world::ME { "[node]" } else { "[[nodes]]" };
        writeln!(text, "\n{header}\nname = \"{}\"\nid = {}", name(id), id.0)?;
        for (key, address) in [("address", node.address), ("address_v6", node.address_v6)] {
            if !address.is_unset() {
                writeln!(text, "{key} = \"{}\"", IpAddr::from(address))?;
            }
        }
        if node.mac == [0; 3] && node.mac_v6 == [0; 3] {
            writeln!(text, "mac = \"unresolved\"")?;
        } else {
            let mac = node_mac(id.0).map(|byte| format!("{byte:02x}")).join(":");
            writeln!(text, "mac = \"{mac}\"")?;
        }
        for (key, mtu) in [("mtu", node.mtu), ("mtu_v6", node.mtu_v6)] {
            if mtu != 0 {
                writeln!(text, "{key} = {mtu}")?;
            }
        }
        writeln!(text, "cookie = \"{:016x}\"", node.cookie)?;
    }
    let mut vips: Vec<_> = (world::vips().into_iter())
        .filter(|(key, _)| key.protocol != 0)
        .collect();
    let of_address = |address: Address| {
        let vips = world::vips();
        vips.iter()
            .find(|(key, _)| *key == VipKey::of_address(address))
            .map(|(_, vip)| vip.table)
    };
    // What has no ports goes by the table of its address's first VIP.
    vips.sort_by_key(|(key, vip)| of_address(key.address) != Some(vip.table));
    for (key, vip) in vips {
        let situation = SITUATIONS.iter().find(|situation| situation.table() == vip.table);
        let Some(slot) = situation.and_then(|situation| told(*situation)) else {
            continue;
        };
        let (address, port) = (IpAddr::from(key.address), u16::from_be(key.port));
        let is_tcp = key.protocol == u16::from(PROTOCOL_TCP);
        writeln!(text, "\n[[vip]]\naddress = \"{address}\"")?;
        if port != 0 {
            writeln!(text, "port = {port}")?;
        }
        writeln!(text, "protocol = \"{}\"", if is_tcp { "tcp" } else { "udp" })?;
        let is_by_ip = vip.steering == SteeringCode::IP_HASH;
        writeln!(
            text,
            "steering = \"{}\"",
            if is_by_ip { "ip-hash" } else { "flow-hash" }
        )?;
        writeln!(text, "quic = {}", vip.flags.has(VipFlags::QUIC))?;
        writeln!(text, "nodes = [{}]", names(&[slot.owner()]))?;
        writeln!(
            text,
            "previous = [{}]",
            names(&[slot.previous(), slot.second_previous()])
        )?;
        if !slot.successor().is_nobody() {
            writeln!(text, "successor = \"{}\"", name(slot.successor()))?;
        }
        writeln!(text, "listeners = {}", listeners(address, port, key.protocol))?;
    }
    Ok(())
}

/// Where the world has sockets.
fn listeners(address: IpAddr, port: u16, protocol: u16) -> String {
    let is_of = |vip: fn(Version) -> IpAddr| Version::BOTH.iter().any(|version| vip(*version) == address);
    if is_of(Version::vip_of_all_ports) && port == 0 && protocol == u16::from(PROTOCOL_TCP) {
        return format!("[{ANY_PORT_LISTENER}]");
    }
    let has_socket = SITUATIONS.iter().any(|situation| situation.port() == port) || port == QUIC_PORT;
    (is_of(Version::vip) && has_socket).to_string()
}

fn name(id: NodeId) -> String {
    format!("gw-{}", id.0)
}

fn names(ids: &[NodeId]) -> String {
    let names = ids.iter().filter(|id| !id.is_nobody());
    let quoted: Vec<String> = names.map(|id| format!("\"{}\"", name(*id))).collect();
    quoted.join(", ")
}
