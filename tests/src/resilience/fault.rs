//! The faults of an upstream server.

use std::time::Duration;

use clap::ValueEnum;

use super::call::Asks;
use crate::servers::sick::Health;

/// How long a slow server takes: less than a try may, so that nothing has failed.
const SLOW: Duration = Duration::from_millis(200);

/// How long a server that dies and comes back is dead, and then well, and so on.
const DEAD_AND_BACK: Duration = Duration::from_secs(2);

/// What goes wrong with one of three servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Its connections end, and nobody listens.
    Refuses,
    /// It accepts, takes requests and never answers, checks neither.
    Hangs,
    /// It resets in the middle of each body. Checks pass.
    ResetsInBody,
    /// It answers after 200 ms. Checks pass.
    Slow,
    /// It answers 500 to three of ten. Checks pass.
    #[value(name = "500-at-30-percent")]
    Fails,
    /// It answers three of ten gRPC calls with code 14. Checks pass.
    #[value(name = "grpc-14-at-30-percent")]
    CallsFail,
    /// It says by turns more and less than there is of a body. Checks pass.
    Lies,
    /// It refuses for two seconds, is well for two, and so on.
    DiesAndComesBack,
    /// Its address is taken away: nobody answers, and nobody refuses.
    LosesAddress,
}

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its health changes.
    Health(Health),
    /// It dies.
    Die,
    /// It listens again.
    Revive,
    /// Its address is taken away.
    TakeAddress,
    /// It has its address again.
    GiveAddress,
}

impl Fault {
    /// What is done to the server, each with its time since the fault began; the last ends the fault, after `length`.
    pub fn deeds(self, length: Duration) -> Vec<(Duration, Deed)> {
        let (begin, end) = match self {
            Self::Refuses => (Deed::Die, Deed::Revive),
            Self::Hangs => (Deed::Health(Health::Hangs), Deed::Health(Health::Well)),
            Self::ResetsInBody => (Deed::Health(Health::Resets), Deed::Health(Health::Well)),
            Self::Slow => (Deed::Health(Health::Slow(SLOW)), Deed::Health(Health::Well)),
            Self::Fails => (Deed::Health(Health::FailsOften), Deed::Health(Health::Well)),
            Self::CallsFail => (
                Deed::Health(Health::CallsFailOften),
                Deed::Health(Health::CallsWell),
            ),
            Self::Lies => (Deed::Health(Health::Lies), Deed::Health(Health::Well)),
            Self::LosesAddress => (Deed::TakeAddress, Deed::GiveAddress),
            Self::DiesAndComesBack => return deaths(length),
        };
        vec![(Duration::ZERO, begin), (length, end)]
    }

    /// What clients ask for.
    pub fn asks(self) -> Asks {
        match self {
            Self::CallsFail => Asks::Call,
            _ => Asks::Get,
        }
    }

    /// How servers are that have no fault.
    pub fn well(self) -> Health {
        match self.asks() {
            Asks::Get => Health::Well,
            Asks::Call => Health::CallsWell,
        }
    }
}

/// Deaths and returns by turns; the last deed is a return.
fn deaths(length: Duration) -> Vec<(Duration, Deed)> {
    let mut deeds = Vec::new();
    let mut time = Duration::ZERO;
    while time < length {
        deeds.push((time, Deed::Die));
        deeds.push(((time + DEAD_AND_BACK).min(length), Deed::Revive));
        time += 2 * DEAD_AND_BACK;
    }
    deeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_begins_at_once_and_is_over_in_time() {
        for length in [1, 3, 10].map(Duration::from_secs) {
            for fault in Fault::value_variants() {
                let deeds = fault.deeds(length);
                assert_eq!(deeds.first().unwrap().0, Duration::ZERO, "{fault:?}");
                assert!(deeds.is_sorted_by_key(|(time, _)| *time), "{fault:?}");
                let (end, last) = *deeds.last().unwrap();
                assert!(end <= length, "{fault:?}");
                let mended = [Deed::Health(fault.well()), Deed::Revive, Deed::GiveAddress];
                assert!(mended.contains(&last), "{fault:?}: {last:?}");
            }
        }
    }

    #[test]
    fn who_dies_and_comes_back_does_so_every_four_seconds() {
        let seconds: Vec<_> = Fault::DiesAndComesBack
            .deeds(Duration::from_secs(9))
            .iter()
            .map(|(time, deed)| (time.as_secs(), *deed))
            .collect();
        let expected = [
            (0, Deed::Die),
            (2, Deed::Revive),
            (4, Deed::Die),
            (6, Deed::Revive),
            (8, Deed::Die),
            (9, Deed::Revive),
        ];
        assert_eq!(seconds, expected);
    }
}
