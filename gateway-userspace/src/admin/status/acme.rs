//! Certificates that are had by ACME, as the admin API tells of them.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::acme::Shown;

/// A certificate and its orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeCertificate {
    /// What it is for.
    pub names: Vec<String>,
    /// The listeners that have it.
    pub listeners: Vec<String>,
    /// Where it is kept.
    pub cert_file: PathBuf,
    /// Until when it is valid, in UTC (RFC 3339); absent: there is none that can be used.
    pub valid_until: Option<String>,
    /// When it is ordered next at the earliest, in UTC (RFC 3339); absent: an order is under way, or nobody has looked yet.
    pub next_order: Option<String>,
    /// Why then.
    pub next_order_because: Option<String>,
    /// How the last order since the start ended.
    pub last_order: Option<AcmeOrder>,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeOrder {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// `issued` or `failed`.
    pub outcome: String,
    /// What is to be said of it: of a failure the reason.
    pub why: String,
}

/// What is had, as the issuer shows it.
pub fn acme(shown: &[Shown]) -> Vec<AcmeCertificate> {
    let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
    let one = |shown: &Shown| AcmeCertificate {
        names: shown.wanted.names.clone(),
        listeners: shown.wanted.listeners.clone(),
        cert_file: shown.wanted.cert_file.clone(),
        valid_until: shown.until.map(time),
        next_order: shown.next.as_ref().map(|(at, _)| time(*at)),
        next_order_because: shown.next.as_ref().map(|(_, why)| why.clone()),
        last_order: shown.last.as_ref().map(|(outcome, at, why)| AcmeOrder {
            at: time(*at),
            outcome: outcome.word().to_owned(),
            why: why.clone(),
        }),
    };
    shown.iter().map(one).collect()
}
