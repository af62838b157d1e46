//! A control plane that died: only nodes that were heard lately are sent anything.

use gateway_common::flow::FlowPhase;
use gateway_common::forward::{HEARD_NS, LEASE_NS};
use gateway_common::hash;
use gateway_common::maglev::SLOTS;
use gateway_common::node::NodeId;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, SYN};
use super::super::world::{self, ME, Situation, Version};
use super::{
    Case, FRESH_PORT, Packet, SECOND_NS, entry, flow_of, from_client, from_node, relayed, sent, tcp, udp,
};

/// An age that is none of the bounds, however long a case takes.
const OLD_NS: u64 = 60 * SECOND_NS;
const YOUNG_NS: u64 = HEARD_NS / 10;

/// The first client port whose flow to that situation falls on a slot of `owner`, and then soon on one of `next`.
fn falling(version: Version, port: u16, flags: u8, [owner, next]: [u16; 2]) -> Packet {
    let slots = world::SITUATIONS
        .into_iter()
        .find(|situation| situation.port() == port || situation.port() + 100 == port)
        .map(Situation::slots)
        .unwrap_or_default();
    let vip = world::vips()
        .into_iter()
        .find(|(key, _)| *key == world::vip_key(version.vip(), port, 6));
    let owner_of = |spread: hash::Spread| slots.get(spread.slot(SLOTS) as usize).map(|slot| slot.owner());
    let falls = |packet: &Packet| {
        let Some((_, vip)) = &vip else { return false };
        let spread = hash::spread(world::settings().hash_key, Some(vip), &flow_of(packet));
        let mut others = std::iter::successors(Some(spread.again()), |spread| Some(spread.again())).take(4);
        owner_of(spread) == Some(NodeId(owner)) && others.any(|other| owner_of(other) == Some(NodeId(next)))
    };
    (FRESH_PORT..=u16::MAX)
        .map(|client_port| tcp(version, client_port, port, flags))
        .find(falls)
        .unwrap_or_else(|| tcp(version, FRESH_PORT, port, flags))
}

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = owners(version);
    cases.extend(remembered(version));
    cases.extend(candidates(version));
    cases
}

fn stale(case: Case, heard: &[(u16, u64)]) -> Case {
    case.before(|before| {
        before.lease_age_ns = Some(OLD_NS);
        before.heard = heard.to_vec();
    })
}

fn owners(version: Version) -> Vec<Case> {
    let both = Situation::SecondOrThird.port();
    let syn = falling(version, both, SYN, [2, 3]);
    let alone = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    let mine = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let to = |name: &str, packet: &Packet, node, reason| {
        Case::steered(version, name, packet, node, reason).opens(packet, node)
    };
    vec![
        to("without a lease nobody is lost", &syn, 2, Reason::ToOwner),
        to(
            "fresh lease: an owner that was never heard is not lost",
            &syn,
            2,
            Reason::ToOwner,
        )
        .before(|before| before.lease_age_ns = Some(LEASE_NS / 10)),
        stale(
            to("stale lease, owner heard", &syn, 2, Reason::ToOwner),
            &[(2, YOUNG_NS)],
        ),
        stale(
            to(
                "stale lease, owner unheard: to the owner of another slot",
                &syn,
                3,
                Reason::ToHeardNode,
            ),
            &[(3, YOUNG_NS)],
        ),
        stale(
            to(
                "stale lease, owner heard a minute ago: to the owner of another slot",
                &syn,
                3,
                Reason::ToHeardNode,
            ),
            &[(2, OLD_NS), (3, YOUNG_NS)],
        ),
        stale(
            to(
                "stale lease, all unheard: perhaps it is this node that cannot hear",
                &syn,
                2,
                Reason::ToOwner,
            ),
            &[],
        ),
        stale(
            to("stale lease, all heard a minute ago", &syn, 2, Reason::ToOwner),
            &[(2, OLD_NS), (3, OLD_NS)],
        ),
        stale(
            to(
                "stale lease, owner unheard, and no other slot has another",
                &alone,
                2,
                Reason::ToOwner,
            ),
            &[(3, YOUNG_NS)],
        ),
        stale(
            Case::passed(
                version,
                "stale lease: this node is never lost",
                from_client(&mine),
                Reason::ListenerHere,
            )
            .opens(&mine, ME.0),
            &[],
        ),
    ]
}

