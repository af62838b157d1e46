//! ICMP echo requests to a VIP: answered here, by whoever gets one, with a checksum that holds.

use gateway_common::verdict::{Fate, Reason};

use super::super::build::{Packet, Piece};
use super::super::world::{ME, Version};
use super::{Case, from_client, from_node, sent, to_client};

const fn kinds(version: Version) -> (u8, u8) {
    match version {
        Version::V4 => (8, 0),
        Version::V6 => (128, 129),
    }
}

fn request(version: Version, rest: [u8; 4], data: &[u8]) -> Packet {
    Packet::icmp(version.client(), version.vip(), [kinds(version).0, 0], rest, data)
}

/// A request to the VIP, and its reply.
pub fn pair(version: Version, rest: [u8; 4], data: &[u8]) -> (Packet, Packet) {
    let mut reply = Packet::icmp(version.vip(), version.client(), [kinds(version).1, 0], rest, data);
    // Of the two zeros of a checksum this one always holds; a director cannot tell where the other would.
    if reply.payload.get(2..4) == Some(&[0, 0]) {
        reply = reply.with_byte(2, 0xff).with_byte(3, 0xff);
    }
    (request(version, rest, data), reply)
}

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = answered(version);
    cases.extend(not_answered(version));
    cases
}

fn answered(version: Version) -> Vec<Case> {
    let mut cases = Vec::new();
    let answer = |name: &str, request: &Packet, reply: &Packet| {
        Case::new(
            version,
            name,
            from_client(request),
            Fate::Transmit,
            Reason::EchoAnswered,
            to_client(reply),
        )
    };
    let rows: [(&str, [u8; 4], Vec<u8>); 8] = [
        ("without payload", [0, 1, 0, 1], vec![]),
        ("with an even payload", [0, 1, 0, 1], vec![7; 56]),
        ("with an odd payload", [0, 1, 0, 1], vec![7; 57]),
        ("of one byte", [0, 1, 0, 1], vec![0xff]),
        ("as long as the path allows", [0, 1, 0, 1], vec![1; 1_400]),
        ("whose checksum carries", [0xf7, 0xff, 0, 0], vec![]),
        (
            "whose checksum carries around the end",
            [0xff, 0xff, 0xff, 0xff],
            vec![0xff; 8],
        ),
        ("of ones whose sum wraps", [0xff, 0xff, 0x08, 0x01], vec![0xff; 3]),
    ];
    for (name, rest, data) in rows {
        let (request, reply) = pair(version, rest, &data);
        cases.push(answer(&format!("echo {name}"), &request, &reply));
    }
    // A reply of zeros has the checksum of zeros, which is not zero.
    let (request, reply) = pair(version, [0; 4], &[0; 8]);
    cases.push(answer("echo of zeros", &request, &reply));
    let (request, reply) = pair(version, [0, 1, 0, 1], b"to a tired hop");
    for ttl in [1, 255] {
        let request = Packet {
            ttl,
            ..request.clone()
        };
        cases.push(answer(&format!("echo with {ttl} hops left"), &request, &reply));
    }
    match version {
        Version::V4 => {
            for words in [1, 10] {
                let options = vec![1; words * 4];
                let request = Packet {
                    options: options.clone(),
                    ..request.clone()
                };
                let reply = Packet {
                    options,
                    ..reply.clone()
                };
                cases.push(answer(
                    &format!("echo behind {} bytes of options", words * 4),
                    &request,
                    &reply,
                ));
            }
            let request = Packet {
                traffic_class: 0xb8,
                mark: 0x1234,
                fragment: 0,
                ..request
            };
            let reply = Packet {
                traffic_class: 0xb8,
                mark: 0x1234,
                fragment: 0,
                ..reply
            };
            cases.push(answer(
                "echo with a traffic class and an identification",
                &request,
                &reply,
            ));
        }
        Version::V6 => {
            let extensions = [(60, super::super::build::options(16))];
            cases.push(answer(
                "echo behind destination options",
                &request.behind(&extensions),
                &reply.behind(&extensions),
            ));
            let request = Packet {
                traffic_class: 0xb8,
                mark: 0x1234,
                ..request
            };
            cases.push(answer(
                "echo with a traffic class and a flow label, which are the sender's",
                &request,
                &reply,
            ));
        }
    }
    let any = version.vip_of_all_ports();
    let (request, reply) = pair(version, [0, 1, 0, 1], b"any");
    let (request, reply) = (
        Packet::icmp(version.client(), any, [kinds(version).0, 0], [0, 1, 0, 1], b"any")
            .of_bytes(request.bytes().len()),
        Packet::icmp(any, version.client(), [kinds(version).1, 0], [0, 1, 0, 1], b"any")
            .of_bytes(reply.bytes().len()),
    );
    cases.push(answer("echo to the VIP of all ports", &request, &reply));
    let padded: Vec<u8> = from_client(&request).into_iter().chain([0; 5]).collect();
    let padded_reply: Vec<u8> = to_client(&reply).into_iter().chain([0; 5]).collect();
    cases.push(Case::new(
        version,
        "echo with padding behind it",
        padded,
        Fate::Transmit,
        Reason::EchoAnswered,
        padded_reply,
    ));
    cases
}

fn not_answered(version: Version) -> Vec<Case> {
    let pass =
        |name: &str, packet: &Packet| Case::passed(version, name, from_client(packet), Reason::NotAVip);
    let rest = [0, 1, 0, 1];
    let (request, reply) = pair(version, rest, b"payload!");
    let to = |address| {
        Packet::icmp(
            version.client(),
            address,
            [kinds(version).0, 0],
            rest,
            b"payload!",
        )
    };
    let kind = |kind: [u8; 2]| Packet::icmp(version.client(), version.vip(), kind, rest, b"payload!");
    let mut group = from_client(&request);
    group.iter_mut().take(1).for_each(|byte| *byte |= 1);
    let inside = sent(version, 2, &request, 1);
    let mut cases = vec![
        pass("echo to an address that is no VIP", &to(version.host(101))),
        pass("echo to this node", &to(version.node(ME.0))),
        pass("echo reply to a VIP", &kind([kinds(version).1, 0])),
        pass("echo reply of a VIP", &reply),
        pass("echo request of another code", &kind([kinds(version).0, 1])),
        pass(
            "echo of the other family's number",
            &kind([kinds(version.other()).0, 0]),
        ),
        pass("first fragment of an echo", &request.piece(Piece::First, 7)),
        pass("last fragment of an echo", &request.piece(Piece::Last, 7)),
        Case::dropped(
            version,
            "echo to a group's hardware address",
            group,
            Reason::GroupAddress,
        ),
        Case::dropped(
            version,
            "echo that another node sent",
            from_node(2, &inside),
            Reason::UnexpectedEncapsulation,
        )
        .hears(2),
    ];
    for bytes in [0, 1, 7] {
        let name = format!("echo cut after {bytes} bytes");
        let cut = from_client(&request.cut(bytes));
        cases.push(Case::dropped(
            version,
            &name,
            cut.clone(),
            Reason::TruncatedTransport,
        ));
        let padded = cut.into_iter().chain([0; 16]).collect();
        cases.push(Case::dropped(
            version,
            &format!("{name}, with padding behind it"),
            padded,
            Reason::TruncatedTransport,
        ));
    }
    cases
}
