//! What the filter keeps from VIPs: impossible packets and denied senders.

use std::net::IpAddr;

use gateway_common::flow::FlowPhase;
use gateway_common::prefix::Prefix;
use gateway_common::protection::Lists;
use gateway_common::verdict::Reason;

use super::super::build::{ACK, Packet, Piece, SYN};
use super::super::world::{CONNECTED_PORT, HEARTBEAT_PORT, ME, Situation, Version};
use super::state::Lasts;
use super::{Case, FRESH_PORT, SECOND_NS, entry, flow_of, from_client, from_node, sent, tcp, udp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = impossible(version);
    cases.extend(denied(version));
    cases.extend(spared(version));
    cases.extend(host(version));
    cases
}

/// A prefix around an address, of so many bits fewer than it has.
fn around(address: IpAddr, fewer: u8) -> Prefix {
    let all = if address.is_ipv4() { 32 } else { 128 };
    Prefix::new(address, all - fewer).unwrap_or_else(|| Prefix::host(address.into()))
}

fn lists(version: Version) -> Lists {
    match version {
        Version::V4 => Lists::DENIES_IPV4,
        Version::V6 => Lists::DENIES_IPV6,
    }
}

impl Case {
    /// Before it, a prefix is denied.
    fn denying(self, version: Version, prefix: Prefix, lasts: Lasts) -> Self {
        self.before(|before| {
            before.protection.lists = before.protection.lists.with(lists(version));
            before.denied.push((prefix, lasts));
        })
    }

    /// Before it, the client is.
    fn denying_client(self, version: Version) -> Self {
        self.denying(version, around(version.client(), 0), Lasts::ForGood)
    }

    /// Before it, lists hold for all traffic.
    fn of_host(self) -> Self {
        self.before(|before| before.protection.lists = before.protection.lists.with(Lists::OF_HOST))
    }
}

fn impossible(version: Version) -> Vec<Case> {
    let mine = Situation::Mine.port();
    let from = |address: &str| {
        Packet::tcp(
            (address.parse().unwrap_or(version.client()), FRESH_PORT),
            (version.vip(), mine),
            SYN,
        )
    };
    let drop =
        |name: String, packet: &Packet, reason| Case::dropped(version, &name, from_client(packet), reason);
    let senders: &[&str] = match version {
        Version::V4 => &[
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
        ],
        Version::V6 => &["::", "::1", "ff02::1", "ff0e::1"],
    };
    let possible: &[&str] = match version {
        Version::V4 => &[
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "223.255.255.255",
            "240.0.0.1",
            "255.255.255.254",
        ],
        Version::V6 => &["::2", "fe80::1", "fec0::1", "2001:db8::1"],
    };
    let mut cases: Vec<Case> = senders
        .iter()
        .map(|sender| {
            drop(
                format!("sender {sender} is no machine's"),
                &from(sender),
                Reason::BadSource,
            )
        })
        .collect();
    for sender in possible {
        let packet = from(sender);
        let name = format!("sender {sender} may be a machine's");
        cases.push(
            Case::passed(version, &name, from_client(&packet), Reason::ListenerHere).opens(&packet, ME.0),
        );
    }
    let land = Packet::tcp((version.vip(), mine), (version.vip(), mine), SYN);
    cases.push(drop("sender is the VIP itself".to_owned(), &land, Reason::Land));
    let second = Situation::Second.port();
    let nobody = from(senders.first().unwrap_or(&"")).source;
    for (name, sender, reason) in [
        (
            "sender is the VIP itself, whose slot is another node's",
            version.vip(),
            Reason::Land,
        ),
        (
            "sender is no machine's, and its slot another node's",
            nobody,
            Reason::BadSource,
        ),
    ] {
        let packet = Packet::tcp((sender, mine), (version.vip(), second), SYN);
        cases.push(drop(name.to_owned(), &packet, reason));
    }
    let datagram = Packet::udp((version.vip(), 5), (version.vip(), mine));
    cases.push(drop(
        "datagram of the VIP to itself".to_owned(),
        &datagram,
        Reason::Land,
    ));
    let inside = from(senders.first().unwrap_or(&""));
    cases.push(Case::taken(
        version,
        "what another node passed on was filtered there",
        &sent(version, 2, &inside, 1),
        2,
        &inside,
        Reason::ListenerFromNode,
    ));
    cases
}

