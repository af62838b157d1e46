//! Bounds of filters.

/// Filters of a route, or of a listener, at most: each is run for each request.
pub const FILTERS_MAX: usize = 16;
/// Fields that one `headers` filter removes, sets or adds at most, each.
pub const FILTER_FIELDS_MAX: usize = 32;
/// Characters of such a field's value: what goes into any server's head.
pub const FILTER_VALUE_CHARS_MAX: usize = 4_096;
