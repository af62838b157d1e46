//! What a snapshot takes from outside the file: what host names resolve to, and which endpoints have registered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The addresses of host names, as far as they are known, and the endpoints that came by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// One more with each change; 0: nothing is known yet.
    pub number: u64,
    /// Sorted, distinct, not empty; a name that has no answer yet is absent.
    pub by_name: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// By upstream, the endpoints that registered by the admin API and their weights.
    pub registered: BTreeMap<String, BTreeMap<SocketAddr, u32>>,
}

impl Answers {
    /// The addresses of a name; empty where none is known.
    pub fn of(&self, host: &str) -> &[IpAddr] {
        self.by_name.get(host).map_or(&[], Vec::as_slice)
    }
}
