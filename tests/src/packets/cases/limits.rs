//! Too many new connections: of a source, of a VIP, and of a source with more than its share of a VIP.

use gateway_common::flow::FlowPhase;
use gateway_common::hash;
use gateway_common::maglev::SLOTS;
use gateway_common::protection::{Protection, Rate, SHARE_ALL};
use gateway_common::verdict::{Fate, Reason};
use gateway_common::vip::{SteeringCode, VipId};

use super::super::build::{ACK, Packet, SYN};
use super::super::world::{CONNECTED_PORT, HOT_PORT, ME, Situation, Version, settings, vip_key, vips};
use super::state::Spent;
use super::{
    Case, FRESH_PORT, SECOND_NS, Way, entropy, entry, flow_of, from_client, sent, tcp, to_node, udp,
};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = limits(version);
    cases.extend(own(version));
    cases.extend(hot(version));
    cases
}

impl Case {
    /// Before it, the client or the VIP has used up what it may begin.
    fn after(self, spent: Spent) -> Self {
        self.before(|before| {
            let rate = Rate::new(10, 10);
            before.protection.source_connections = rate;
            before.protection.source_flows = rate;
            before.protection.vip_connections = rate;
            before.protection.vip_flows = rate;
            before.spent = Some(spent);
        })
    }
}

fn limits(version: Version) -> Vec<Case> {
    let (mine, second) = (Situation::Mine.port(), Situation::Second.port());
    let syn = tcp(version, FRESH_PORT, mine, SYN);
    let drop =
        |name: &str, packet: &Packet, reason| Case::dropped(version, name, from_client(packet), reason);
    let pass = |name: &str, packet: &Packet, reason| Case::passed(version, name, from_client(packet), reason);
    let neighbour = Packet::tcp((version.host(201), FRESH_PORT), (version.vip(), mine), SYN);
    let shared = match version {
        // Another address, with tokens of its own.
        Version::V4 => pass(
            "source's connections used up: another source",
            &neighbour,
            Reason::ListenerHere,
        )
        .opens(&neighbour, ME.0),
        // The same /64.
        Version::V6 => drop(
            "source's connections used up: its /64",
            &neighbour,
            Reason::SourceLimit,
        ),
    };
    let elsewhere = Packet::tcp(
        (version.client(), FRESH_PORT),
        (version.vip_of_all_ports(), 9_000),
        SYN,
    );
    let remote = tcp(version, FRESH_PORT, second, SYN);
    vec![
        drop("source's connections used up: a SYN", &syn, Reason::SourceLimit)
            .after(Spent::SourceConnections),
        shared.after(Spent::SourceConnections),
        pass(
            "source's connections used up: a connection here",
            &tcp(version, CONNECTED_PORT, mine, ACK),
            Reason::SocketHere,
        )
        .after(Spent::SourceConnections),
        pass(
            "source's connections used up: a datagram",
            &udp(version, FRESH_PORT, mine),
            Reason::DatagramHere,
        )
        .notes(&udp(version, FRESH_PORT, mine), ME.0)
        .after(Spent::SourceConnections),
        drop("VIP's connections used up: a SYN", &syn, Reason::VipLimit).after(Spent::VipConnections),
        drop(
            "source's connections used up: another node's SYN",
            &remote,
            Reason::SourceLimit,
        )
        .after(Spent::SourceConnections),
        drop(
            "VIP's connections used up: another node's SYN",
            &remote,
            Reason::VipLimit,
        )
        .after(Spent::VipConnections),
        pass(
            "VIP's connections used up: another VIP",
            &elsewhere,
            Reason::ListenerHere,
        )
        .opens(&elsewhere, ME.0)
        .after(Spent::VipConnections),
        Case::steered(
            version,
            "source's flows used up: steered without an entry",
            &remote,
            2,
            Reason::ToOwner,
        )
        .after(Spent::SourceFlows),
        Case::steered(
            version,
            "VIP's flows used up: steered without an entry",
            &remote,
            2,
            Reason::ToOwner,
        )
        .after(Spent::VipFlows),
        pass(
            "source's flows used up: accepted without an entry",
            &syn,
            Reason::ListenerHere,
        )
        .after(Spent::SourceFlows),
        Case::steered(version, "tokens are left", &remote, 2, Reason::ToOwner)
            .opens(&remote, 2)
            .after(Spent::Nothing),
        Case::taken(
            version,
            "source's connections used up: a node passes on a SYN",
            &sent(version, 2, &syn, 1),
            2,
            &syn,
            Reason::ListenerFromNode,
        )
        .after(Spent::SourceConnections),
    ]
}

