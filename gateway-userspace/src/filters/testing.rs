//! Requests for tests of filters.

use http::request::Parts;

use super::{Asked, network};

/// A request from that client.
pub(crate) fn asked<'r>(head: &'r mut Parts, client: &str) -> Asked<'r> {
    let client = client.parse().unwrap();
    Asked {
        head,
        client,
        network: network(client),
        consumer: None,
        body_bytes_max: None,
    }
}
