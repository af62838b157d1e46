//! Directed tests: one behaviour each. What happens in between is tested by `simulation`.

use super::super::message::Echo;
use super::super::simulation::Network;
use super::*;
use crate::view::{Fingerprint, Share, Shares};

mod draining;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// `n` nodes that are ready and agree.
fn agreed(n: usize) -> Network {
    let mut network = Network::new(1, n);
    for i in 0..n {
        network.start(i);
        network.set_state(i, State::Ready);
    }
    network.run(ms(3000));
    network.assert_agreed("at the start");
    network
}

fn members(network: &Network, i: usize) -> Vec<String> {
    network
        .view(i)
        .map_or_else(Vec::new, |v| v.members.iter().map(|m| m.name.clone()).collect())
}

#[test]
fn single_node_without_seeds_serves_at_once() {
    let mut network = Network::new(1, 1);
    network.start(0);
    network.run(ms(10));
    assert_eq!(network.view(0), None, "it is not ready yet");
    network.set_state(0, State::Ready);
    network.run(ms(1));
    assert_eq!(members(&network, 0), ["n0"]);
    assert_eq!(network.view(0).map(|v| v.number), Some(1));
}

#[test]
fn node_with_silent_seeds_waits_before_it_makes_the_first_view() {
    let mut network = Network::new(1, 3);
    network.start(2);
    network.set_state(2, State::Ready);
    network.run(BOOTSTRAP - ms(50));
    assert_eq!(network.view(2), None);
    network.run(ms(300));
    assert_eq!(members(&network, 2), ["n2"]);
}

#[test]
fn joining_node_knows_the_view_but_is_not_in_it() {
    let mut network = agreed(2);
    network.add_node();
    network.start(2);
    network.run(ms(500));
    assert_eq!(members(&network, 2), ["n0", "n1"]);
    network.set_state(2, State::Ready);
    network.run(ms(50));
    assert_eq!(
        members(&network, 1),
        ["n0", "n1", "n2"],
        "taken in without a tick"
    );
}

#[test]
fn dead_node_is_out_of_every_view_within_700_ms() {
    for dead in 0..3 {
        let mut network = agreed(3);
        network.crash(dead);
        network.run(ms(700));
        network.assert_agreed("after a death");
        assert_eq!(members(&network, (dead + 1) % 3).len(), 2);
    }
}

#[test]
fn leaving_node_is_out_at_once_even_if_it_leads() {
    for leaving in 0..3 {
        let mut network = agreed(3);
        network.set_state(leaving, State::Leaving);
        network.run(ms(20));
        assert!(!members(&network, (leaving + 1) % 3).contains(&format!("n{leaving}")));
        network.assert_agreed("after a leave");
    }
}

#[test]
fn weight_change_reaches_all_and_history_keeps_the_old_one() {
    let mut network = agreed(3);
    let before = network.view(0).unwrap().shares();
    network.set_weight(1, 5);
    network.run(ms(50));
    network.assert_agreed("after a weight change");
    let view = network.view(0).unwrap();
    assert_eq!(view.member("n1").map(|m| m.weight), Some(5));
    assert_eq!(view.history.first(), Some(&before));
}

#[test]
fn change_of_vips_reaches_all_and_history_keeps_the_old_ones() {
    let mut network = agreed(3);
    for vip in [7, 3] {
        network.set_served(1, Served::These(vec![Fingerprint(vip)]));
        network.run(ms(300));
        network.assert_agreed("after a change of VIPs");
    }
    let view = network.view(2).unwrap();
    let served = |share: &Share| view.set(share.serves).map(<[Fingerprint]>::to_vec);
    let of_n1 = |shares: &Shares| {
        let id = view.member("n1").unwrap().id;
        shares.0.iter().find(|share| share.id == id).and_then(served)
    };
    let past: Vec<_> = view.history.iter().take(2).map(of_n1).collect();
    assert_eq!(of_n1(&view.shares()), Some(vec![Fingerprint(3)]));
    assert_eq!(past, [Some(vec![Fingerprint(7)]), None]);
}