/// VIPs with bounds of their own.
fn own(version: Version) -> Vec<Case> {
    const MINE: VipId = VipId(1 + Situation::Mine as u16);
    let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let other = tcp(version, FRESH_PORT, Situation::MineAlways.port(), SYN);
    let rate = Rate::new(10, 10);
    let of_vip = Protection {
        vip_connections: rate,
        ..Protection::default()
    };
    let of_sources = Protection {
        source_connections: rate,
        own_sources: Protection::sources_of(MINE),
        ..Protection::default()
    };
    let dropped = Case::dropped(
        version,
        "VIP's own bound: its connections used up",
        from_client(&syn),
        Reason::VipLimit,
    );
    let elsewhere = Case::passed(
        version,
        "VIP's own bound: another VIP has none",
        from_client(&other),
        Reason::ListenerHere,
    );
    let apart = Case::passed(
        version,
        "VIP's own bound of sources: one that has used up its tokens at others",
        from_client(&syn),
        Reason::ListenerHere,
    );
    let bounded = |case: Case, spent, bounds| {
        case.before(|before| {
            before.bounds = vec![(MINE, bounds)];
            before.spent = Some(spent);
        })
    };
    vec![
        bounded(dropped, Spent::VipConnections, of_vip),
        bounded(elsewhere.opens(&other, ME.0), Spent::VipConnections, of_vip),
        bounded(
            apart.opens(&syn, ME.0).after(Spent::SourceConnections),
            Spent::SourceConnections,
            of_sources,
        ),
    ]
}

/// The node that owns a packet's slot at the port of the VIP that keeps clients on one node, where slots of nodes 2 and 3
/// take turns: by the client, and by the 5-tuple.
fn owners(packet: &Packet) -> [u16; 2] {
    let key = vip_key(packet.destination, HOT_PORT, 6);
    let vip = vips()
        .into_iter()
        .find(|(known, _)| *known == key)
        .map(|(_, vip)| vip);
    [SteeringCode::IP_HASH, SteeringCode::FLOW_HASH].map(|steering| {
        let vip = vip.map(|mut vip| {
            vip.steering = steering;
            vip
        });
        let slot = hash::spread(settings().hash_key, vip.as_ref(), &flow_of(packet)).slot(SLOTS);
        [2, 3][slot as usize % 2]
    })
}

/// The packet as this node sends it on by its 5-tuple.
fn spread(version: Version, name: &str, packet: &Packet, to: u16, reason: Reason) -> Case {
    let bytes = to_node(
        to,
        &Way::first(version, to).wrap(packet, entropy(&flow_of(packet))),
    );
    Case::new(version, name, from_client(packet), Fate::Transmit, reason, bytes)
}

fn hot(version: Version) -> Vec<Case> {
    // One whose two slots differ.
    let mut ports = FRESH_PORT..FRESH_PORT + 100;
    let port = ports.find(|port| {
        let [client, flow] = owners(&tcp(version, *port, HOT_PORT, SYN));
        client != flow
    });
    let port = port.unwrap_or(FRESH_PORT);
    let syn = tcp(version, port, HOT_PORT, SYN);
    let [by_client, by_flow] = owners(&syn);
    let watched = |case: Case, spent| {
        case.after(spent)
            .before(|before| before.protection.hot_share = SHARE_ALL / 2)
    };
    vec![
        watched(
            Case::steered(
                version,
                "usual source: by its address",
                &syn,
                by_client,
                Reason::ToOwner,
            )
            .opens(&syn, by_client),
            Spent::Share(100, 1_000),
        ),
        watched(
            spread(
                version,
                "hot source: by its 5-tuple",
                &syn,
                by_flow,
                Reason::ToSpreadOwner,
            )
            .opens(&syn, by_flow),
            Spent::Share(700, 1_000),
        ),
        watched(
            Case::steered(
                version,
                "most of a few connections are nothing",
                &syn,
                by_client,
                Reason::ToOwner,
            )
            .opens(&syn, by_client),
            Spent::Share(20, 20),
        ),
        watched(
            spread(
                version,
                "hot source: a SYN that is sent again goes where the first one went",
                &syn,
                by_client,
                Reason::ToFlowOwner,
            )
            .knowing(flow_of(&syn), entry(by_client, FlowPhase::OPEN), 0)
            .opens(&syn, by_client),
            Spent::Share(700, 1_000),
        ),
        watched(
            spread(
                version,
                "hot source: a SYN of a port that has finished is a new connection",
                &syn,
                by_flow,
                Reason::ToSpreadOwner,
            )
            .knowing(flow_of(&syn), entry(by_client, FlowPhase::FINISHED), SECOND_NS)
            .opens(&syn, by_flow),
            Spent::Share(700, 1_000),
        ),
        Case::steered(
            version,
            "hot source where nobody asks",
            &syn,
            by_client,
            Reason::ToOwner,
        )
        .opens(&syn, by_client)
        .after(Spent::Share(700, 1_000)),
    ]
}
