//! Who is kept, and who is not taken in, while it drains.

use super::{State, agreed, members, ms};

#[test]
fn draining_node_weighs_nothing_and_stays_a_member() {
    let mut network = agreed(3);
    network.set_state(0, State::Draining);
    network.run(ms(50));
    network.assert_agreed("after a drain");
    let weights: Vec<u32> = network
        .view(2)
        .unwrap()
        .members
        .iter()
        .map(|m| m.weight)
        .collect();
    assert_eq!(weights, [0, 1, 1]);
}

#[test]
fn node_that_drains_before_it_served_is_not_taken_in() {
    let mut network = agreed(2);
    network.add_node();
    network.start(2);
    network.run(ms(500));
    network.set_state(2, State::Draining);
    network.run(ms(1000));
    assert_eq!(members(&network, 1), ["n0", "n1"]);
    // A new life of a member has not served either.
    network.crash(1);
    network.start(1);
    network.set_state(1, State::Draining);
    network.run(ms(1000));
    assert_eq!(members(&network, 0), ["n0"]);
    network.set_state(1, State::Ready);
    network.run(ms(1000));
    assert_eq!(members(&network, 0), ["n0", "n1"]);
}

#[test]
fn draining_member_that_was_cut_off_is_taken_in_again() {
    let mut network = agreed(3);
    network.cut(2, 0);
    network.cut(2, 1);
    network.set_state(2, State::Draining);
    network.run(ms(1000));
    assert_eq!(members(&network, 0), ["n0", "n1"]);
    network.heal();
    network.run(ms(1500));
    assert_eq!(members(&network, 0), ["n0", "n1", "n2"]);
    network.assert_agreed("after the cut healed");
}

#[test]
fn node_that_drains_serves_where_nobody_else_is_left() {
    let mut network = agreed(1);
    network.add_node();
    network.start(1);
    network.set_state(1, State::Draining);
    network.run(ms(1000));
    assert_eq!(members(&network, 1), ["n0"]);
    network.set_state(0, State::Leaving);
    network.run(ms(50));
    assert_eq!(members(&network, 1), ["n1"]);
    assert_eq!(network.view(1).unwrap().member("n1").map(|m| m.weight), Some(1));
}
