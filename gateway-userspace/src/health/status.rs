//! What the checks know, for people: plain data, of one moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Key;
use super::record::Record;
use crate::config::snapshot::Kind;
use crate::registry::Readiness;

/// What is known of each endpoint that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<Key, Vec<KindStatus>>);

/// What one kind of check knows of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindStatus {
    /// The kind.
    pub kind: Kind,
    /// What it says; a startup check that has neither passed nor failed says that it is unknown.
    pub state: Readiness,
    /// How long it has said so.
    pub age: Duration,
    /// Why it failed last, whenever that was.
    pub last_failure: Option<String>,
}

impl Known {
    pub(super) fn of<'r>(records: impl Iterator<Item = (&'r Key, &'r Record)>) -> Self {
        let now = Instant::now();
        let statuses = |record: &Record| {
            let kinds = record.kinds().into_iter().map(|(kind, known)| KindStatus {
                kind,
                state: known.state,
                age: now.saturating_duration_since(known.since),
                last_failure: known.failure.map(|failure| failure.text),
            });
            kinds.collect()
        };
        Self(
            records
                .map(|(key, record)| (key.clone(), statuses(record)))
                .collect(),
        )
    }

    /// What is known of one; empty where it is not watched.
    pub fn endpoint(&self, upstream: &str, address: SocketAddr) -> &[KindStatus] {
        let key = (upstream.to_owned(), address);
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }
}