#[test]
fn restarted_node_is_a_new_life_before_the_death_time() {
    let mut network = agreed(3);
    let old = network.view(1).unwrap().member("n0").cloned().unwrap();
    network.crash(0);
    network.start(0);
    network.run(ms(120));
    assert_eq!(
        members(&network, 1),
        ["n1", "n2"],
        "the old life is dead, the new one is not ready"
    );
    network.set_state(0, State::Ready);
    network.run(ms(300));
    network.assert_agreed("after a restart");
    let new = network.view(1).unwrap().member("n0").cloned().unwrap();
    assert_eq!(new.id, old.id);
    assert_ne!(new.incarnation, old.incarnation);
}

#[test]
fn late_node_suspects_nobody() {
    let mut network = agreed(3);
    network.pause(0, ms(400));
    network.run(ms(2000));
    assert!(network.deaths().is_empty(), "{:?}", network.deaths());
    // Longer than the death time: the others must think it dead, it must not think that of them.
    network.pause(0, ms(900));
    network.run(ms(3000));
    assert!(
        network.deaths().iter().all(|(by, who)| *by != 0 && who == "n0"),
        "{:?}",
        network.deaths()
    );
    network.assert_agreed("after a pause");
}

#[test]
fn isolated_node_adopts_the_larger_sides_view_and_is_taken_in_again() {
    let mut network = agreed(3);
    let number_before = network.view(1).unwrap().number;
    // n0 loses n1 first, so that it makes two views of its own: {n0, n2}, {n0}.
    network.cut(0, 1);
    network.run(ms(80));
    network.cut(0, 2);
    network.run(ms(2000));
    let (alone, pair) = (network.view(0).unwrap(), network.view(1).unwrap());
    assert_eq!(members(&network, 0), ["n0"]);
    assert_eq!(members(&network, 1), ["n1", "n2"]);
    let seen = network.published(0).len();
    network.heal();
    network.run(ms(1000));
    network.assert_agreed("after the cut healed");
    let merged = network.view(0).unwrap();
    assert_eq!(members(&network, 0), ["n0", "n1", "n2"]);
    assert!(merged.number > alone.number && merged.number > pair.number && pair.number > number_before);
    assert_eq!(
        merged.history.first(),
        Some(&pair.shares()),
        "what the larger side had"
    );
    for view in network.published(0).iter().skip(seen) {
        assert!(
            view.members.len() >= 2,
            "it never went back to a view of its own: {view:?}"
        );
    }
    for i in 1..3 {
        assert!(
            network
                .published(i)
                .iter()
                .all(|v| v.member("n1").is_some() || v.number <= number_before)
        );
    }
}

#[test]
fn node_that_hears_nobody_does_not_take_the_others_along() {
    let mut network = agreed(3);
    network.cut_one_way(1, 0);
    network.cut_one_way(2, 0);
    network.run(ms(2000));
    assert_eq!(members(&network, 1), ["n1", "n2"], "deaf is as good as dead");
    assert_eq!(members(&network, 2), ["n1", "n2"]);
    network.heal();
    network.run(ms(1000));
    network.assert_agreed("after it hears again");
    assert_eq!(members(&network, 0).len(), 3);
}

#[test]
fn glitch_that_only_one_side_noticed_moves_nothing_on_the_other() {
    for length in (450..700).step_by(10) {
        let mut network = agreed(3);
        network.cut(0, 1);
        network.cut(0, 2);
        network.run(ms(length));
        network.heal();
        network.run(ms(1500));
        network.assert_agreed("after a glitch");
        for view in network
            .published(1)
            .iter()
            .chain(network.published(2))
            .filter(|v| v.number > 3)
        {
            assert!(
                view.member("n1").is_some() && view.member("n2").is_some(),
                "{length} ms: {view:?}"
            );
        }
    }
}

