//! The packet's way through four nodes that disagree: no frame makes it panic, change what it does not send, or loop.
//!
//! An input's first 55 bytes choose the nodes (`World::read`), then one the node that gets the frame, one the headroom;
//! the rest is the frame (`packets::frame`).

#![no_main]

use gateway_common::encap::HOPS_MAX;
use gateway_common::forward::Notes;
use gateway_fuzz::steering::packets;
use gateway_fuzz::steering::script::Script;
use gateway_fuzz::steering::step::{HEADROOM, Outcome, step};
use gateway_fuzz::steering::world::{NODES, World, mac};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let world = World::read(&mut script);
    let mut node = script.byte() % NODES + 1;
    // Seldom less than is needed.
    let headroom = match script.byte() {
        short @ 128.. => usize::from(short - 128) % HEADROOM,
        _ => 256,
    };
    let mut frame = packets::frame(&mut script, node);
    let mut sent = 0;
    let mut notes = Notes::default();
    while let Outcome::Sent(to, bytes) = step(&world, node, &frame, headroom, &mut notes) {
        // Counted is what a member sends from its own hardware address. What comes from another one is a client's, for
        // all that the receiver knows in `l2`; only the first frame can have come to one.
        let is_member = world.common.lacks[usize::from(node) - 1] >> 4 & 1 == 0;
        sent += u16::from(is_member && frame.starts_with(&mac(node)));
        assert!(sent <= HOPS_MAX, "sent from node to node {sent} times");
        (node, frame) = (to, bytes);
    }
});
