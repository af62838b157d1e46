//! The flow table of TCP.

use gateway_common::flow::{FINISHED_NS, FlowEntry, FlowPhase, RESET_NS};
use gateway_common::verdict::Reason;

use super::super::build::{ACK, FIN, RST, SYN};
use super::super::world::{CONNECTED_PORT, ME, Situation, Version};
use super::{Case, FRESH_PORT, SECOND_NS, Written, entry, flow_of, from_client, tcp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = phases(version);
    cases.extend(lives(version));
    cases
}

fn phases(version: Version) -> Vec<Case> {
    let second = Situation::Second.port();
    let key = flow_of(&tcp(version, FRESH_PORT, second, ACK));
    let (open, finished, reset) = (FlowPhase::OPEN, FlowPhase::FINISHED, FlowPhase::RESET);
    let rows = [
        ("remembered flow goes to its node", ACK, open, 0, 3, open),
        ("FIN begins the end of an entry", FIN | ACK, open, 0, 3, finished),
        ("RST begins a nearer end", RST, open, 0, 3, reset),
        ("RST after a FIN begins a nearer end", RST, finished, 0, 3, reset),
        (
            "second FIN does not begin the end anew",
            FIN | ACK,
            finished,
            0,
            3,
            finished,
        ),
        (
            "FIN after a RST does not put the end off",
            FIN | ACK,
            reset,
            0,
            3,
            reset,
        ),
        (
            "entry holds 59 s after a FIN",
            ACK,
            finished,
            FINISHED_NS - SECOND_NS,
            3,
            finished,
        ),
        (
            "entry ends 60 s after a FIN",
            ACK,
            finished,
            FINISHED_NS,
            2,
            finished,
        ),
        (
            "entry holds 4 s after a RST",
            ACK,
            reset,
            RESET_NS - SECOND_NS,
            3,
            reset,
        ),
        ("entry ends 5 s after a RST", ACK, reset, RESET_NS, 2, reset),
        ("open entry holds 10 minutes", ACK, open, 600 * SECOND_NS, 3, open),
    ];
    let mut cases = Vec::new();
    for (name, flags, before, age_ns, node, after) in rows {
        let packet = tcp(version, FRESH_PORT, second, flags);
        let reason = if node == 3 {
            Reason::ToFlowOwner
        } else {
            Reason::ToOwner
        };
        let mut case = Case::steered(version, name, &packet, node, reason);
        case = case.knowing(key, entry(3, before), age_ns);
        if before != after {
            case = case.keeps(key, entry(3, after), Written::Now);
        }
        cases.push(case);
    }
    cases
}

fn lives(version: Version) -> Vec<Case> {
    let second = Situation::Second.port();
    let to = |name: &str, flags, node, reason| {
        Case::steered(
            version,
            name,
            &tcp(version, FRESH_PORT, second, flags),
            node,
            reason,
        )
    };
    let ack = tcp(version, FRESH_PORT, second, ACK);
    let key = flow_of(&ack);
    let connected = tcp(version, CONNECTED_PORT, second, ACK);
    let open = |node| entry(node, FlowPhase::OPEN);
    let earlier = FlowEntry {
        incarnation: 102,
        ..open(3)
    };
    let here_earlier = FlowEntry {
        incarnation: 100,
        ..open(ME.0)
    };
    let syn = tcp(version, FRESH_PORT, second, SYN);
    vec![
        to("SYN passes the flow table over", SYN, 2, Reason::ToOwner)
            .knowing(key, open(3), 0)
            .opens(&syn, 2),
        to("SYN begins a finished entry anew", SYN, 2, Reason::ToOwner)
            .knowing(key, entry(3, FlowPhase::FINISHED), SECOND_NS)
            .opens(&syn, 2),
        to("entry of an earlier life is passed over", ACK, 2, Reason::ToOwner).knowing(key, earlier, 0),
        to(
            "entry of a node that left is passed over",
            ACK,
            2,
            Reason::ToOwner,
        )
        .knowing(key, open(9), 0),
        Case::dropped(
            version,
            "remembered flow of a node without a known hardware address",
            from_client(&ack),
            Reason::UnresolvedNextHop,
        )
        .knowing(key, open(4), 0),
        Case::passed(
            version,
            "remembered flow of this node whose slot moved away",
            from_client(&connected),
            Reason::SocketHere,
        )
        .knowing(flow_of(&connected), open(ME.0), 0),
        to(
            "remembered flow of this node that no socket knows goes to the owner",
            ACK,
            2,
            Reason::ToOtherOwner,
        )
        .knowing(key, open(ME.0), 0),
        to(
            "flow of an earlier life of this node goes to the owner",
            ACK,
            2,
            Reason::ToOwner,
        )
        .knowing(key, here_earlier, 0),
        Case::steered(
            version,
            "flow that the table gives to another node is not looked for here",
            &connected,
            3,
            Reason::ToFlowOwner,
        )
        .knowing(flow_of(&connected), open(3), 0),
    ]
}
