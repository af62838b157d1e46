//! What host names resolve to: the one thing that a snapshot takes from outside the file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses of host names, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// One more with each change; 0: nothing is known yet.
    pub number: u64,
    /// Sorted, distinct, not empty; a name that has no answer yet is absent.
    pub by_name: BTreeMap<Arc<str>, Vec<IpAddr>>,
}

impl Answers {
    /// The addresses of a name; empty where none is known.
    pub fn of(&self, host: &str) -> &[IpAddr] {
        self.by_name.get(host).map_or(&[], Vec::as_slice)
    }
}