#[test]
fn glitch_of_one_among_five_is_not_followed() {
    for length in (450..700).step_by(10) {
        let mut network = agreed(5);
        (1..5).for_each(|other| network.cut(0, other));
        network.run(ms(length));
        network.heal();
        network.run(ms(1500));
        network.assert_agreed("after a glitch");
        for i in 1..5 {
            for view in network.published(i).iter().filter(|v| v.number > 5) {
                assert!(view.members.len() >= 4, "{length} ms: {view:?}");
            }
        }
    }
}

#[test]
fn two_sides_with_a_bystander_between_them_do_not_outbid_each_other() {
    for bystander in [State::Joining, State::Leaving] {
        let mut network = agreed(3);
        if bystander == State::Joining {
            network.crash(0);
            network.start(0);
        } else {
            network.set_state(0, State::Leaving);
        }
        network.cut(1, 2);
        network.run(ms(1500));
        let made = network.published(1).len();
        network.run(ms(2000));
        assert_eq!(network.published(1).len(), made, "{bystander:?}");
        network.heal();
        network.run(ms(1000));
        network.assert_agreed("after the cut between two healed");
    }
}

#[test]
fn half_cut_off_pair_still_comes_to_one_view() {
    let mut network = agreed(3);
    network.cut(0, 1); // n2 hears both
    network.run(ms(3000));
    assert_eq!(network.view(0), network.view(1));
    assert_eq!(network.view(0), network.view(2));
    let settled = network.view(2);
    network.run(ms(2000));
    assert_eq!(network.view(2), settled, "it does not flap");
    network.heal();
    network.run(ms(1000));
    network.assert_agreed("after it healed");
}

#[test]
fn recording_of_a_dead_life_is_not_a_restart() {
    let mut network = agreed(3);
    let mine = network.nodes(1)[0].incarnation;
    let before = network.view(1);
    // A life from before anybody here started, and one that n1 has just missed.
    for (incarnation, echo) in [(4711, 4711), (999, mine)] {
        let mut recorded = network.last_sent(0).unwrap();
        recorded.sender.incarnation = incarnation;
        recorded.echo = Some(Echo {
            incarnation: echo,
            sequence: 1,
        });
        for sequence in 1..4 {
            network.inject(
                1,
                Heartbeat {
                    sequence,
                    ..recorded.clone()
                },
            );
            network.run(ms(300));
        }
    }
    assert!(network.deaths().is_empty());
    assert_eq!(network.view(1), before);
}

#[test]
fn peers_are_bounded() {
    let mut network = agreed(2);
    let template = network.last_sent(0).unwrap();
    for i in 0..PEERS_MAX + 50 {
        let mut stranger = template.clone();
        stranger.sender.name = format!("x{i}");
        network.inject(1, stranger);
    }
    network.run(ms(10));
    assert_eq!(network.nodes(1).len(), PEERS_MAX + 1);
}

#[test]
fn majority_that_dies_at_once_is_out_within_1100_ms() {
    for seed in 0..20 {
        let mut network = Network::new(seed, 5);
        for i in 0..5 {
            network.start(i);
            network.set_state(i, State::Ready);
        }
        network.run(ms(3000));
        (2..5).for_each(|i| network.crash(i));
        network.run(ms(1100));
        network.assert_agreed("after three of five died");
    }
}

#[test]
fn node_that_is_always_late_still_notices_a_death() {
    let mut node = Membership::new(agreed(2).last_sent(0).unwrap().sender, &[], [0, 0], ms(0));
    let mut heartbeat = agreed(2).last_sent(1).unwrap();
    heartbeat.echo = None;
    node.step(Event::Heartbeat(Box::new(heartbeat)), ms(0));
    let late = |i: u64| ms(160 * i);
    let deaths = (1..20)
        .flat_map(|i| node.step(Event::Tick, late(i)))
        .filter(|action| matches!(action, Action::Notice(Notice::Died { .. })));
    assert_eq!(deaths.count(), 1);
}
