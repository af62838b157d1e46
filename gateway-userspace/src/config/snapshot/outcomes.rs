//! Outcomes of a try, as `route.retry.on` and `route.fallback_on` list them; and what holds for retries.

use std::time::Duration;

use http::StatusCode;

use crate::config::limits;

/// Statuses that may be listed: those that say of themselves that something failed.
const STATUS_MIN: u16 = 400;
const STATUS_MAX: u16 = 599;
const STATUSES: usize = (STATUS_MAX - STATUS_MIN) as usize + 1;

/// Names of the gRPC codes, by their number. Source: the gRPC document "statuscodes".
const GRPC_CODES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// How a try ended without a head that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or one that was lost before anything was sent.
    Connect,
    /// The connection was closed or reset after the request was sent, before an answer.
    Reset,
    /// No answer in time.
    Timeout,
    /// An answer that cannot be read.
    BadAnswer,
    /// Nobody may be asked: no endpoint, an open breaker, a limit.
    Unavailable,
}

/// Every failure, with the name that it has in the file.
const FAILURES: [(Failure, &str); 5] = [
    (Failure::Connect, "connect-failure"),
    (Failure::Reset, "reset"),
    (Failure::Timeout, "timeout"),
    (Failure::BadAnswer, "bad-answer"),
    (Failure::Unavailable, "unavailable"),
];

/// A set of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes {
    failures: [Listed; FAILURES.len()],
    statuses: [Listed; STATUSES],
    grpc: [Listed; GRPC_CODES.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    No,
    Yes,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            failures: [Listed::No; FAILURES.len()],
            statuses: [Listed::No; STATUSES],
            grpc: [Listed::No; GRPC_CODES.len()],
        }
    }
}

impl Outcomes {
    /// Those failures.
    pub fn of(failures: &[Failure]) -> Self {
        let mut outcomes = Self::default();
        for failure in failures {
            outcomes.list(*failure);
        }
        outcomes
    }

    fn list(&mut self, failure: Failure) {
        for ((known, _), listed) in FAILURES.iter().zip(&mut self.failures) {
            if *known == failure {
                *listed = Listed::Yes;
            }
        }
    }

    /// Adds what a word of the file stands for: a failure's name, a status (`503`) or a range of them (`502-504`), a gRPC
    /// code (`grpc-unavailable`).
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn add(&mut self, word: &str) -> Result<(), (String, String)> {
        if let Some((failure, _)) = FAILURES.iter().find(|(_, name)| *name == word) {
            self.list(*failure);
            return Ok(());
        }
        if let Some(name) = word.strip_prefix("grpc-") {
            let mut codes = GRPC_CODES.iter().zip(&mut self.grpc).skip(1);
            if let Some((_, listed)) = codes.find(|(code, _)| **code == name) {
                *listed = Listed::Yes;
                return Ok(());
            }
            let fault = format!("\"{word}\" is no gRPC code that says that a call failed");
            return Err((fault, "write it as in \"grpc-unavailable\"".to_owned()));
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let status = |text: &str| {
            let is_plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            let status: u16 = text.parse().ok().filter(|_| is_plain)?;
            (STATUS_MIN..=STATUS_MAX)
                .contains(&status)
                .then(|| usize::from(status - STATUS_MIN))
        };
        let (Some(first), Some(last)) = (status(first), status(last)) else {
            let names: Vec<_> = FAILURES.iter().map(|(_, name)| format!("\"{name}\"")).collect();
            let remedy = format!(
                "write one of {}, a status from {STATUS_MIN} to {STATUS_MAX}, a range as in \"502-504\", or a gRPC code as in \"grpc-unavailable\"",
                names.join(", ")
            );
            return Err((format!("\"{word}\" is no outcome of a request"), remedy));
        };
        let Some(range) = self.statuses.get_mut(first..=last) else {
            let remedy = "write the lower status first, as in \"502-504\"".to_owned();
            return Err((format!("\"{word}\" is an empty range"), remedy));
        };
        range.fill(Listed::Yes);
        Ok(())
    }

    /// Whether that failure is among them.
    pub fn has(&self, failure: Failure) -> bool {
        let mut listed = FAILURES.iter().zip(&self.failures);
        listed.any(|((known, _), listed)| *known == failure && *listed == Listed::Yes)
    }

    /// Whether an answer with that status is among them.
    pub fn has_status(&self, status: StatusCode) -> bool {
        let index = status.as_u16().checked_sub(STATUS_MIN).map(usize::from);
        index.and_then(|index| self.statuses.get(index)) == Some(&Listed::Yes)
    }

    /// Whether a gRPC answer with that code is among them.
    pub fn has_grpc(&self, code: u16) -> bool {
        self.grpc.get(usize::from(code)) == Some(&Listed::Yes)
    }

    /// Whether any gRPC code is among them: then calls are sent again, though they are POST.
    pub fn has_any_grpc(&self) -> bool {
        self.grpc.contains(&Listed::Yes)
    }

    /// Whether something is among them that comes only after the request was sent.
    pub fn has_any_after_sending(&self) -> bool {
        let sent = [Failure::Reset, Failure::Timeout, Failure::BadAnswer];
        sent.iter().any(|failure| self.has(*failure))
            || self.statuses.contains(&Listed::Yes)
            || self.has_any_grpc()
    }
}

/// `upstream.retry_budget`: retries that may be under way on this node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Share of the requests under way, 0 to 1.
    pub share: f64,
    /// So many in any case.
    pub min: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            share: limits::RETRY_SHARE,
            min: limits::RETRY_MIN,
        }
    }
}

