//! Calls that began before a breaker changed, told to an upstream's machines.

use std::sync::Arc;

use super::*;
use crate::registry::Registry;

const QUICK: Duration = Duration::from_millis(1);

fn guards() -> GuardSettings {
    GuardSettings {
        breaker: Some(breaker::Settings {
            min_calls: 4,
            open_for: QUICK,
            open_for_max: QUICK,
            half_open_calls: 1,
            ramp: Duration::ZERO,
            ..breaker::Settings::default()
        }),
        outliers: Some(outliers::Settings {
            consecutive_failures: Some(20),
            success_rate: None,
            behind_others: None,
            ..outliers::Settings::default()
        }),
    }
}

/// An upstream of two endpoints, the first of which is called; the other is there so that one may be ejected.
struct Called {
    addresses: [SocketAddr; 2],
    states: [Arc<EndpointState>; 2],
}

impl Called {
    fn new() -> Self {
        let registry = Registry::default();
        let addresses = ["192.0.2.1:80", "192.0.2.2:80"].map(|text| text.parse().unwrap());
        let states = addresses.map(|address| registry.endpoint("users", address));
        let called = Self { addresses, states };
        called.upstream().guard(&guards(), &called.endpoints());
        called
    }

    fn upstream(&self) -> &UpstreamState {
        self.states[0].upstream()
    }

    fn endpoints(&self) -> Vec<(SocketAddr, &EndpointState)> {
        let states = self.states.iter().map(|state| &**state);
        self.addresses.into_iter().zip(states).collect()
    }

    /// So many calls that began then and end now.
    fn end(&self, begun: Begun, outcome: Outcome, count: u32) {
        for _ in 0..count {
            self.states[0].count(self.addresses[0], begun, outcome);
        }
    }

    /// Calls fail until both breakers open.
    fn open(&self) {
        self.end(self.states[0].begins(), Outcome::Failed, 4);
        assert_eq!(
            (self.states[0].gate(), self.upstream().gate()),
            (Gate::Shut, Gate::Shut)
        );
    }

    /// Waits, and closes both by a trial call each.
    fn close(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while (self.states[0].gate(), self.upstream().gate()) != (Gate::Trials, Gate::Trials) {
            assert!(Instant::now() < deadline, "waited for trial calls");
            self.upstream().tick(&self.endpoints());
        }
        let whole = self.upstream().try_whole().unwrap();
        let (_, endpoint) = self.upstream().try_endpoint(|_| true).unwrap();
        self.end(self.states[0].begins(), Outcome::Passed, 1);
        self.upstream().trial_ended(&whole, None, Outcome::Passed);
        self.upstream()
            .trial_ended(&endpoint, Some(&self.states[0]), Outcome::Passed);
        self.assert_closed();
    }

    fn assert_closed(&self) {
        let all = Gate::Share(1_000);
        assert_eq!((self.states[0].gate(), self.upstream().gate()), (all, all));
    }

    fn openings(&self) -> u64 {
        self.upstream().openings.load(Ordering::Relaxed)
    }
}

#[test]
fn calls_that_hung_before_a_breaker_opened_do_not_open_it_again() {
    let called = Called::new();
    let hung = called.states[0].begins();
    called.open();
    called.end(hung, Outcome::Failed, 3);
    called.close();
    called.end(hung, Outcome::Failed, 9);
    called.assert_closed();
    called.upstream().tick(&called.endpoints());
    called.assert_closed();
    assert_eq!(called.openings(), 2, "of the endpoint and of the whole, once");
    // Those that began after it count, and as exactly as ever.
    let begun = called.states[0].begins();
    called.end(begun, Outcome::Failed, 2);
    called.assert_closed();
    // The fourth call, as the trial was one.
    called.end(begun, Outcome::Failed, 1);
    assert_eq!(called.states[0].gate(), Gate::Shut);
    assert_eq!(called.openings(), 4);
}

#[test]
fn answers_that_began_before_and_break_off_after_do_not_open_it_again_either() {
    let called = Called::new();
    let begun = called.states[0].begins();
    called.end(begun, Outcome::Passed, 3);
    called.open();
    called.close();
    for _ in 0..3 {
        called.states[0].spoil(called.addresses[0], begun);
    }
    called.end(called.states[0].begins(), Outcome::Passed, 3);
    called.upstream().tick(&called.endpoints());
    called.assert_closed();
}

#[test]
fn a_late_call_is_a_call_for_passive_health_all_the_same() {
    let called = Called::new();
    let hung = called.states[0].begins();
    called.open();
    called.close();
    assert!(!called.states[0].is_ejected());
    called.end(hung, Outcome::Failed, 30);
    assert!(called.states[0].is_ejected());
    called.assert_closed();
}
