//! Filters from their settings.

use std::sync::Arc;

use crate::filters::{Filter, FilterSettings, NamedFilter, Settings};

/// Those of one route or listener.
pub(crate) fn filters(all: &[FilterSettings]) -> Vec<Arc<NamedFilter>> {
    let one = |settings: &FilterSettings| {
        let filter = match &settings.kind {
            Settings::Headers(headers) => Filter::Headers(headers.clone()),
        };
        Arc::new(NamedFilter {
            name: settings.name.clone(),
            filter,
        })
    };
    all.iter().map(one).collect()
}
