//! Counters of the upstreams that share a route's requests.

use super::{CLASSES, Cell64};

/// One worker's counters of one upstream's share of a route that splits its requests.
#[derive(Debug, Default)]
pub(crate) struct ShareCounters {
    pub(in crate::l7) classes: [Cell64; CLASSES.len()],
}

impl ShareCounters {
    /// Counts a request that ended.
    pub(crate) fn count(&self, status: Option<u16>) {
        let class = status.map_or(0, |status| usize::from(status / 100));
        if let Some(cell) = self.classes.get(class) {
            cell.add(1);
        }
    }
}
