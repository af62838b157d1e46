//! Parts of an upstream's endpoints, by their metadata, and which of them a request may go to.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::balance::{Balancer, Intake, Member, Plan, RosterTerms};

/// `upstream.subset_fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetPolicy {
    /// Every endpoint of the upstream.
    Any,
    /// The subset that `subset_default` names, which also takes requests that choose none.
    Default,
    /// No endpoint: 503.
    None,
}

/// All of an upstream's.
#[derive(Clone, Debug, Default)]
pub struct Subsets {
    /// In the file's order.
    pub all: Vec<Subset>,
    /// The header that chooses one, where the route does not.
    pub by: Option<SubsetBy>,
    /// Who is asked where a subset has nobody, or there is no such subset.
    pub fallback: SubsetFallback,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Subset {
    /// Unique in its upstream.
    pub name: String,
    /// All of the upstream's, in their order; those of other subsets take no requests.
    pub members: Vec<Member>,
    /// The balancer's tables.
    pub plan: Arc<Plan>,
}

/// `upstream.subset_by`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetBy {
    /// The field.
    pub header: HeaderName,
    /// By its value, the subset.
    pub subsets: HashMap<String, usize>,
}

/// `upstream.subset_fallback`, resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubsetFallback {
    /// Every endpoint.
    #[default]
    Any,
    /// Those of that subset.
    Subset(usize),
    /// Nobody.
    None,
}

/// Whom of its upstream a request may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Every endpoint.
    #[default]
    Whole,
    /// Those of a subset.
    Subset(usize),
    /// No endpoint: it wants a subset that is not there.
    Nobody,
}

impl Subset {
    /// Of those members the ones at these indices, with tables of their own.
    pub fn new(
        name: &str,
        balancer: Balancer,
        members: &[Member],
        terms: &RosterTerms,
        is_in: impl Fn(usize) -> bool,
    ) -> Self {
        let member = |(index, member): (usize, &Member)| Member {
            intake: if is_in(index) { member.intake } else { Intake::None },
            ..*member
        };
        let members: Vec<Member> = members.iter().enumerate().map(member).collect();
        Self {
            name: name.to_owned(),
            plan: Arc::new(Plan::new(balancer, &members, terms)),
            members,
        }
    }
}

impl Subsets {
    /// What a request gets: the subset of its route, else that of its header, else what holds without a choice.
    pub fn choose(&self, route: Option<usize>, headers: &HeaderMap) -> Choice {
        if let Some(subset) = route {
            return Choice::Subset(subset);
        }
        let asked = self
            .by
            .as_ref()
            .and_then(|by| Some((by, headers.get(&by.header)?)));
        let Some((by, value)) = asked else {
            return match self.fallback {
                SubsetFallback::Subset(subset) => Choice::Subset(subset),
                SubsetFallback::Any | SubsetFallback::None => Choice::Whole,
            };
        };
        let found = value
            .to_str()
            .ok()
            .and_then(|value| by.subsets.get(value).copied());
        match (found, self.fallback) {
            (Some(subset), _) | (None, SubsetFallback::Subset(subset)) => Choice::Subset(subset),
            (None, SubsetFallback::Any) => Choice::Whole,
            (None, SubsetFallback::None) => Choice::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn route_chooses_before_header_and_header_before_policy() {
        use Choice::{Nobody, Subset, Whole};
        let by = SubsetBy {
            header: HeaderName::from_static("x-version"),
            subsets: HashMap::from([("v1".to_owned(), 0), ("v2".to_owned(), 1)]),
        };
        type Row = (Option<usize>, Option<&'static str>, [Choice; 3]);
        let rows: &[Row] = &[
            (None, None, [Whole, Subset(0), Whole]),
            (None, Some("v2"), [Subset(1); 3]),
            (None, Some("v3"), [Whole, Subset(0), Nobody]),
            (None, Some(""), [Whole, Subset(0), Nobody]),
            (Some(1), None, [Subset(1); 3]),
            (Some(0), Some("v2"), [Subset(0); 3]),
            (Some(0), Some("v3"), [Subset(0); 3]),
        ];
        let policies = [
            SubsetFallback::Any,
            SubsetFallback::Subset(0),
            SubsetFallback::None,
        ];
        for (route, value, expected) in rows {
            for (fallback, expected) in policies.into_iter().zip(*expected) {
                let subsets = Subsets {
                    all: Vec::new(),
                    by: Some(by.clone()),
                    fallback,
                };
                let mut headers = HeaderMap::new();
                if let Some(value) = value {
                    headers.insert("x-version", HeaderValue::from_static(value));
                }
                let chosen = subsets.choose(*route, &headers);
                assert_eq!(chosen, expected, "{route:?} {value:?} {fallback:?}");
            }
        }
        let none = Subsets::default();
        assert_eq!(none.choose(None, &HeaderMap::new()), Whole);
    }
}
