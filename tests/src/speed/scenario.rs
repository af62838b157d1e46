//! What is measured. Names are those of `bench xdp-lb` in the Linux selftests where it has the same, and ours else.

use gateway_common::abi;
use gateway_common::node::EncapsulationCode;
use gateway_common::parse::Family;
use gateway_common::verdict::{Fate, Reason};

use super::frames::{self, ACK, RST, SYN};
use super::world::{self, Port};

/// One kind of packet.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The frame; its client's address is changed where there is more than one flow.
    pub frame: Vec<u8>,
    /// Flows, each of which comes round by turns.
    pub flows: u32,
    /// Where the client's last four bytes stand.
    pub client_at: u32,
    /// What opens each flow before the clock runs.
    pub opened_by: Option<Vec<u8>>,
    /// Whether flows are remembered at all.
    pub flow_table: FlowTable,
    /// Why the program does what it does.
    pub reason: Reason,
    /// How packets get to other nodes.
    pub format: EncapsulationCode,
    /// Bytes that the floor puts before the packet, and takes away before.
    pub outer_bytes: [u32; 2],
    /// Of so many packets one is traced; `None`: nobody traces.
    pub traced_one_of: Option<u32>,
}

/// Whether flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// As many as by default.
    Default,
    /// None: each packet goes by its slot.
    None,
}

impl Scenario {
    /// The program that is timed: what leaves a frame as it is needs nobody who undoes it, so that there it is the one that
    /// is attached.
    pub fn program(&self) -> &'static str {
        let leaves_the_frame = self.flows == 1 && self.outer_bytes == [0, 0];
        if leaves_the_frame && self.reason.fate() != Fate::Transmit {
            abi::PROGRAM
        } else {
            abi::BENCH_PROGRAM
        }
    }
}

/// A flow, ten thousand, a million.
const ONE: u32 = 1;
const MANY: u32 = 10_000;
const MILLION: u32 = 1_000_000;

/// All, by the format of what nodes send each other.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for format in [EncapsulationCode::GUE, EncapsulationCode::IPIP] {
        all.extend(steered(format));
    }
    all.extend(elsewhere());
    all
}

/// The name of a format among subjects.
pub fn format_name(format: EncapsulationCode) -> &'static str {
    match format {
        EncapsulationCode::IPIP => "ipip",
        EncapsulationCode::L2 => "l2",
        _ => "gue",
    }
}

fn packet(family: Family, protocol: u8, payload: &[u8]) -> Vec<u8> {
    frames::ip(frames::client(family), world::vip(family), protocol, payload)
}

fn tcp(family: Family, port: Port, flags: u8) -> Vec<u8> {
    packet(family, 6, &frames::tcp(port as u16, flags))
}

fn outer_bytes(family: Family, format: EncapsulationCode) -> u32 {
    let ip = if family == Family::V4 { 20 } else { 40 };
    ip + if format == EncapsulationCode::GUE { 24 } else { 0 }
}

