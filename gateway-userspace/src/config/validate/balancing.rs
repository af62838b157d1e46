//! How an upstream's requests are spread, how much may be under way, and what takes endpoints out: `balancer`, `hash`,
//! `limits`, `circuit_breaker`, `outlier`.

use http::HeaderName;

use crate::balance::{Balancer, Hashing, LOAD_MAX_PER_CENT, RosterTerms, Zones};
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::precedence::{time, time_or_none};
use crate::config::problem::Problems;
use crate::config::snapshot::{self, HashAlgorithm, HashBy};
use crate::registry::GuardSettings;
use crate::resilience::limits::{Limit, Limits, Maxima, UNLIMITED};
use crate::resilience::{breaker, outliers};

/// The balancer, and what it goes by.
pub fn balancer(given: &given::Upstream, path: &KeyPath, problems: &mut Problems<'_>) -> (Balancer, HashBy) {
    let named = given.balancer.unwrap_or(snapshot::Balancer::RoundRobin);
    let hash = given.hash.as_ref();
    let hashing = hash.map_or(Hashing::Maglev, hashing);
    let balancer = match named {
        snapshot::Balancer::RoundRobin => Balancer::RoundRobin,
        snapshot::Balancer::Random => Balancer::Random,
        snapshot::Balancer::LeastRequests => Balancer::LeastRequests,
        snapshot::Balancer::TwoChoices => Balancer::TwoChoices,
        snapshot::Balancer::PeakEwma => Balancer::PeakEwma,
        snapshot::Balancer::IpHash => Balancer::IpHash(hashing),
        snapshot::Balancer::ConsistentHash => Balancer::ConsistentHash(hashing),
    };
    let path = path.key("hash");
    if let Some(hash) = hash
        && hash.load_factor.is_some()
        && hash.algorithm != Some(HashAlgorithm::Ring)
    {
        let remedy = "add algorithm = \"ring\", or remove it";
        problems.add(&path.key("load_factor"), "only a ring is bounded", remedy);
    }
    let by = match (balancer, hash) {
        (Balancer::ConsistentHash(_), Some(hash)) => hash_by(hash, &path, problems),
        (Balancer::ConsistentHash(_), None) => {
            if !problems.is_known_below(&path) {
                let remedy = "add hash = { header = \"x-tenant\" }, or another balancer";
                problems.add(&path, "consistent-hash needs what to go by", remedy);
            }
            HashBy::Nothing
        }
        (Balancer::IpHash(_), hash) => {
            if let Some(key) = hash.and_then(|hash| keys(hash).into_iter().next()) {
                let remedy = "remove it, or write balancer = \"consistent-hash\"";
                problems.add(&path.key(key), "ip-hash goes by the client's address", remedy);
            }
            HashBy::Client
        }
        (_, Some(_)) => {
            let remedy = "remove it, or write balancer = \"consistent-hash\"";
            problems.add(&path, "the balancer does not hash", remedy);
            HashBy::Nothing
        }
        (_, None) => HashBy::Nothing,
    };
    (balancer, by)
}

fn hashing(hash: &given::Hash) -> Hashing {
    match hash.algorithm {
        Some(HashAlgorithm::Ring) => Hashing::Ring {
            load_max_per_cent: hash
                .load_factor
                .map_or(LOAD_MAX_PER_CENT, |factor| (factor * 100.0).round() as u16),
        },
        _ => Hashing::Maglev,
    }
}

/// The keys of the table that say what a request is told apart by.
fn keys(hash: &given::Hash) -> Vec<&'static str> {
    [
        ("header", hash.header.is_some()),
        ("cookie", hash.cookie.is_some()),
        ("query", hash.query.is_some()),
        ("path", hash.path == Some(true)),
        ("client", hash.client == Some(true)),
    ]
    .into_iter()
    .filter_map(|(key, is_given)| is_given.then_some(key))
    .collect()
}

