//! Fragments: the first is steered by its ports and remembered, the rest follow it, or go by addresses.

use gateway_common::fragment::{FRAGMENT_LIFETIME_NS, FragmentKey};
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, Packet, Piece, SYN};
use super::super::world::{CONNECTED_PORT, FORMER, ME, Situation, Version};
use super::{
    Case, FRESH_PORT, SECOND_NS, Way, entropy, flow_of, from_client, from_node, sent, tcp, to_node, udp,
};

const ID: u16 = 0x4321;

/// The key of a packet's fragments.
pub fn key(_version: Version, packet: &Packet, protocol: u32, identification: u16) -> FragmentKey {
    FragmentKey {
        source: packet.source.into(),
        destination: packet.destination.into(),
        identification: identification.into(),
        protocol,
    }
}

/// What tells a packet's later fragments apart on their way: its addresses.
fn entropy_without_ports(packet: &Packet) -> u16 {
    let mut flow = flow_of(packet);
    flow.ports = [0; 2];
    entropy(&flow)
}

/// A piece of a client's packet, sent to another node: by ports or by addresses.
fn steered(version: Version, name: &str, whole: &Packet, piece: Piece, to: u16, reason: Reason) -> Case {
    let packet = whole.piece(piece, ID);
    let entropy = match piece {
        Piece::First | Piece::Whole => entropy(&flow_of(whole)),
        Piece::Middle | Piece::Last => entropy_without_ports(whole),
    };
    let bytes = to_node(to, &Way::first(version, to).wrap(&packet, entropy));
    Case::new(version, name, from_client(&packet), Fate::Transmit, reason, bytes)
}

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = first(version);
    cases.extend(later(version));
    cases.extend(from_nodes(version));
    cases
}

fn first(version: Version) -> Vec<Case> {
    let second = udp(version, FRESH_PORT, Situation::Second.port());
    let mine = udp(version, FRESH_PORT, Situation::Mine.port());
    let segment = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let syn = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    let connected = tcp(version, CONNECTED_PORT, Situation::Mine.port(), ACK);
    let no_listener = udp(version, FRESH_PORT, Situation::MineThird.port() + 100);
    let elsewhere = Packet {
        destination: version.host(101),
        ..second.clone()
    };
    let pass = |name: &str, whole: &Packet, reason| {
        Case::passed(version, name, from_client(&whole.piece(Piece::First, ID)), reason)
    };
    vec![
        steered(
            version,
            "first fragment of a datagram of another node",
            &second,
            Piece::First,
            2,
            Reason::ToOwner,
        )
        .notes(&second, 2)
        .begins(key(version, &second, 17, ID), 2),
        steered(
            version,
            "first fragment of a segment of another node",
            &segment,
            Piece::First,
            2,
            Reason::ToOwner,
        )
        .begins(key(version, &segment, 6, ID), 2),
        steered(
            version,
            "first fragment of a SYN",
            &syn,
            Piece::First,
            2,
            Reason::ToOwner,
        )
        .opens(&syn, 2)
        .begins(key(version, &syn, 6, ID), 2),
        steered(
            version,
            "first fragment without a socket here goes to the successor",
            &no_listener,
            Piece::First,
            3,
            Reason::ToSuccessor,
        )
        .notes(&no_listener, ME.0)
        .begins(key(version, &no_listener, 17, ID), 3),
        steered(
            version,
            "first fragment takes an older packet's place",
            &second,
            Piece::First,
            2,
            Reason::ToOwner,
        )
        .before(|before| {
            before
                .fragments
                .push((key(version, &second, 17, ID), Default::default(), 2 * SECOND_NS));
        })
        .notes(&second, 2)
        .begins(key(version, &second, 17, ID), 2),
        steered(
            version,
            "whole packet in a fragment's clothes",
            &second,
            Piece::Whole,
            2,
            Reason::ToOwner,
        )
        .notes(&second, 2),
        pass(
            "first fragment of a datagram of this node",
            &mine,
            Reason::DatagramHere,
        )
        .notes(&mine, ME.0)
        .begins(key(version, &mine, 17, ID), ME.0),
        pass(
            "first fragment of a segment of a connection here",
            &connected,
            Reason::SocketHere,
        )
        .begins(key(version, &connected, 6, ID), ME.0),
        pass("first fragment for no VIP", &elsewhere, Reason::NotAVip),
        Case::dropped(
            version,
            "first fragment that ends within its ports",
            from_client(&second.cut(7).piece(Piece::First, ID)),
            Reason::TruncatedTransport,
        ),
    ]
}