/// What goes to another node.
fn steered(format: EncapsulationCode) -> Vec<Scenario> {
    let of = |name, family, flows, packet: &[u8], opened_by: Option<Vec<u8>>, reason| Scenario {
        name,
        frame: frames::frame(packet),
        flows,
        client_at: frames::client_at(family),
        opened_by: opened_by.map(|packet| frames::frame(&packet)),
        flow_table: FlowTable::Default,
        reason,
        format,
        outer_bytes: [outer_bytes(family, format), 0],
        traced_one_of: None,
    };
    let others = Port::Others;
    let [ack, ack_v6] = [Family::V4, Family::V6].map(|family| tcp(family, others, ACK));
    let [syn, syn_v6] = [Family::V4, Family::V6].map(|family| tcp(family, others, SYN));
    let [udp, udp_v6] = [Family::V4, Family::V6]
        .map(|family| packet(family, 17, &frames::udp(40_000, others as u16, &[0; 12])));
    let (known, owner) = (Reason::ToFlowOwner, Reason::ToOwner);
    let rst = tcp(Family::V4, others, RST);
    let opens = |packet: &Vec<u8>| Some(packet.clone());
    let mut tagged = of("tcp-v4-lru-hit-vlan", Family::V4, ONE, &ack, opens(&syn), known);
    tagged.frame = frames::tagged(&ack);
    let traced = |name, one_of| Scenario {
        traced_one_of: Some(one_of),
        ..of(name, Family::V4, ONE, &ack, opens(&syn), known)
    };
    let without_table = |name, flows| Scenario {
        flow_table: FlowTable::None,
        ..of(name, Family::V4, flows, &ack, None, owner)
    };
    vec![
        of("tcp-v4-lru-hit", Family::V4, ONE, &ack, opens(&syn), known),
        of("tcp-v4-lru-hit-10k", Family::V4, MANY, &ack, opens(&syn), known),
        of(
            "tcp-v4-lru-diverse",
            Family::V4,
            MILLION,
            &ack,
            opens(&syn),
            known,
        ),
        of("tcp-v4-ch", Family::V4, ONE, &ack, None, owner),
        of("tcp-v4-ch-diverse", Family::V4, MILLION, &ack, None, owner),
        without_table("tcp-v4-no-table", ONE),
        without_table("tcp-v4-no-table-diverse", MILLION),
        of("tcp-v4-syn", Family::V4, ONE, &syn, None, owner),
        of("tcp-v4-lru-warmup", Family::V4, MILLION, &syn, None, owner),
        of("tcp-v4-rst-miss", Family::V4, ONE, &rst, None, owner),
        of("udp-v4-lru-hit", Family::V4, ONE, &udp, opens(&udp), known),
        of("tcp-v6-lru-hit", Family::V6, ONE, &ack_v6, opens(&syn_v6), known),
        of(
            "tcp-v6-lru-diverse",
            Family::V6,
            MILLION,
            &ack_v6,
            opens(&syn_v6),
            known,
        ),
        of("tcp-v6-ch", Family::V6, ONE, &ack_v6, None, owner),
        of("udp-v6-lru-hit", Family::V6, ONE, &udp_v6, opens(&udp_v6), known),
        tagged,
        traced("tcp-v4-lru-hit-sampled", 1_000),
        traced("tcp-v4-lru-hit-traced", 1),
        of(
            "previous-owner",
            Family::V4,
            ONE,
            &tcp(Family::V4, Port::MineOnceSecond, ACK),
            None,
            Reason::ToPreviousOwner,
        ),
        of(
            "successor",
            Family::V4,
            ONE,
            &tcp(Family::V4, Port::MineElseThird, SYN),
            None,
            Reason::ToSuccessor,
        ),
    ]
}

/// What ends here.
fn elsewhere() -> Vec<Scenario> {
    let of = |name, frame: Vec<u8>, reason| Scenario {
        name,
        frame,
        flows: ONE,
        client_at: 0,
        opened_by: None,
        flow_table: FlowTable::Default,
        reason,
        format: EncapsulationCode::GUE,
        outer_bytes: [0, 0],
        traced_one_of: None,
    };
    let not_a_vip = |family| {
        let payload = frames::tcp(80, ACK);
        frames::frame(&frames::ip(
            frames::client(family),
            world::node(family, 77),
            6,
            &payload,
        ))
    };
    let arp = [&world::mac(1)[..], &world::mac(99), &[8, 6], &[0; 28]].concat();
    let mut short = frames::frame(&tcp(Family::V4, Port::Others, ACK));
    short.truncate(44);
    let mut bad = tcp(Family::V4, Port::Others, ACK);
    bad[32] = 0x10;
    let decapsulated = |name, family| Scenario {
        outer_bytes: [0, outer_bytes(family, EncapsulationCode::GUE)],
        ..of(
            name,
            frames::in_gue(family, &tcp(family, Port::Mine, SYN)),
            Reason::ListenerFromNode,
        )
    };
    let forged = {
        let mut frame = frames::in_gue(Family::V4, &tcp(Family::V4, Port::Mine, SYN));
        frame[57] ^= 1;
        frame
    };
    vec![
        of("pass-v4-no-vip", not_a_vip(Family::V4), Reason::NotAVip),
        of("pass-v6-no-vip", not_a_vip(Family::V6), Reason::NotAVip),
        of("pass-non-ip", arp, Reason::NotIp),
        of(
            "pass-v4-syn-here",
            frames::frame(&tcp(Family::V4, Port::Mine, SYN)),
            Reason::ListenerHere,
        ),
        of("drop-v4-truncated", short, Reason::TruncatedNetwork),
        of("drop-v4-bad-transport", frames::frame(&bad), Reason::BadTransport),
        of("drop-v4-forged", forged, Reason::BadCookie),
        decapsulated("decapsulate-v4", Family::V4),
        decapsulated("decapsulate-v6", Family::V6),
    ]
}