/// What a request is told apart by: exactly one of the keys.
pub fn hash_by(hash: &given::Hash, path: &KeyPath, problems: &mut Problems<'_>) -> HashBy {
    match keys(hash).as_slice() {
        [_] => {}
        [] => {
            if !problems.is_known_below(path) {
                let remedy = "add one of header, cookie, query, path = true and client = true";
                problems.add(path, "it does not say what to go by", remedy);
            }
            return HashBy::Nothing;
        }
        [first, second, ..] => {
            let fault = format!("{first} is given already");
            problems.add(
                &path.key(second),
                fault,
                format!("keep one of {first} and {second}"),
            );
            return HashBy::Nothing;
        }
    }
    let is_token = |text: &str| HeaderName::from_bytes(text.as_bytes()).is_ok();
    if let Some(name) = &hash.header {
        return match HeaderName::from_lowercase(name.as_bytes()) {
            Ok(name) => HashBy::Header(name),
            Err(_) => {
                let fault = format!("\"{name}\" is no name of a header field in lower case");
                problems.add(&path.key("header"), fault, "write it as in \"x-tenant\"");
                HashBy::Nothing
            }
        };
    }
    if let Some(name) = &hash.cookie {
        if !is_token(name) {
            let fault = format!("\"{name}\" is no name of a cookie");
            problems.add(&path.key("cookie"), fault, "write it as in \"session\"");
        }
        return HashBy::Cookie(name.clone());
    }
    match &hash.query {
        Some(name) if name.is_empty() || name.contains(['=', '&', '#']) => {
            let fault = format!("\"{name}\" is no name of a query parameter");
            problems.add(&path.key("query"), fault, "write it as in \"user\"");
            HashBy::Nothing
        }
        Some(name) => HashBy::Query(name.clone()),
        None if hash.path == Some(true) => HashBy::Path,
        None => HashBy::Client,
    }
}

