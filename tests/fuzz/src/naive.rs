//! The router's rules once more, as a search of a list: slow, and plain enough to be seen to be right.

use std::cmp::Reverse;

use http::Method;

use crate::gateway::router::{
    Condition, Conditions, Facts, HostPattern, Lookup, NameKind, PathPattern, RouteIndex, Slashes, Source, Test,
};

/// One pattern of a route.
#[derive(Debug)]
pub struct Route {
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; none: every one.
    pub methods: Vec<Method>,
    /// Which form of a path it sees.
    pub slashes: Slashes,
    /// What it asks of header fields and of the client's certificate: there, that value, or not there.
    pub conditions: Conditions,
    /// What is found.
    pub index: RouteIndex,
}

/// All routes, in the order they were added.
#[derive(Debug, Default)]
pub struct Naive(pub Vec<Route>);

/// How well a path fits, in the order of precedence: exact, segments of a prefix, parameters, and which segments are
/// parameters: of two with as many the one whose literals come first.
type Fit = (bool, usize, Reverse<usize>, Reverse<Vec<bool>>);

impl Naive {
    /// As `Router::find_either`, of a request with these fields, that certificate and nothing else.
    pub fn find(
        &self,
        host: &str,
        merged: &str,
        unmerged: Option<&str>,
        method: &Method,
        facts: &Facts<'_>,
    ) -> Lookup {
        let mut ranks: Vec<usize> = self
            .0
            .iter()
            .filter_map(|route| rank(&route.host, host))
            .collect();
        ranks.sort_unstable();
        ranks.dedup();
        let mut rejected = false;
        for rank_now in ranks.into_iter().rev() {
            let mut best_of = |slashes: Option<Slashes>, path: &str| {
                let of_form = |route: &&Route| slashes.is_none_or(|slashes| route.slashes == slashes);
                let here = self
                    .0
                    .iter()
                    .filter(|route| rank(&route.host, host) == Some(rank_now));
                let fitting = here
                    .filter(of_form)
                    .filter(|route| holds(&route.conditions, facts))
                    .filter_map(|route| Some((fit(&route.path, path)?, route)));
                fitting
                    .filter_map(|(fit, route)| {
                        let named = route.methods.contains(method);
                        rejected |= !named && !route.methods.is_empty();
                        let asks = asks(&route.conditions);
                        (named || route.methods.is_empty()).then_some((fit, (named, asks), route.index))
                    })
                    .max_by(|one, other| {
                        (&one.0, one.1, Reverse(one.2)).cmp(&(&other.0, other.1, Reverse(other.2)))
                    })
            };
            let best = match unmerged {
                None => best_of(None, merged),
                Some(unmerged) => {
                    let merged = best_of(Some(Slashes::Merged), merged);
                    let kept = best_of(Some(Slashes::Kept), unmerged);
                    // Between the forms it is not asked which segments are parameters.
                    let key =
                        |found: &(Fit, (bool, Asks), RouteIndex)| (found.0.0, found.0.1, found.0.2, found.1);
                    match (&merged, &kept) {
                        (Some(one), Some(other)) if key(one) > key(other) => merged,
                        (_, Some(_)) => kept,
                        _ => merged,
                    }
                }
            };
            if let Some((_, _, index)) = best {
                return Lookup::Found(index);
            }
        }
        if rejected {
            Lookup::MethodNotAllowed
        } else {
            Lookup::NotFound
        }
    }
}

/// How many fields a route asks for, and how much of a certificate: its subject, its names.
type Asks = (usize, usize);

fn asks(conditions: &Conditions) -> Asks {
    let subjects = conditions.fields.iter().filter(|field| field.source == Source::Subject);
    let subjects = subjects.count();
    let names = usize::from(!conditions.names.is_empty());
    (conditions.fields.len() - subjects, subjects + names)
}

fn holds(conditions: &Conditions, facts: &Facts<'_>) -> bool {
    conditions.fields.iter().all(|field| is_so(field, facts))
        && (conditions.names.is_empty() || conditions.names.iter().any(|name| is_so(name, facts)))
}

fn is_so(condition: &Condition, facts: &Facts<'_>) -> bool {
    let values: Vec<&[u8]> = match (&condition.source, facts.certificate) {
        (Source::Header(name), _) => {
            let values = facts.headers.get_all(name).iter();
            values.map(|value| value.as_bytes()).collect()
        }
        (Source::Subject, Some(certificate)) => vec![certificate.subject.as_bytes()],
        (Source::Name(kind), Some(certificate)) => {
            let names = match kind {
                NameKind::Dns => certificate.dns,
                NameKind::Uri => certificate.uris,
                NameKind::Email => certificate.emails,
            };
            names.iter().map(|name| name.as_bytes()).collect()
        }
        _ => Vec::new(),
    };
    match &condition.test {
        Test::Absent => values.is_empty(),
        Test::Exact(wanted) => values.contains(&wanted.as_bytes()),
        _ => !values.is_empty(),
    }
}

/// How special a pattern is for a host; `None`: it does not match.
fn rank(pattern: &HostPattern, host: &str) -> Option<usize> {
    match pattern {
        HostPattern::Any => Some(0),
        HostPattern::Exact(name) => (name == host).then_some(usize::MAX),
        HostPattern::Wildcard(suffix) => {
            let before = host.strip_suffix(suffix.as_str())?;
            before.ends_with('.').then_some(suffix.len() + 1)
        }
    }
}

fn fit(pattern: &PathPattern, path: &str) -> Option<Fit> {
    let (text, exact) = match pattern {
        PathPattern::Exact(text) => (text.as_str(), true),
        PathPattern::Prefix(text) => (text.strip_suffix('/').unwrap_or(text), false),
        PathPattern::Regex(_) => return None,
    };
    if path == "*" && text.is_empty() {
        return Some((false, 0, Reverse(0), Reverse(Vec::new())));
    }
    if !path.starts_with('/') {
        return None;
    }
    let (wanted, given): (Vec<&str>, Vec<&str>) = (text.split('/').collect(), path.split('/').collect());
    if wanted.len() > given.len() || (exact && wanted.len() != given.len()) {
        return None;
    }
    let is_parameter = |segment: &&str| segment.starts_with('{');
    let same = |(wanted, given): (&&str, &&str)| {
        if is_parameter(wanted) {
            !given.is_empty()
        } else {
            wanted == given
        }
    };
    if !wanted.iter().zip(&given).all(same) {
        return None;
    }
    let parameters = wanted.iter().filter(|segment| is_parameter(segment)).count();
    // Of exact patterns that match all have as many segments.
    let segments = if exact { 0 } else { wanted.len() };
    Some((
        exact,
        segments,
        Reverse(parameters),
        Reverse(wanted.iter().map(is_parameter).collect()),
    ))
}
