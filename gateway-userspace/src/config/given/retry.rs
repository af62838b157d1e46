//! `retry` and `fallback` as given: what is done where an upstream fails.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Respond, Time, limits, time_text};

/// When a request is sent again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Further tries after the first; 0: none, whatever happens.
    #[schemars(range(min = 0, max = limits::RETRY_ATTEMPTS_MAX), extend("default" = limits::RETRY_ATTEMPTS))]
    pub attempts: Option<u32>,
    /// After which outcomes: `connect-failure` (nothing was sent), `reset` (no answer came), `timeout` (`try_timeout`),
    /// `bad-answer`, a status (`503`), a range of them (`502-504`), a gRPC code (`grpc-unavailable`).
    #[schemars(
        length(max = limits::OUTCOMES_MAX),
        extend("default" = limits::RETRY_ON_WORDS, "examples" = [["connect-failure", "reset", "502-504"]])
    )]
    pub on: Option<Vec<String>>,
    /// Before a further try: a random time up to this, doubled with each; `0s`: at once, for servers that answer faster
    /// than a timer. Where nothing was sent and another endpoint is left, that is asked at once in any case.
    #[schemars(extend(
        "default" = time_text(limits::RETRY_BACKOFF),
        "x-range" = [time_text(limits::RETRY_BACKOFF_MIN), time_text(limits::RETRY_BACKOFF_MAX_MAX)]
    ))]
    pub backoff: Option<Time>,
    /// The longest of these.
    #[schemars(extend(
        "default" = time_text(limits::RETRY_BACKOFF_MAX),
        "x-range" = [time_text(limits::RETRY_BACKOFF_MIN), time_text(limits::RETRY_BACKOFF_MAX_MAX)]
    ))]
    pub backoff_max: Option<Time>,
    /// The longest `Retry-After` that is waited for; an answer that asks for more time goes to the client. `0s`: each
    /// that asks for any.
    #[schemars(extend(
        "default" = time_text(limits::RETRY_AFTER_MAX),
        "x-range" = [time_text(limits::RETRY_BACKOFF_MIN), time_text(limits::RETRY_BACKOFF_MAX_MAX)]
    ))]
    pub retry_after_max: Option<Time>,
}

/// What is done where an upstream fails. Exactly one of both.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Name of another upstream. It may speak another protocol than the first; upgrades are asked of those of the same.
    #[schemars(extend("examples" = ["users-backup"]))]
    pub upstream: Option<String>,
    /// An answer; it comes last.
    pub respond: Option<Respond>,
}