fn denied(version: Version) -> Vec<Case> {
    let (mine, second) = (Situation::Mine.port(), Situation::Second.port());
    let drop =
        |name: &str, packet: &Packet| Case::dropped(version, name, from_client(packet), Reason::Denied);
    let syn = tcp(version, FRESH_PORT, mine, SYN);
    let ack = tcp(version, FRESH_PORT, second, ACK);
    let echo = super::echo::pair(version, [0, 1, 0, 1], &[]).0;
    let datagram = udp(version, FRESH_PORT, mine);
    vec![
        drop("denied: a SYN", &syn).denying_client(version),
        drop(
            "denied: a connection here",
            &tcp(version, CONNECTED_PORT, mine, ACK),
        )
        .denying_client(version),
        drop(
            "denied: a connection of another node, and it stays remembered",
            &ack,
        )
        .knowing(flow_of(&ack), entry(3, FlowPhase::OPEN), 0)
        .denying_client(version),
        drop("denied: a datagram", &datagram).denying_client(version),
        drop("denied: an echo request", &echo).denying_client(version),
        drop("denied: a later fragment", &datagram.piece(Piece::Last, 7)).denying_client(version),
        drop("denied: until later", &syn).denying(
            version,
            around(version.client(), 0),
            Lasts::Longer(SECOND_NS * 60),
        ),
        drop("denied: the network around it", &syn).denying(
            version,
            around(version.client(), 8),
            Lasts::ForGood,
        ),
        drop("denied: all there is", &syn).denying(
            version,
            around(version.client(), if version == Version::V4 { 32 } else { 128 }),
            Lasts::ForGood,
        ),
    ]
}

fn spared(version: Version) -> Vec<Case> {
    let mine = Situation::Mine.port();
    let syn = tcp(version, FRESH_PORT, mine, SYN);
    let pass = |name: &str, packet: &Packet| {
        Case::passed(version, name, from_client(packet), Reason::ListenerHere).opens(packet, ME.0)
    };
    let of_node = Packet::tcp((version.node(2), FRESH_PORT), (version.vip(), mine), SYN);
    let (client, neighbour) = (around(version.client(), 0), around(version.host(201), 0));
    vec![
        pass("denied until a moment ago", &syn).denying(version, client, Lasts::Over),
        pass("a neighbour is denied", &syn).denying(version, neighbour, Lasts::ForGood),
        pass("denied, and allowed", &syn)
            .denying_client(version)
            .before(|before| before.allowed.push(client)),
        pass("denied, and within what is allowed", &syn)
            .denying_client(version)
            .before(|before| before.allowed.push(around(version.client(), 8))),
        Case::dropped(
            version,
            "denied, and another is allowed",
            from_client(&syn),
            Reason::Denied,
        )
        .denying_client(version)
        .before(|before| before.allowed.push(neighbour)),
        pass("a node within what is denied", &of_node).denying(
            version,
            around(version.node(2), 8),
            Lasts::ForGood,
        ),
        pass("of the other family alone lists hold", &syn)
            .denying_client(version)
            .before(|before| before.protection.lists = lists(version.other())),
        Case::taken(
            version,
            "a node passes on what is denied here",
            &sent(version, 2, &syn, 1),
            2,
            &syn,
            Reason::ListenerFromNode,
        )
        .denying_client(version),
    ]
}

fn host(version: Version) -> Vec<Case> {
    let other = Packet::tcp((version.client(), FRESH_PORT), (version.host(101), 22), SYN);
    let odd = Packet::new(version.client(), version.host(101), 132, vec![0; 16]);
    let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let here = version.node(ME.0);
    let heartbeat = Packet::udp((version.node(2), 5_000), (here, HEARTBEAT_PORT));
    let pass = |name: &str, frame, reason| Case::passed(version, name, frame, reason);
    let drop =
        |name: &str, packet: &Packet| Case::dropped(version, name, from_client(packet), Reason::Denied);
    vec![
        pass(
            "denied for VIPs: for none it passes",
            from_client(&other),
            Reason::NotAVip,
        )
        .denying_client(version),
        drop("denied for the host: for no VIP", &other)
            .denying_client(version)
            .of_host(),
        drop("denied for the host: of no protocol that is steered", &odd)
            .denying_client(version)
            .of_host(),
        drop("denied for the host: for a VIP", &syn)
            .denying_client(version)
            .of_host(),
        pass("not denied for the host", from_client(&other), Reason::NotAVip)
            .denying(version, around(version.host(201), 0), Lasts::ForGood)
            .of_host(),
        pass(
            "denied for the host: a node's heartbeat",
            from_node(2, &heartbeat),
            Reason::Heartbeat,
        )
        .denying(version, around(version.node(2), 8), Lasts::ForGood)
        .of_host()
        .hears(2),
        Case::taken(
            version,
            "denied for the host: what a node passes on",
            &sent(version, 2, &syn, 1),
            2,
            &syn,
            Reason::ListenerFromNode,
        )
        .denying_client(version)
        .of_host(),
    ]
}