fn remembered(version: Version) -> Vec<Case> {
    let ack = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let datagram = udp(version, FRESH_PORT, Situation::Second.port());
    let third = |packet: &Packet| (flow_of(packet), entry(3, FlowPhase::OPEN));
    let know = |case: Case, packet: &Packet| {
        let (key, entry) = third(packet);
        case.knowing(key, entry, 0)
    };
    let to = |name: &str, packet: &Packet, node, reason| Case::steered(version, name, packet, node, reason);
    vec![
        stale(
            know(
                to("stale lease, flow's node heard", &ack, 3, Reason::ToFlowOwner),
                &ack,
            ),
            &[(2, YOUNG_NS), (3, YOUNG_NS)],
        ),
        stale(
            know(
                to(
                    "stale lease, flow's node unheard: to the owner",
                    &ack,
                    2,
                    Reason::ToOwner,
                ),
                &ack,
            ),
            &[(2, YOUNG_NS)],
        ),
        stale(
            know(
                to(
                    "stale lease, datagrams' node heard",
                    &datagram,
                    3,
                    Reason::ToFlowOwner,
                ),
                &datagram,
            ),
            &[(3, YOUNG_NS)],
        ),
        stale(
            know(
                to(
                    "stale lease, datagrams' node unheard: to the owner",
                    &datagram,
                    2,
                    Reason::ToOwner,
                ),
                &datagram,
            ),
            &[(2, YOUNG_NS)],
        )
        .notes(&datagram, 2),
        know(
            to("fresh lease, flow's node unheard", &ack, 3, Reason::ToFlowOwner),
            &ack,
        )
        .before(|before| before.lease_age_ns = Some(LEASE_NS / 10)),
    ]
}

fn candidates(version: Version) -> Vec<Case> {
    let closed = Situation::MineThird.port() + 100;
    let syn = tcp(version, FRESH_PORT, closed, SYN);
    let ack = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
    let mixed = falling(version, Situation::MineOrSecond.port() + 100, SYN, [1, 2]);
    let opens = |case: Case, packet: &Packet| case.opens(packet, ME.0);
    let on = |name: &str, packet: &Packet, from, to, reason| {
        Case::new(
            version,
            name,
            from_node(from, &sent(version, from, packet, 1)),
            Fate::Transmit,
            reason,
            relayed(version, to, packet, 2),
        )
        .hears(from)
    };
    let reset = Case::passed(
        version,
        "stale lease, no listener, and nobody heard",
        from_client(&syn),
        Reason::NoCandidate,
    );
    vec![
        stale(
            opens(
                Case::steered(
                    version,
                    "stale lease, successor heard",
                    &syn,
                    3,
                    Reason::ToSuccessor,
                ),
                &syn,
            ),
            &[(3, YOUNG_NS)],
        ),
        stale(
            opens(
                Case::steered(
                    version,
                    "stale lease, successor unheard: to the previous owner",
                    &syn,
                    2,
                    Reason::ToPreviousOwner,
                ),
                &syn,
            ),
            &[(2, YOUNG_NS)],
        ),
        stale(
            opens(
                Case::steered(
                    version,
                    "stale lease, successor unheard: to the owner of another slot",
                    &mixed,
                    2,
                    Reason::ToHeardNode,
                ),
                &mixed,
            ),
            &[(2, YOUNG_NS)],
        ),
        stale(opens(reset, &syn), &[]),
        stale(
            Case::steered(
                version,
                "stale lease, previous owner unheard: to the one before",
                &ack,
                3,
                Reason::ToPreviousOwner,
            ),
            &[(3, YOUNG_NS)],
        ),
        stale(
            on(
                "stale lease, a node's packet is a sign of its life",
                &ack,
                2,
                2,
                Reason::ToPreviousOwner,
            ),
            &[],
        ),
    ]
}
