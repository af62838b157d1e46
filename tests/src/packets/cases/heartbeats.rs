//! Heartbeats of nodes, which the program notes and passes.

use gateway_common::verdict::Reason;

use super::super::build::{Packet, Piece};
use super::super::world::{HEARTBEAT_PORT, ME, Version};
use super::{Case, Interface, from_node};

pub fn cases(version: Version) -> Vec<Case> {
    let here = version.node(ME.0);
    let heartbeat = |from, port| Packet::udp((from, 5_000), (here, port));
    let pass =
        |name: &str, packet: &Packet, reason| Case::passed(version, name, from_node(2, packet), reason);
    let good = heartbeat(version.node(2), HEARTBEAT_PORT);
    vec![
        pass("heartbeat of a node", &good, Reason::Heartbeat).hears(2),
        pass(
            "datagram to the port beside that of heartbeats",
            &heartbeat(version.node(2), HEARTBEAT_PORT + 1),
            Reason::NotAVip,
        ),
        pass(
            "heartbeat of an address that is no node's",
            &heartbeat(version.client(), HEARTBEAT_PORT),
            Reason::NotAVip,
        ),
        pass(
            "heartbeat of this node itself",
            &heartbeat(here, HEARTBEAT_PORT),
            Reason::NotAVip,
        ),
        pass(
            "heartbeat by an interface that nodes are not reached by",
            &good,
            Reason::NotAVip,
        )
        .before(|before| before.interface = Interface::Foreign),
        pass("heartbeat where there are none", &good, Reason::NotAVip)
            .set(|settings| settings.heartbeat_port = 0),
        pass(
            "port 0 where there are no heartbeats",
            &heartbeat(version.node(2), 0),
            Reason::NotAVip,
        )
        .set(|settings| settings.heartbeat_port = 0),
        pass(
            "first fragment of a heartbeat",
            &good.piece(Piece::First, 7),
            Reason::NotAVip,
        ),
    ]
}