/// How priorities, zones and panic work.
pub fn terms(
    given: &given::Upstream,
    zone: Option<&String>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> RosterTerms {
    let prefers = given.prefer_zone == Some(true);
    if prefers && zone.is_none() {
        let remedy = "add zone to [node], or remove it";
        problems.add(&path.key("prefer_zone"), "this node has no zone", remedy);
    }
    RosterTerms {
        zones: if prefers { Zones::LocalFirst } else { Zones::Equal },
        // Where none is left all are used, whatever the threshold: 1 per cent says that.
        panic_below_per_cent: given
            .panic_threshold
            .map_or(1, |share| (share * 100.0).round().max(1.0) as u8),
        ..RosterTerms::default()
    }
}

/// What takes endpoints out, and the whole.
pub fn guards(given: &given::Upstream, path: &KeyPath, problems: &mut Problems<'_>) -> GuardSettings {
    GuardSettings {
        breaker: given
            .circuit_breaker
            .as_ref()
            .map(|given| breaker(given, &path.key("circuit_breaker"), problems)),
        outliers: given
            .outlier
            .as_ref()
            .map(|given| outlier(given, &path.key("outlier"), problems)),
    }
}

/// How much may be under way at it, and at each of its endpoints.
pub fn under_way(
    given: Option<&given::UpstreamLimits>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Limits {
    let Some(given) = given else {
        return Limits::default();
    };
    let whole = Maxima {
        connections: given.connections.unwrap_or(UNLIMITED),
        pending: given.pending.unwrap_or(limits::PENDING),
        requests: given.requests.unwrap_or(UNLIMITED),
        retries: given.retries.unwrap_or(UNLIMITED),
    };
    let own = given.endpoint.as_ref();
    let endpoint = Maxima {
        connections: own.and_then(|own| own.connections).unwrap_or(UNLIMITED),
        pending: own.and_then(|own| own.pending).unwrap_or(limits::PENDING),
        requests: own.and_then(|own| own.requests).unwrap_or(UNLIMITED),
        retries: own.and_then(|own| own.retries).unwrap_or(UNLIMITED),
    };
    let of_endpoint = path.key("endpoint");
    for limit in Limit::ALL {
        let (one, all) = (endpoint.of(limit), whole.of(limit));
        let is_given = one != Maxima::default().of(limit) && all != Maxima::default().of(limit);
        if is_given && one > all {
            let fault = "is more than all of the upstream may have";
            let remedy = format!("write {all} or less here, or a higher limit for the upstream");
            problems.add(&of_endpoint.key(limit.name()), fault, remedy);
        }
    }
    let bounded = Limits { whole, endpoint };
    let asks = given.pending.is_some() || own.is_some_and(|own| own.pending.is_some());
    if asks && !bounded.bounds_connections() {
        let at = match given.pending {
            Some(_) => path.key("pending"),
            None => of_endpoint.key("pending"),
        };
        let fault = "nobody waits where connections have no limit";
        problems.add(&at, fault, "add connections, or remove it");
    }
    bounded
}

fn breaker(given: &given::CircuitBreaker, path: &KeyPath, problems: &mut Problems<'_>) -> breaker::Settings {
    let slow_call = time_or_none(given.slow_call, None);
    if given.slow_ratio.is_some() && slow_call.is_none() {
        let remedy = "add slow_call, or remove it";
        problems.add(&path.key("slow_ratio"), "nothing says what is slow", remedy);
    }
    let settings = breaker::Settings {
        failure_ratio: given.failure_ratio.unwrap_or(limits::BREAKER_FAILURE_RATIO),
        slow_ratio: slow_call.map(|_| given.slow_ratio.unwrap_or(limits::BREAKER_SLOW_RATIO)),
        window: time(given.window, limits::BREAKER_WINDOW),
        min_calls: given.min_calls.unwrap_or(limits::BREAKER_MIN_CALLS),
        open_for: time(given.open_for, limits::BREAKER_OPEN_FOR),
        open_for_max: time(given.open_for_max, limits::BREAKER_OPEN_FOR_MAX),
        half_open_calls: given.half_open_calls.unwrap_or(limits::BREAKER_TRIALS),
        trial_timeout: limits::BREAKER_TRIAL_TIMEOUT,
        ramp: time(given.ramp, limits::BREAKER_RAMP),
    };
    if settings.open_for > settings.open_for_max {
        let remedy = "write a shorter time here, or a longer one for open_for_max";
        problems.add(&path.key("open_for"), "is longer than open_for_max", remedy);
    }
    settings
}

fn outlier(given: &given::Outlier, path: &KeyPath, problems: &mut Problems<'_>) -> outliers::Settings {
    let min_calls = given.min_calls.unwrap_or(limits::OUTLIER_MIN_CALLS);
    let by_rate = given.success_rate.unwrap_or(true);
    let settings = outliers::Settings {
        consecutive_failures: match given.consecutive_failures.unwrap_or(limits::OUTLIER_CONSECUTIVE) {
            0 => None,
            count => Some(count),
        },
        failure_ratio: given.failure_ratio.map(|ratio| outliers::FailureRatio {
            ratio,
            min_calls,
            // Envoy asks for five; who writes a ratio means each endpoint.
            min_endpoints: 1,
        }),
        success_rate: by_rate.then(|| outliers::SuccessRate {
            min_calls,
            ..outliers::SuccessRate::default()
        }),
        behind_others: by_rate.then(|| outliers::BehindOthers {
            min_calls,
            ..outliers::BehindOthers::default()
        }),
        interval: time(given.interval, limits::BREAKER_WINDOW),
        base_ejection: time(given.base_ejection, limits::OUTLIER_EJECTION),
        max_ejection: time(given.max_ejection, limits::OUTLIER_EJECTION_MAX),
        max_ejected_share: given.max_ejected_share.unwrap_or(limits::OUTLIER_SHARE_MAX),
    };
    if settings.base_ejection > settings.max_ejection {
        let remedy = "write a shorter time here, or a longer one for max_ejection";
        problems.add(&path.key("base_ejection"), "is longer than max_ejection", remedy);
    }
    if settings.consecutive_failures.is_none() && settings.failure_ratio.is_none() && !by_rate {
        let remedy = "remove the table, or leave one of its rules on";
        problems.add(path, "all of its rules are off", remedy);
    }
    settings
}
