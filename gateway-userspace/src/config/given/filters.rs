//! `route.filters` and `listener.filters` as given.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits;

/// A step on a request's way, and on its answer's way back. Beside `name` it has exactly one key, which says what it does.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Filter {
    /// Unique in its route or listener. What a filter remembers belongs to this name, and outlives edits of all else.
    #[schemars(extend("examples" = ["per-client"]))]
    pub name: Option<String>,
    /// Removes, sets and adds fields.
    pub headers: Option<HeadersFilter>,
}

/// Removes, sets and adds fields.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersFilter {
    /// What is done to the fields that endpoints get.
    pub request: Option<HeaderEdit>,
    /// What is done to the fields that clients get, of our own answers, too.
    pub response: Option<HeaderEdit>,
}

/// What is done to the fields of one head, in the order `remove`, `set`, `add`. Names are in lower case; what frames a
/// message, speaks of one hop, or is the gateway's own word cannot be changed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdit {
    /// Fields that go, all of each name.
    #[schemars(length(min = 1, max = limits::FILTER_FIELDS_MAX), extend("examples" = [["x-debug"]]))]
    pub remove: Option<Vec<String>>,
    /// Fields with a value that takes the place of what is there.
    #[schemars(extend("examples" = [{ "x-tenant": "blue" }]))]
    pub set: Option<BTreeMap<String, String>>,
    /// Fields that are added to what is there.
    #[schemars(extend("examples" = [{ "cache-control": "no-store" }]))]
    pub add: Option<BTreeMap<String, String>>,
}
