//! What a snapshot takes from outside the file: what host names resolve to, and which endpoints have registered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::metadata::Metadata;

/// The addresses of host names, as far as they are known, and the endpoints that came by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// One more with each change; 0: nothing is known yet.
    pub number: u64,
    /// Sorted, distinct, not empty; a name that has no answer yet is absent.
    pub by_name: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// By upstream, the endpoints that registered by the admin API.
    pub registered: BTreeMap<String, BTreeMap<SocketAddr, Registered>>,
}

/// What an endpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// 0 to 1000; 0: no new requests.
    pub weight: u32,
    /// For subsets.
    pub metadata: Arc<Metadata>,
}

impl Answers {
    /// The addresses of a name; empty where none is known.
    pub fn of(&self, host: &str) -> &[IpAddr] {
        self.by_name.get(host).map_or(&[], Vec::as_slice)
    }
}
