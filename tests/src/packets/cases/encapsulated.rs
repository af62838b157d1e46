//! The bytes around a packet in all combinations of families and formats: out, in, and on.

use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, SYN};
use super::super::world::{Situation, Version};
use super::{Case, FRESH_PORT, Way, entropy, flow_of, from_client, from_node, tcp, to_node};

const FORMATS: [(EncapsulationCode, &str); 2] = [
    (EncapsulationCode::GUE, "GUE"),
    (EncapsulationCode::IPIP, "IP in IP"),
];

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = Vec::new();
    for (format, name) in FORMATS {
        let packet = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
        let bytes = to_node(
            2,
            &Way::first(version, 2)
                .in_format(format)
                .wrap(&packet, entropy(&flow_of(&packet))),
        );
        cases.push(
            Case::new(
                version,
                &format!("sent in {name}"),
                from_client(&packet),
                Fate::Transmit,
                Reason::ToOwner,
                bytes,
            )
            .set(|settings| settings.encapsulation = format)
            .opens(&packet, 2),
        );
        for outer in Version::BOTH {
            let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
            let way = Way::here(outer, 2, 1).in_format(format);
            let what = format!("taken out of {name} by {outer:?}");
            cases.push(Case::taken(
                version,
                &what,
                &way.wrap(&syn, 9),
                2,
                &syn,
                Reason::ListenerFromNode,
            ));
            cases.extend(onward(version, outer, format, name));
        }
    }
    cases.extend(mixed(version));
    cases
}

/// What came in one format and family goes on in this node's format and, if it can, in the packet's own family.
fn onward(version: Version, outer: Version, format: EncapsulationCode, name: &str) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
    let mut cases = Vec::new();
    for (hops, ttl) in [(1, 64), (2, 63), (1, 2)] {
        let arrives = Way {
            ttl,
            ..Way::here(outer, 3, hops).in_format(format)
        };
        let goes = Way {
            hops: hops + 1,
            ttl: ttl - 1,
            ..Way::first(version, 2).in_format(format)
        };
        let bytes = to_node(2, &goes.wrap(&packet, entropy(&flow_of(&packet))));
        let what = format!("sent on in {name}, from {outer:?}, after {hops} hops with {ttl} left");
        cases.push(
            Case::new(
                version,
                &what,
                from_node(3, &arrives.wrap(&packet, 3)),
                Fate::Transmit,
                Reason::ToPreviousOwner,
                bytes,
            )
            .set(|settings| settings.encapsulation = format)
            .hears(3),
        );
    }
    for ttl in [0, 1] {
        let arrives = Way {
            ttl,
            ..Way::here(outer, 3, 1).in_format(format)
        };
        let what = format!("{name} by {outer:?} with {ttl} hops left goes no further");
        cases.push(
            Case::dropped(
                version,
                &what,
                from_node(3, &arrives.wrap(&packet, 3)),
                Reason::TtlExpired,
            )
            .hears(3),
        );
        let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
        let what = format!("{name} by {outer:?} with {ttl} hops left is taken");
        cases.push(Case::taken(
            version,
            &what,
            &arrives.wrap(&syn, 3),
            3,
            &syn,
            Reason::ListenerFromNode,
        ));
    }
    cases
}

/// Nodes whose settings differ for a while.
fn mixed(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
    let mut cases = Vec::new();
    for ((arrives, from), (goes, to)) in [(FORMATS[0], FORMATS[1]), (FORMATS[1], FORMATS[0])] {
        let arrival = Way::here(version, 3, 1).in_format(arrives).wrap(&packet, 3);
        let way = Way {
            hops: 2,
            ttl: 63,
            ..Way::first(version, 2).in_format(goes)
        };
        let bytes = to_node(2, &way.wrap(&packet, entropy(&flow_of(&packet))));
        let what = format!("came in {from}, goes on in {to}");
        cases.push(
            Case::new(
                version,
                &what,
                from_node(3, &arrival),
                Fate::Transmit,
                Reason::ToPreviousOwner,
                bytes,
            )
            .set(|settings| settings.encapsulation = goes)
            .hears(3),
        );
    }
    cases
}