/// `retry`: when a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Further tries after the first.
    pub attempts: u32,
    /// After which outcomes.
    pub on: Outcomes,
    /// The first back-off is at most so long; each further one at most twice the last.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_max: Duration,
    /// The longest `Retry-After` that is waited for; an answer that asks for more goes to the client.
    pub retry_after_max: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: limits::RETRY_ATTEMPTS,
            on: Outcomes::of(&limits::RETRY_ON),
            backoff: limits::RETRY_BACKOFF,
            backoff_max: limits::RETRY_BACKOFF_MAX,
            retry_after_max: limits::RETRY_AFTER_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_outcomes() {
        let mut outcomes = Outcomes::default();
        for word in ["connect-failure", "429", "502-504", "grpc-unavailable"] {
            outcomes.add(word).unwrap();
        }
        assert!(outcomes.has(Failure::Connect) && !outcomes.has(Failure::Reset));
        let listed = |status| outcomes.has_status(StatusCode::from_u16(status).unwrap());
        let rows = [
            (200, false),
            (400, false),
            (429, true),
            (500, false),
            (502, true),
            (503, true),
        ];
        for (status, expected) in rows.into_iter().chain([(504, true), (505, false), (599, false)]) {
            assert_eq!(listed(status), expected, "{status}");
        }
        assert!(outcomes.has_grpc(14) && !outcomes.has_grpc(13) && !outcomes.has_grpc(99));
        assert!(outcomes.has_any_after_sending());
        assert!(!Outcomes::of(&[Failure::Connect, Failure::Unavailable]).has_any_after_sending());
    }

    #[test]
    fn other_words_are_named_with_what_to_write() {
        let rows = [
            ("5xx", "no outcome"),
            ("", "no outcome"),
            ("200", "no outcome"),
            ("600", "no outcome"),
            ("+50", "no outcome"),
            ("504-502", "empty range"),
            ("502-", "no outcome"),
            ("grpc-ok", "no gRPC code"),
            ("grpc-14", "no gRPC code"),
        ];
        for (word, fault) in rows {
            let (told, remedy) = Outcomes::default().add(word).unwrap_err();
            assert!(told.contains(fault), "{word}: {told}");
            assert!(remedy.starts_with("write "), "{word}: {remedy}");
        }
    }
}
