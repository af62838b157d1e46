//! When a certificate is ordered: pure.
//!
//! At once where there is none that serves, else when two thirds of its life are over, as authorities recommend, unless the
//! authority itself names a time (ARI, RFC 9773). After failures the wait doubles, so that an authority's limits hold:
//! Let's Encrypt takes five failed validations of a name in an hour, and with the default of 5 minutes there are four.

use std::time::{Duration, SystemTime};

use crate::tls::Facts;

/// A certificate is renewed when so much of its life is over.
const RENEWED_AT: f64 = 2.0 / 3.0;
/// Or earlier, by up to so much of its life: nodes that began together do not order together for ever.
const RENEWED_EARLIER: f64 = 1.0 / 30.0;
/// The wait after failures grows up to this: four tries a day, which no authority minds.
pub const RETRY_MAX: Duration = Duration::from_secs(6 * 3_600);
/// A wait is longer by up to this part of itself, by chance.
const RETRY_JITTER: f64 = 0.25;
/// What an authority may ask to wait for (`Retry-After`) at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Doublings that are computed; the bound is reached long before.
const DOUBLINGS_MAX: u32 = 30;

/// A number from 0 up to 1, without 1: what chance says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance(f64);

impl Chance {
    /// Any.
    pub fn random() -> Self {
        Self(rand::random())
    }

    #[cfg(test)]
    pub(super) const fn of(number: f64) -> Self {
        Self(number)
    }

    /// That part of a time.
    pub fn of_time(self, time: Duration) -> Duration {
        time.mul_f64(self.0)
    }
}

/// What is known of a certificate that is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its files are not there.
    Missing,
    /// They cannot be used, for that reason.
    Broken(String),
    /// It is there.
    Facts(Facts),
}

/// When a certificate is to be ordered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Not earlier; `None`: at once.
    pub at: Option<SystemTime>,
    /// For people.
    pub why: String,
}

impl Due {
    /// How long it is until then.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        let at = self.at.and_then(|at| at.duration_since(now).ok());
        at.unwrap_or_default()
    }
}

/// When a certificate with those names is to be ordered.
///
/// `suggested` is the time that the authority named for the one that is there.
pub fn due(
    found: &Found,
    names: &[String],
    suggested: Option<SystemTime>,
    chance: Chance,
    now: SystemTime,
) -> Due {
    let at_once = |why: String| Due { at: None, why };
    let facts = match found {
        Found::Missing => return at_once("there is none yet".to_owned()),
        Found::Broken(why) => return at_once(format!("the one that is there cannot be used: {why}")),
        Found::Facts(facts) => facts,
    };
    if let Some(name) = names.iter().find(|name| !facts.dns_names.contains(name)) {
        return at_once(format!("the one that is there is not for {name}"));
    }
    if let Err(fault) = facts.check(now) {
        return at_once(format!("the one that is there {fault}"));
    }
    let life = facts
        .not_after
        .duration_since(facts.not_before)
        .unwrap_or_default();
    let at = facts.not_before + life.mul_f64(RENEWED_AT) - chance.of_time(life.mul_f64(RENEWED_EARLIER));
    match suggested {
        Some(suggested) if suggested < facts.not_after => Due {
            at: Some(suggested),
            why: "it is the time that the authority named".to_owned(),
        },
        _ => Due {
            at: Some(at),
            why: "two thirds of its life are over".to_owned(),
        },
    }
}

/// How long to wait after so many failures in a row, the first being 1; the authority may have asked for more.
pub fn wait(failures: u32, first: Duration, asked: Option<Duration>, chance: Chance) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let wait = first.saturating_mul(1 << doublings).min(RETRY_MAX.max(first));
    let wait = wait + chance.of_time(wait.mul_f64(RETRY_JITTER));
    wait.max(asked.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::tls::testing::Authority;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(day: u32) -> SystemTime {
        UNIX_EPOCH + 20_000 * DAY + day * DAY
    }

    /// Of `a.example` and `www.a.example`, for 90 days.
    fn found() -> Found {
        let authority = Authority::new("root");
        let issued = authority.issue_for(&["a.example", "www.a.example"], at(0), at(90));
        let folder = crate::tls::testing::Folder::new();
        let (cert_file, key_file) = folder.pair("a", &issued);
        let pair = crate::tls::Pair::load(&cert_file, &key_file).unwrap();
        Found::Facts(Facts::clone(&pair.facts))
    }

    #[test]
    fn a_certificate_is_ordered_at_once_or_at_two_thirds_of_its_life() {
        let found = found();
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let own = names(&["a.example", "www.a.example"]);
        let rows = [
            (&Found::Missing, own.clone(), 1, None, "there is none yet"),
            (
                &Found::Broken("it holds nothing".to_owned()),
                own.clone(),
                1,
                None,
                "cannot be used: it holds nothing",
            ),
            (&found, own.clone(), 1, Some(at(60)), "two thirds"),
            (&found, names(&["a.example"]), 1, Some(at(60)), "two thirds"),
            (
                &found,
                names(&["a.example", "b.example"]),
                1,
                None,
                "is not for b.example",
            ),
            (&found, own.clone(), 59, Some(at(60)), "two thirds"),
            (&found, own.clone(), 89, Some(at(60)), "two thirds"),
            (&found, own.clone(), 91, None, "expired 1day ago"),
        ];
        for (found, names, day, expected, why) in rows {
            let due = due(found, &names, None, Chance::of(0.0), at(day));
            assert!(due.why.contains(why), "{due:?}");
            assert_eq!(due.at, expected, "{why} {day}");
        }
        let early = due(&found, &own, None, Chance::of(0.999_999), at(1)).at.unwrap();
        assert!(early > at(57) - DAY / 2 && early < at(57) + DAY / 2, "{early:?}");
    }

    #[test]
    fn the_authority_names_the_time_as_long_as_the_certificate_lives() {
        let (found, own) = (found(), vec!["a.example".to_owned()]);
        for (suggested, expected) in [(10, 10), (80, 80), (90, 60), (200, 60)] {
            let due = due(&found, &own, Some(at(suggested)), Chance::of(0.0), at(1));
            assert_eq!(due.at, Some(at(expected)), "{suggested}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_never_shorter() {
        let first = Duration::from_secs(300);
        let rows = [
            (1, 300),
            (2, 600),
            (3, 1_200),
            (4, 2_400),
            (5, 4_800),
            (7, 19_200),
            (8, 21_600),
            (1_000, 21_600),
            (u32::MAX, 21_600),
        ];
        for (failures, seconds) in rows {
            let expected = Duration::from_secs(seconds);
            assert_eq!(
                wait(failures, first, None, Chance::of(0.0)),
                expected,
                "{failures}"
            );
            let late = wait(failures, first, None, Chance::of(0.999));
            assert!(
                late > expected && late < expected.mul_f64(1.25),
                "{failures}: {late:?}"
            );
        }
        let asked = |seconds| Some(Duration::from_secs(seconds));
        let after = |seconds| wait(1, first, asked(seconds), Chance::of(0.0)).as_secs();
        assert_eq!([after(10), after(3_600), after(1_000_000)], [300, 3_600, 86_400]);
    }

    #[test]
    fn an_hour_sees_fewer_failures_than_lets_encrypt_takes() {
        let (mut time, mut tries) = (Duration::ZERO, 0);
        while time < Duration::from_secs(3_600) {
            tries += 1;
            time += wait(tries, Duration::from_secs(300), None, Chance::of(0.0));
        }
        assert_eq!(tries, 4);
    }
}
