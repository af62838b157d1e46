//! A former member: what its kernel program still sends is believed, and nothing is remembered to be its.

use gateway_common::flow::FlowPhase;
use gateway_common::quic;
use gateway_common::verdict::Reason;

use super::super::build::{ACK, SYN};
use super::super::world::{CONNECTED_PORT, FORMER, QUIC_PORT, Situation, Version};
use super::{Case, FRESH_PORT, entry, flow_of, sent, tcp, udp};

pub fn cases(version: Version) -> Vec<Case> {
    let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let known = tcp(version, CONNECTED_PORT, Situation::Second.port(), ACK);
    let unknown = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let datagram = udp(version, FRESH_PORT, Situation::Second.port());
    let mut named = udp(version, FRESH_PORT, QUIC_PORT);
    let id = quic::connection_id(FORMER, [7; quic::ID_BYTES]);
    // Behind the ports: the short header, and the id in the place of the data.
    named.payload.splice(8.., [0x40].into_iter().chain(id).take(8));
    let [tcp_key, udp_key] = [flow_of(&unknown), flow_of(&datagram)];
    let believed = |name: &str, packet, reason| {
        let outer = sent(version, FORMER.0, packet, 1);
        Case::taken(version, name, &outer, FORMER.0, packet, reason)
    };
    vec![
        believed("SYN that a former member sent", &syn, Reason::ListenerFromNode),
        believed(
            "packet of a connection here that a former member sent",
            &known,
            Reason::SocketFromNode,
        ),
        Case::steered(
            version,
            "SYN to a former member that a slot still names leaves no entry",
            &tcp(version, FRESH_PORT, Situation::Former.port(), SYN),
            FORMER.0,
            Reason::ToOwner,
        ),
        Case::steered(
            version,
            "datagram to a former member that a slot still names leaves no entry",
            &udp(version, FRESH_PORT, Situation::Former.port()),
            FORMER.0,
            Reason::ToOwner,
        ),
        Case::steered(
            version,
            "connection of a former member's life goes by its slot",
            &unknown,
            2,
            Reason::ToOwner,
        )
        .knowing(tcp_key, entry(FORMER.0, FlowPhase::OPEN), 0),
        Case::steered(
            version,
            "UDP flow of a former member's life goes by its slot, and is remembered anew",
            &datagram,
            2,
            Reason::ToOwner,
        )
        .knowing(udp_key, entry(FORMER.0, FlowPhase::OPEN), 0)
        .notes(&datagram, 2),
        Case::steered(
            version,
            "QUIC: a former member is passed over for the flow table",
            &named,
            3,
            Reason::ToFlowOwner,
        )
        .knowing(flow_of(&named), entry(3, FlowPhase::OPEN), 0),
    ]
}
