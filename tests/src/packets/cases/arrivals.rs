//! What another node sent and this one keeps.

use gateway_common::verdict::Reason;

use super::super::build::{ACK, FIN, Packet, RST, SYN};
use super::super::world::{ANY_PORT_LISTENER, CONNECTED_PORT, COOKIE_MARK, COOKIE_PORT, Situation, Version};
use super::{Case, FRESH_PORT, entry, flow_of, sent, tcp, udp};

pub fn cases(version: Version) -> Vec<Case> {
    let accept = |name: &str, packet: &Packet, hops, reason| {
        Case::taken(version, name, &sent(version, 2, packet, hops), 2, packet, reason)
    };
    let mine = Situation::Mine.port();
    let second = Situation::Second.port();
    let syn = tcp(version, FRESH_PORT, mine, SYN);
    let known = |flags| tcp(version, CONNECTED_PORT, second, flags);
    let unknown = tcp(version, FRESH_PORT, Situation::MineAlways.port(), ACK);
    let cookie = {
        let mut packet = tcp(version, COOKIE_PORT, mine, ACK);
        packet.payload.splice(4..12, COOKIE_MARK);
        packet
    };
    let any = Packet::tcp(
        (version.client(), FRESH_PORT),
        (version.vip_of_all_ports(), ANY_PORT_LISTENER),
        SYN,
    );
    let nobody = udp(version, FRESH_PORT, Situation::MineAlways.port() + 100);
    let ack = tcp(version, FRESH_PORT, second, ACK);
    let mut cases = vec![
        accept(
            "node sent an ACK that completes a SYN-cookie handshake",
            &cookie,
            1,
            Reason::HandshakeFromNode,
        ),
        accept(
            "node sent an ACK that completes a SYN-cookie handshake, at the last hop",
            &cookie,
            3,
            Reason::HandshakeFromNode,
        ),
        accept(
            "node sent a FIN of a connection here",
            &known(FIN | ACK),
            1,
            Reason::SocketFromNode,
        ),
        accept(
            "node sent a RST of a connection here",
            &known(RST),
            1,
            Reason::SocketFromNode,
        ),
        accept(
            "node sent a SYN of a connection here",
            &known(SYN),
            1,
            Reason::SocketFromNode,
        ),
        accept(
            "node sent a SYN for a listener, whoever owns the slot",
            &tcp(version, FRESH_PORT, second, SYN),
            1,
            Reason::ListenerFromNode,
        ),
        accept(
            "node sent a SYN for the VIP of all ports",
            &any,
            1,
            Reason::ListenerFromNode,
        ),
        accept(
            "node sent a datagram, whoever owns the slot",
            &udp(version, FRESH_PORT, second),
            1,
            Reason::DatagramFromNode,
        ),
        accept(
            "node sent a datagram of a connected socket",
            &udp(version, CONNECTED_PORT, second),
            2,
            Reason::DatagramFromNode,
        ),
        accept(
            "node sent a datagram that no socket takes and nobody else may know",
            &nobody,
            1,
            Reason::NoCandidateFromNode,
        ),
        accept(
            "unknown packet of a node without previous owner is reset by the stack",
            &unknown,
            1,
            Reason::NoCandidateFromNode,
        ),
    ];
    for hops in 1..=3 {
        cases.push(accept(
            &format!("SYN for a listener is taken after {hops} hops"),
            &syn,
            hops,
            Reason::ListenerFromNode,
        ));
        cases.push(accept(
            &format!("packet of a connection here is taken after {hops} hops"),
            &known(ACK),
            hops,
            Reason::SocketFromNode,
        ));
    }
    // The sender looked it up already.
    let open = |node| entry(node, gateway_common::flow::FlowPhase::OPEN);
    cases.push(
        accept(
            "flow table is not asked about what a node sent",
            &known(ACK),
            1,
            Reason::SocketFromNode,
        )
        .knowing(flow_of(&ack), open(3), 0),
    );
    cases.push(
        accept(
            "flow table is not told about what a node sent",
            &known(FIN | ACK),
            1,
            Reason::SocketFromNode,
        )
        .knowing(flow_of(&known(ACK)), open(3), 0),
    );
    let datagram = udp(version, FRESH_PORT, mine);
    cases.push(
        accept(
            "table of datagrams is not asked about what a node sent",
            &datagram,
            1,
            Reason::DatagramFromNode,
        )
        .knowing(flow_of(&datagram), open(3), 20 * super::SECOND_NS),
    );
    cases
}
