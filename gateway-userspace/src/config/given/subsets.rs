//! `upstream.subsets` as given: parts of an upstream's endpoints, and who chooses among them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits;

/// A part of an upstream's endpoints, with balancing, priorities, zones and panic of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "match"]))]
pub struct Subset {
    /// Unique in its upstream; what `subset` of routes refers to.
    #[schemars(extend("examples" = ["canary"]))]
    pub name: Option<String>,
    /// Its endpoints are those whose `metadata` have all of this.
    #[serde(rename = "match")]
    #[schemars(extend("examples" = [{ "version": "v2" }]))]
    pub matching: Option<BTreeMap<String, String>>,
}

/// A request header that chooses the subset, where the route does not.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["header", "metadata"]))]
pub struct SubsetBy {
    /// The header field, in lower case. Clients may write what they like into it.
    #[schemars(extend("examples" = ["x-version"]))]
    pub header: Option<String>,
    /// The subset is chosen whose `match` has this name with the header's value, and nothing else.
    #[schemars(extend("examples" = ["version"]))]
    pub metadata: Option<String>,
}

const _: () = assert!(limits::SUBSETS_MAX <= u16::MAX as usize);
