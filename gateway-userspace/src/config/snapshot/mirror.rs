//! `route.mirror`: where copies of a route's requests go.

use std::sync::Arc;

use super::{Odds, Upstream};

/// Where copies go, and how many.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Who gets them.
    pub upstream: Arc<Upstream>,
    /// Of how many requests.
    pub odds: Odds,
    /// Copies under way at that upstream at most, on this node.
    pub requests_max: u32,
}
