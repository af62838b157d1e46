//! Deaths under load behind a router: what may break, and what may not.

use std::time::{Duration, Instant};

use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::settings::Common;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::load::journal::{ConnectionId, Record};
use gateway_tests::load::{Load, Pattern};

use crate::routed::{Hash, PATIENCE, Scene, routed_lab, set_next_hops};
use crate::support::one_at_a_time;

/// New connections a second while a proxy is killed.
const RATE: u32 = 200;

/// From the power loss of a node to new connections that all succeed, through a node without a control plane.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(2);

/// Less than the first retransmission of a SYN: whoever is faster lost nothing.
const NOTHING_LOST: Duration = Duration::from_millis(900);

fn fresh(lab: &Lab, per_second: u32) -> Load {
    let pattern = Pattern {
        target: Vip::FlowHash.http(Family::V4),
        kept: 0,
        requests_per_second: 0,
        fresh_per_second: per_second,
    };
    Load::start(lab, pattern).expect("a load")
}

/// Waits until that many further connections have ended, well or not: each has a record for its opening, and one for its
/// answer.
fn wait_for_connections(load: &Load, count: usize) {
    let until = load.journal().len() + 2 * count;
    let enough = wait_until(Instant::now() + PATIENCE, || {
        (load.journal().len() >= until).then_some(())
    });
    assert!(enough.is_some(), "traffic stopped");
}

/// The last record of each connection: how it ended.
fn last_of_each<'a>(
    records: impl Iterator<Item = &'a Record>,
) -> std::collections::BTreeMap<ConnectionId, &'a Record> {
    records.map(|record| (record.connection, record)).collect()
}

#[test]
fn a_join_and_a_death_within_a_second_break_only_what_ended_on_the_dead_node() {
    const APART_MAX: Duration = Duration::from_secs(1);
    let _turn = one_at_a_time();
    for hash in [Hash::Still, Hash::Changes] {
        let (before, after): (&[usize], &[usize]) = match hash {
            Hash::Still => (&[0], &[0]),
            Hash::Changes => (&[0, 1], &[2, 0]),
        };
        let scene = Scene::new(2, before, hash, Common::default());
        let dead = scene.node(1);
        let joining = scene.node(2);
        scene.rounds(1);
        joining.start().expect("a start");
        joining.wait_ready().expect("a ready node");
        let joined = Instant::now();
        let had = scene.by_node().get(dead.name()).copied().unwrap_or(0);
        // The link first: what a dying process's kernel would still say to its clients is lost, as at a loss of power.
        let died = scene.lab.cut_link(dead.name()).expect("a cut");
        dead.kill().expect("a kill");
        scene.rehash(after);
        assert!(died.duration_since(joined) < APART_MAX);
        scene.rounds(3);
        scene.rehash(&[0, 2]);
        scene.rounds(8);
        scene.wait_all_live();
        let dead = dead.name().to_owned();
        let broken = scene.end("join and death");
        assert!(had > 0 && broken.len() >= had, "{} broke of {had}", broken.len());
        let others: Vec<_> = broken
            .iter()
            .filter(|one| one.node.as_deref() != Some(&dead))
            .collect();
        assert!(
            others.is_empty(),
            "hash {hash:?}: {} others: {:#?}",
            others.len(),
            others.first()
        );
        assert_eq!(broken.len(), had, "hash {hash:?}: none broke twice");
    }
}

#[test]
fn after_the_kill_of_a_proxy_no_connection_fails_that_began_when_its_listener_was_closed() {
    let _turn = one_at_a_time();
    let lab = routed_lab(NODES, &[0, 1, 2], Common::default());
    let load = fresh(&lab, RATE);
    wait_for_connections(&load, 400);
    let killed = lab.nodes()[1].kill().expect("a kill");
    // The process was waited for: its sockets are closed.
    let closed = Instant::now();
    wait_for_connections(&load, 800);
    let journal = load.stop().expect("a journal");
    assert_eq!(journal.left_out(), 0);
    let records = journal.since(0);
    let connections = last_of_each(records.iter());

    let (late, early): (Vec<&Record>, Vec<&Record>) = connections
        .values()
        .copied()
        .filter(|record| record.outcome.is_err())
        .partition(|record| record.opened > closed);
    assert!(
        late.is_empty(),
        "{} began later and failed: {:#?}",
        late.len(),
        late.first()
    );

    // From the SYN to the answer, as long as the longest before the kill took; and the kill itself.
    let lives = connections.values().filter(|record| record.ended < killed);
    let longest = lives
        .map(|record| record.ended - record.opened)
        .max()
        .expect("connections");
    let window = longest + (closed - killed);
    let bound = (f64::from(RATE) * window.as_secs_f64()).ceil();
    println!(
        "kill of a proxy: {} of {} failed, all begun in the {window:?} before its listener closed; bound {bound}",
        early.len(),
        connections.len()
    );
    assert!(
        early.len() as f64 <= bound,
        "{} failed, not {bound} at most",
        early.len()
    );
    for record in early {
        let age = closed - record.opened;
        assert!(
            age <= window,
            "one failed that began {age:?} earlier: {record:#?}"
        );
    }
}

#[test]
fn a_node_without_a_control_plane_steers_around_one_that_loses_its_power() {
    let _turn = one_at_a_time();
    let lab = routed_lab(NODES, &[0, 1, 2], Common::default());
    // Everything comes in by the one whose control plane will be dead.
    set_next_hops(&lab, &[0]);
    let load = fresh(&lab, RATE / 2);
    wait_for_connections(&load, 200);
    lab.nodes()[0].kill().expect("a kill");
    wait_for_connections(&load, 300);

    let node = &lab.nodes()[1];
    let lost = lab.cut_link(node.name()).expect("a cut");
    node.kill().expect("a kill");
    let taken_over = lost + TAKEN_OVER_WITHIN;
    wait_until(taken_over, || None::<()>);
    wait_for_connections(&load, 400);
    let journal = load.stop().expect("a journal");
    let records = journal.since(0);
    let late = records.iter().filter(|record| record.opened > taken_over);
    let connections = last_of_each(late);
    let bad: Vec<_> = connections
        .values()
        .filter(|record| record.outcome.is_err() || record.ended - record.opened > NOTHING_LOST)
        .collect();
    assert!(
        bad.is_empty(),
        "{} of {} new connections failed or were slow, as {:#?}",
        bad.len(),
        connections.len(),
        bad.first()
    );
    let between = records
        .iter()
        .filter(|record| record.opened > lost && record.opened <= taken_over);
    let failed = last_of_each(between)
        .values()
        .filter(|record| record.outcome.is_err())
        .count();
    println!("power loss: {failed} new connections of the first {TAKEN_OVER_WITHIN:?} failed");
}
