//! Outcomes of a try, as `route.retry.on` and `route.fallback_on` list them; and what holds for retries.

use http::StatusCode;

use crate::config::limits;
use crate::resilience::backoff::Backoff;

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

/// A set of outcomes: a bit for each. Every route has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// By their place in [`FAILURES`].
    failures: u8,
    /// By how far they are above [`STATUS_MIN`].
    statuses: [u64; STATUSES.div_ceil(u64::BITS as usize)],
    /// By their code.
    grpc: u32,
}

const _: () = assert!(FAILURES.len() <= u8::BITS as usize && GRPC_CODES.len() <= u32::BITS as usize);

/// Where a status has its bit: which word, and the bit in it.
fn bit(status: u16) -> Option<(usize, u64)> {
    let index = status.checked_sub(STATUS_MIN).map(usize::from)?;
    let words = u64::BITS as usize;
    (index < STATUSES).then(|| (index / words, 1 << (index % words)))
}

/// The bit of a failure.
fn failure_bit(failure: Failure) -> u8 {
    let at = FAILURES.iter().position(|(known, _)| *known == failure);
    at.map_or(0, |at| 1 << at)
}

impl Outcomes {
    /// Those failures.
    pub fn of(failures: &[Failure]) -> Self {
        let mut outcomes = Self::default();
        for failure in failures {
            outcomes.failures |= failure_bit(*failure);
        }
        outcomes
    }

    /// Adds what a word of the file stands for: a failure's name, a status (`503`) or a range of them (`502-504`), a gRPC
    /// code (`grpc-unavailable`).
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn add(&mut self, word: &str) -> Result<(), (String, String)> {
        if let Some((failure, _)) = FAILURES.iter().find(|(_, name)| *name == word) {
            self.failures |= failure_bit(*failure);
            return Ok(());
        }
        if let Some(name) = word.strip_prefix("grpc-") {
            let code = GRPC_CODES.iter().skip(1).position(|code| *code == name);
            if let Some(before) = code {
                self.grpc |= 1 << (before + 1);
                return Ok(());
            }
            let fault = format!("\"{word}\" is no gRPC code that says that a call failed");
            return Err((fault, "write it as in \"grpc-unavailable\"".to_owned()));
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let status = |text: &str| {
            let is_plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            let status: u16 = text.parse().ok().filter(|_| is_plain)?;
            (STATUS_MIN..=STATUS_MAX).contains(&status).then_some(status)
        };
        let (Some(first), Some(last)) = (status(first), status(last)) else {
            let names: Vec<_> = FAILURES.iter().map(|(_, name)| format!("\"{name}\"")).collect();
            let remedy = format!(
                "write one of {}, a status from {STATUS_MIN} to {STATUS_MAX}, a range as in \"502-504\", or a gRPC code as in \"grpc-unavailable\"",
                names.join(", ")
            );
            return Err((format!("\"{word}\" is no outcome of a request"), remedy));
        };
        if first > last {
            let remedy = "write the lower status first, as in \"502-504\"".to_owned();
            return Err((format!("\"{word}\" is an empty range"), remedy));
        }
        for (word, bit) in (first..=last).filter_map(bit) {
            if let Some(word) = self.statuses.get_mut(word) {
                *word |= bit;
            }
        }
        Ok(())
    }

    /// Whether that failure is among them.
    pub fn has(&self, failure: Failure) -> bool {
        self.failures & failure_bit(failure) != 0
    }

    /// Whether an answer with that status is among them.
    pub fn has_status(&self, status: StatusCode) -> bool {
        bit(status.as_u16())
            .and_then(|(word, bit)| Some(self.statuses.get(word)? & bit))
            .is_some_and(|listed| listed != 0)
    }

    /// Whether a gRPC answer with that code is among them.
    pub fn has_grpc(&self, code: u16) -> bool {
        self.grpc.checked_shr(u32::from(code)).unwrap_or_default() & 1 != 0
    }

    /// Whether any gRPC code is among them: then calls are sent again, though they are POST.
    pub fn has_any_grpc(&self) -> bool {
        self.grpc != 0
    }

    /// Whether something is among them that comes only after the request was sent.
    pub fn has_any_after_sending(&self) -> bool {
        let sent = [Failure::Reset, Failure::Timeout, Failure::BadAnswer];
        sent.iter().any(|failure| self.has(*failure))
            || self.statuses.iter().any(|word| *word != 0)
            || self.has_any_grpc()
    }
}

/// `retry`: when a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Further tries after the first.
    pub attempts: u32,
    /// After which outcomes.
    pub on: Outcomes,
    /// How long to wait before.
    pub backoff: Backoff,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: limits::RETRY_ATTEMPTS,
            on: Outcomes::of(&limits::RETRY_ON),
            backoff: Backoff {
                base: limits::RETRY_BACKOFF,
                max: limits::RETRY_BACKOFF_MAX,
                retry_after_max: limits::RETRY_AFTER_MAX,
            },
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