fn later(version: Version) -> Vec<Case> {
    let datagram = udp(version, FRESH_PORT, Situation::Third.port());
    let segment = tcp(version, FRESH_PORT, Situation::Third.port(), ACK);
    let keyed = key(version, &datagram, 17, ID);
    let elsewhere = Packet {
        destination: version.host(101),
        ..datagram.clone()
    };
    let any = Packet {
        destination: version.vip_of_all_ports(),
        ..datagram.clone()
    };
    let pass = |name: &str, whole: &Packet, reason| {
        Case::passed(version, name, from_client(&whole.piece(Piece::Last, ID)), reason)
    };
    let follow = |name: &str, piece| {
        steered(version, name, &datagram, piece, 3, Reason::ToFragmentOwner).after_first(keyed, 3, 0)
    };
    let by_addresses =
        |name: &str, whole: &Packet| steered(version, name, whole, Piece::Last, 2, Reason::ToOwner);
    let mut unlike = keyed;
    unlike.identification += 1;
    let mut other_client = keyed;
    other_client.source = version.host(201).into();
    vec![
        follow("middle fragment follows the first", Piece::Middle),
        follow("last fragment follows the first", Piece::Last),
        steered(
            version,
            "last fragment of a segment follows the first",
            &segment,
            Piece::Last,
            3,
            Reason::ToFragmentOwner,
        )
        .after_first(key(version, &segment, 6, ID), 3, 0),
        pass(
            "last fragment follows the first, which was this node's",
            &datagram,
            Reason::FragmentHere,
        )
        .after_first(keyed, ME.0, 0),
        steered(
            version,
            "last fragment follows the first after 29 s",
            &datagram,
            Piece::Last,
            3,
            Reason::ToFragmentOwner,
        )
        .after_first(keyed, 3, FRAGMENT_LIFETIME_NS - SECOND_NS),
        by_addresses("last fragment goes by addresses after 30 s", &datagram).after_first(
            keyed,
            3,
            FRAGMENT_LIFETIME_NS,
        ),
        by_addresses(
            "last fragment goes by addresses if the first's node left",
            &datagram,
        )
        .after_first(keyed, 9, 0),
        by_addresses(
            "last fragment goes by addresses if the first's node is a former member",
            &datagram,
        )
        .after_first(keyed, FORMER.0, 0),
        by_addresses("last fragment before the first goes by addresses", &datagram),
        by_addresses(
            "last fragment of a segment before the first goes by addresses",
            &segment,
        ),
        by_addresses("first fragment of another packet is not followed", &datagram).after_first(unlike, 3, 0),
        by_addresses("first fragment of another client is not followed", &datagram).after_first(
            other_client,
            3,
            0,
        ),
        by_addresses("first fragment of another protocol is not followed", &datagram).after_first(
            key(version, &datagram, 6, ID),
            3,
            0,
        ),
        by_addresses("last fragment that ends at once", &datagram.cut(0)),
        pass(
            "last fragment before the first, by addresses this node's",
            &any,
            Reason::FragmentHere,
        ),
        pass("last fragment for no VIP", &elsewhere, Reason::NotAVip),
        Case::dropped(
            version,
            "last fragment of a first whose node has no known hardware address",
            from_client(&datagram.piece(Piece::Last, ID)),
            Reason::UnresolvedNextHop,
        )
        .after_first(keyed, 4, 0),
    ]
}

fn from_nodes(version: Version) -> Vec<Case> {
    let mine = udp(version, FRESH_PORT, Situation::Mine.port());
    let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let unknown = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
    let piece = |whole: &Packet, piece| whole.piece(piece, ID);
    let taken = |name: &str, packet: &Packet, hops, reason| {
        Case::taken(version, name, &sent(version, 3, packet, hops), 3, packet, reason)
    };
    let relayed = |name: &str, packet: &Packet, to: u16, entropy, reason| {
        let way = Way {
            hops: 2,
            ttl: 63,
            ..Way::first(version, to)
        };
        let bytes = to_node(to, &way.wrap(packet, entropy));
        Case::new(
            version,
            name,
            from_node(3, &sent(version, 3, packet, 1)),
            Fate::Transmit,
            reason,
            bytes,
        )
        .hears(3)
    };
    let last = piece(&mine, Piece::Last);
    vec![
        taken(
            "node sent a first fragment of a datagram",
            &piece(&mine, Piece::First),
            1,
            Reason::DatagramFromNode,
        )
        .begins(key(version, &mine, 17, ID), ME.0),
        taken(
            "node sent a first fragment of a SYN",
            &piece(&syn, Piece::First),
            1,
            Reason::ListenerFromNode,
        )
        .begins(key(version, &syn, 6, ID), ME.0),
        relayed(
            "node sent a first fragment that nothing here knows",
            &piece(&unknown, Piece::First),
            2,
            entropy(&flow_of(&unknown)),
            Reason::ToPreviousOwner,
        )
        .begins(key(version, &unknown, 6, ID), 2),
        taken("node sent a last fragment", &last, 1, Reason::FragmentFromNode),
        taken(
            "node sent a last fragment whose first was this node's",
            &last,
            2,
            Reason::FragmentFromNode,
        )
        .after_first(key(version, &mine, 17, ID), ME.0, 0),
        relayed(
            "node sent a last fragment whose first went on",
            &last,
            2,
            entropy_without_ports(&mine),
            Reason::ToFragmentOwner,
        )
        .after_first(key(version, &mine, 17, ID), 2, 0),
        taken(
            "node sent a last fragment whose first went on, at the last hop",
            &last,
            3,
            Reason::FragmentFromNode,
        )
        .after_first(key(version, &mine, 17, ID), 2, 0),
    ]
}
