//! TCP flags: only SYN without ACK, RST and FIN opens a connection; what no TCP sends is dropped; whatever else comes is of
//! a connection, however odd.

use gateway_common::flow::FlowPhase;
use gateway_common::verdict::Reason;

use super::super::build::{ACK, FIN, RST, SYN};
use super::super::world::{Situation, Version};
use super::{Case, FRESH_PORT, Written, entry, flow_of, from_client, tcp};

const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

pub fn cases(version: Version) -> Vec<Case> {
    let second = Situation::Second.port();
    let mine = Situation::Mine.port();
    let mut cases = Vec::new();
    let impossible = [
        ("none", 0),
        ("SYN and RST", SYN | RST),
        ("SYN and FIN", SYN | FIN),
        ("SYN, FIN and ACK", SYN | FIN | ACK),
        ("SYN, ACK and URG", SYN | ACK | URG),
        ("RST and FIN", RST | FIN | ACK),
        ("RST and URG", RST | URG),
        ("all", 0xff),
        ("URG, PSH and FIN", URG | PSH | FIN),
        ("FIN alone", FIN),
        ("URG alone", URG),
        ("PSH alone", PSH),
        ("ECE and CWR alone", ECE | CWR),
    ];
    for (name, flags) in impossible {
        let packet = tcp(version, FRESH_PORT, second, flags);
        let name = format!("flags: {name} are no TCP's");
        let case = Case::dropped(version, &name, from_client(&packet), Reason::BadFlags);
        cases.push(case.knowing(flow_of(&packet), entry(3, FlowPhase::OPEN), 0));
    }
    let odd = [
        ("SYN and ACK", SYN | ACK),
        ("RST alone", RST),
        ("RST and ACK", RST | ACK),
        ("FIN, ACK and URG", FIN | ACK | URG),
        ("ACK, URG, ECE and CWR", ACK | URG | ECE | CWR),
    ];
    for (name, flags) in odd {
        let packet = tcp(version, FRESH_PORT, mine, flags);
        let name = format!("flags: {name} open nothing");
        cases.push(Case::steered(version, &name, &packet, 2, Reason::ToPreviousOwner));
        let packet = tcp(version, FRESH_PORT, second, flags);
        let key = flow_of(&packet);
        let phase = match flags {
            flags if flags & RST != 0 => FlowPhase::RESET,
            flags if flags & FIN != 0 => FlowPhase::FINISHED,
            _ => FlowPhase::OPEN,
        };
        let mut case = Case::steered(
            version,
            &format!("{name}, and follow the flow table"),
            &packet,
            3,
            Reason::ToFlowOwner,
        );
        case = case.knowing(key, entry(3, FlowPhase::OPEN), 0);
        if phase != FlowPhase::OPEN {
            case = case.keeps(key, entry(3, phase), Written::Now);
        }
        cases.push(case);
    }
    for (name, flags) in [("ECE and CWR", ECE | CWR), ("PSH", PSH), ("URG", URG)] {
        let packet = tcp(version, FRESH_PORT, second, SYN | flags);
        let name = format!("flags: SYN with {name} opens");
        cases.push(Case::steered(version, &name, &packet, 2, Reason::ToOwner).opens(&packet, 2));
    }
    cases
}
