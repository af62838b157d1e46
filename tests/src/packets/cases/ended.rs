//! A port of a client whose connection here has ended: what this side keeps of it in TIME_WAIT must not hold up a newer
//! connection of the same port, which another node has.

use gateway_common::flow::FlowPhase;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, FIN, RST, SYN};
use super::super::world::{ENDED_PORT, ME, Situation, Version};
use super::{Case, entry, flow_of, from_client, from_node, relayed, sent, tcp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = from_clients(version);
    cases.extend(from_nodes(version));
    cases
}

fn from_clients(version: Version) -> Vec<Case> {
    let segment = |situation: Situation, flags| tcp(version, ENDED_PORT, situation.port(), flags);
    let mine = segment(Situation::Mine, ACK);
    let syn = segment(Situation::Mine, SYN);
    let always = segment(Situation::MineAlways, ACK);
    let pass = |name: &str, packet, reason| Case::passed(version, name, from_client(packet), reason);
    let previous = |name: &str, packet| Case::steered(version, name, packet, 2, Reason::ToPreviousOwner);
    vec![
        previous("ended connection: ACK goes to the previous owner", &mine),
        previous(
            "ended connection: RST goes to the previous owner",
            &segment(Situation::Mine, RST),
        ),
        previous("ended connection: ACK that the table says is this node's", &mine).knowing(
            flow_of(&mine),
            entry(ME.0, FlowPhase::OPEN),
            0,
        ),
        Case::steered(
            version,
            "ended connection: ACK goes to the owner from a node that is not",
            &segment(Situation::Second, ACK),
            2,
            Reason::ToOwner,
        ),
        pass(
            "ended connection: its FIN is answered here",
            &segment(Situation::Mine, FIN | ACK),
            Reason::SocketHere,
        ),
        pass(
            "ended connection: its FIN is answered here, though the slot moved away",
            &segment(Situation::Second, FIN | ACK),
            Reason::SocketHere,
        ),
        pass("ended connection: a SYN may follow it", &syn, Reason::SocketHere).opens(&syn, ME.0),
        pass(
            "ended connection: with nobody else to ask, the stack answers",
            &always,
            Reason::NoCandidate,
        ),
    ]
}

fn from_nodes(version: Version) -> Vec<Case> {
    let segment = |situation: Situation, flags| tcp(version, ENDED_PORT, situation.port(), flags);
    let on = |name: &str, packet: &_, (from, hops): (u16, u16), to, reason| {
        let frame = from_node(from, &sent(version, from, packet, hops));
        let bytes = relayed(version, to, packet, hops + 1);
        Case::new(version, name, frame, Fate::Transmit, reason, bytes).hears(from)
    };
    let take = |name: &str, packet: &_, hops, reason| {
        Case::taken(version, name, &sent(version, 3, packet, hops), 3, packet, reason)
    };
    let (mine, second) = (segment(Situation::Mine, ACK), segment(Situation::Second, ACK));
    let fin = segment(Situation::Mine, FIN | ACK);
    vec![
        on(
            "ended connection: a node's ACK goes to the previous owner",
            &mine,
            (3, 1),
            2,
            Reason::ToPreviousOwner,
        ),
        on(
            "ended connection: an ACK by a flow table that is out of date goes to the owner",
            &second,
            (3, 1),
            2,
            Reason::ToOtherOwner,
        ),
        take(
            "ended connection: a node's ACK at the last hop is the stack's",
            &mine,
            3,
            Reason::NoHopLeft,
        ),
        take(
            "ended connection: its FIN from a node is answered here",
            &fin,
            1,
            Reason::SocketFromNode,
        ),
    ]
}
