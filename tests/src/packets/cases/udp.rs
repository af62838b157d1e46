//! Datagrams: their own flow table, their sockets.

use gateway_common::flow::{FlowEntry, FlowPhase, UDP_IDLE_NS, UDP_REFRESH_NS};
use gateway_common::verdict::Reason;

use super::super::world::{CONNECTED_PORT, ME, Situation, Version};
use super::{Case, FRESH_PORT, SECOND_NS, entry, flow_of, from_client, udp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = table(version);
    cases.extend(sockets(version));
    cases
}

fn table(version: Version) -> Vec<Case> {
    let packet = udp(version, FRESH_PORT, Situation::Second.port());
    let key = flow_of(&packet);
    let to = |name: &str, node, reason| Case::steered(version, name, &packet, node, reason);
    let known = |node| entry(node, FlowPhase::OPEN);
    let flow_owner = |name: &str, age_ns| to(name, 3, Reason::ToFlowOwner).knowing(key, known(3), age_ns);
    let owner = |name: &str, entry: FlowEntry, age_ns| {
        to(name, 2, Reason::ToOwner)
            .knowing(key, entry, age_ns)
            .notes(&packet, 2)
    };
    let earlier = FlowEntry {
        incarnation: 102,
        ..known(3)
    };
    let half = UDP_REFRESH_NS / 2;
    let unresolved = udp(version, FRESH_PORT, Situation::Unresolved.port());
    vec![
        to("first datagram of a flow is remembered", 2, Reason::ToOwner).notes(&packet, 2),
        flow_owner("remembered flow of datagrams goes to its node", 0),
        flow_owner("entry of datagrams is not written again within a second", half),
        flow_owner(
            "entry of datagrams is written again after a second",
            UDP_REFRESH_NS,
        )
        .notes(&packet, 3),
        flow_owner("entry of datagrams holds 29 s", UDP_IDLE_NS - SECOND_NS).notes(&packet, 3),
        owner("entry of datagrams ends after 30 s", known(3), UDP_IDLE_NS),
        owner("datagrams of an earlier life go to the owner", earlier, 0),
        owner("datagrams of a node that left go to the owner", known(9), 0),
        owner(
            "entry of datagrams ends after 5 s, where the setting says so",
            known(3),
            5 * SECOND_NS,
        )
        .set(|settings| settings.udp_idle_ns = 5 * SECOND_NS),
        flow_owner(
            "entry of datagrams holds 4 s, where the setting says 5",
            4 * SECOND_NS,
        )
        .notes(&packet, 3)
        .set(|settings| settings.udp_idle_ns = 5 * SECOND_NS),
        to(
            "no datagram is remembered where the setting says so",
            2,
            Reason::ToOwner,
        )
        .set(|settings| settings.udp_idle_ns = 0),
        to("nor is one looked up", 2, Reason::ToOwner)
            .knowing(key, known(3), 0)
            .set(|settings| settings.udp_idle_ns = 0),
        Case::dropped(
            version,
            "datagram of a node without a known hardware address",
            from_client(&unresolved),
            Reason::UnresolvedNextHop,
        )
        .notes(&unresolved, 4),
    ]
}

fn sockets(version: Version) -> Vec<Case> {
    let known = |node| entry(node, FlowPhase::OPEN);
    let mine = udp(version, FRESH_PORT, Situation::Mine.port());
    let connected = udp(version, CONNECTED_PORT, Situation::Second.port());
    let connected_mine = udp(version, CONNECTED_PORT, Situation::Mine.port());
    let unconnected = udp(version, FRESH_PORT, Situation::Second.port());
    let nobody = udp(version, FRESH_PORT, Situation::MineThird.port() + 100);
    let nobody_at_all = udp(version, FRESH_PORT, Situation::MineAlways.port() + 100);
    let pass = |name: &str, packet, reason| Case::passed(version, name, from_client(packet), reason);
    vec![
        pass("datagram of this node", &mine, Reason::DatagramHere).notes(&mine, ME.0),
        pass("datagram of this node, remembered", &mine, Reason::DatagramHere).knowing(
            flow_of(&mine),
            known(ME.0),
            0,
        ),
        pass(
            "datagram of this node, remembered a while ago",
            &mine,
            Reason::DatagramHere,
        )
        .knowing(flow_of(&mine), known(ME.0), 2 * SECOND_NS)
        .notes(&mine, ME.0),
        pass(
            "datagram of a connected socket here is not remembered",
            &connected_mine,
            Reason::DatagramHere,
        ),
        pass(
            "datagram of a connected socket here whose slot moved away",
            &connected,
            Reason::DatagramHere,
        ),
        Case::steered(
            version,
            "socket that takes everybody's datagrams does not keep another node's",
            &unconnected,
            2,
            Reason::ToOwner,
        )
        .notes(&unconnected, 2),
        Case::steered(
            version,
            "datagram that the table gives to another node is not looked for here",
            &connected,
            3,
            Reason::ToFlowOwner,
        )
        .knowing(flow_of(&connected), known(3), 0),
        Case::steered(
            version,
            "datagram without a socket here goes to the successor",
            &nobody,
            3,
            Reason::ToSuccessor,
        )
        .notes(&nobody, ME.0),
        pass(
            "datagram without socket or successor is answered by the stack",
            &nobody_at_all,
            Reason::NoCandidate,
        )
        .notes(&nobody_at_all, ME.0),
    ]
}
