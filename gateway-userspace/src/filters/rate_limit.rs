//! `rate_limit`: how often a key may ask, by the generic cell rate algorithm.
//!
//! `governor` decides; what it remembers of keys is in [`Buckets`], which are bounded, shared by all workers, and
//! outlive edits of the figures. Sources: ITU-T I.371, annex A (GCRA); the fields are those of
//! draft-ietf-httpapi-ratelimit-headers-03; RFC 9110, section 10.2.3 (Retry-After).

mod buckets;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Asked, Denial, Mark, Step};
use crate::router::PathPattern;
use buckets::{Shifted, Ticks};

pub use buckets::Buckets;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// `rate_limit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// So many, in the long run.
    pub requests: NonZeroU32,
    /// In that time.
    pub per: Duration,
    /// So many at once, after a pause.
    pub burst: NonZeroU32,
    /// What requests are told apart by.
    pub key: Key,
    /// So many keys are remembered.
    pub keys_max: usize,
    /// Whether anybody is refused.
    pub mode: Mode,
}

/// What requests are told apart by.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// The client's address; of IPv6 its /64.
    Client,
    /// All fields of that name. Those that lack it share one key.
    Header(HeaderName),
    /// A parameter of the route's path.
    Path {
        /// The route's.
        pattern: PathPattern,
        /// One of the pattern's.
        parameter: String,
    },
    /// Nothing: all of the route together.
    Route,
}

/// Whether anybody is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Who asks too often.
    Enforced,
    /// Nobody; it is counted who would be.
    DryRun,
}

/// Limits requests.
pub struct RateLimit {
    settings: Settings,
    buckets: Arc<Buckets>,
    limiter: RateLimiter<u64, Shifted, Ticks, StateInformationMiddleware>,
    /// After which one more is free.
    interval: Duration,
}

/// How a key stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// So many may come at once.
    limit: u32,
    /// Of these, so many are left.
    remaining: u32,
    /// After it all are left again, if none comes.
    reset: Duration,
    /// The request came too early by that.
    wait: Option<Duration>,
}

impl RateLimit {
    /// Goes on with what the buckets remember.
    pub fn new(settings: Settings, buckets: Arc<Buckets>) -> Self {
        let interval = settings.per / settings.requests.get();
        // An interval of nothing is refused with the file.
        let quota = Quota::with_period(interval)
            .unwrap_or_else(|| Quota::per_second(settings.requests))
            .allow_burst(settings.burst);
        let limiter: RateLimiter<u64, Shifted, Ticks, NoOpMiddleware<Nanos>> =
            RateLimiter::new(quota, Shifted::new(&buckets), Ticks::new(&buckets));
        Self {
            limiter: limiter.with_middleware(),
            settings,
            buckets,
            interval,
        }
    }

    /// Counts a request.
    pub fn request(&self, asked: &Asked<'_>, mark: &mut Mark) -> Step {
        let standing = self.take(self.key(asked));
        match (self.settings.mode, standing.wait) {
            (Mode::DryRun, None) => Step::Next,
            (Mode::DryRun, Some(_)) => Step::WouldDeny(Denial::RateLimited),
            (Mode::Enforced, wait) => {
                *mark = Mark::Rate(standing);
                match wait {
                    None => Step::Next,
                    Some(_) => Step::Deny(Denial::RateLimited),
                }
            }
        }
    }

    /// Keys that were forgotten before they had recovered.
    pub fn forgotten(&self) -> u64 {
        self.buckets.forgotten()
    }

    fn take(&self, key: u64) -> Standing {
        let limit = self.settings.burst.get();
        match self.limiter.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity().min(limit);
                Standing {
                    limit,
                    remaining,
                    reset: self.interval.saturating_mul(limit - remaining),
                    wait: None,
                }
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(Ticks::new(&self.buckets).now());
                Standing {
                    limit,
                    remaining: 0,
                    // One is free after the wait, the others after it.
                    reset: self.interval.saturating_mul(limit - 1).saturating_add(wait),
                    wait: Some(wait),
                }
            }
        }
    }

    fn key(&self, asked: &Asked<'_>) -> u64 {
        let mut hasher = self.buckets.hasher().build_hasher();
        match &self.settings.key {
            Key::Client => match asked.network {
                IpAddr::V4(v4) => v4.octets().hash(&mut hasher),
                IpAddr::V6(v6) => v6.octets().hash(&mut hasher),
            },
            Key::Header(name) => {
                for value in asked.head.headers.get_all(name) {
                    value.as_bytes().hash(&mut hasher);
                }
            }
            Key::Path { pattern, parameter } => {
                pattern
                    .parameter(parameter, asked.head.uri.path())
                    .hash(&mut hasher);
            }
            Key::Route => {}
        }
        hasher.finish()
    }
}

impl Standing {
    /// Tells the client, unless the answer speaks of a limit that is nearer already.
    pub fn tell(self, headers: &mut HeaderMap) {
        let shown = headers.get(REMAINING).and_then(|value| value.to_str().ok());
        let is_nearer = |shown: u32| shown < self.remaining;
        if !shown.and_then(|text| text.parse().ok()).is_some_and(is_nearer) {
            headers.insert(LIMIT, HeaderValue::from(self.limit));
            headers.insert(REMAINING, HeaderValue::from(self.remaining));
            headers.insert(RESET, HeaderValue::from(whole_seconds(self.reset)));
        }
        if let Some(wait) = self.wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
    }
}

/// Never early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;
    use http::Request;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(requests: u32, burst: u32, key: Key) -> Settings {
        let number = |number| NonZeroU32::new(number).unwrap();
        Settings {
            requests: number(requests),
            per: SECOND,
            burst: number(burst),
            key,
            keys_max: 1_000,
            mode: Mode::Enforced,
        }
    }

    fn limit(settings: Settings) -> RateLimit {
        let buckets = Arc::new(Buckets::new(settings.keys_max));
        RateLimit::new(settings, buckets)
    }

    fn passes(limit: &RateLimit, request: http::request::Builder, client: &str) -> bool {
        let mut head = request.body(()).unwrap().into_parts().0;
        let asked = asked(&mut head, client);
        match limit.request(&asked, &mut Mark::default()) {
            Step::Next => true,
            Step::Deny(Denial::RateLimited) => false,
            other => panic!("{other:?}"),
        }
    }

    fn from(limit: &RateLimit, client: &str) -> bool {
        passes(limit, Request::get("/"), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_one_for_each_interval() {
        let limit = limit(settings(4, 3, Key::Client));
        let passed = |count: usize| (0..count).filter(|_| from(&limit, "192.0.2.1")).count();
        assert_eq!(passed(9), 3, "the burst");
        for _ in 0..5 {
            tokio::time::advance(SECOND / 4).await;
            assert_eq!(passed(9), 1, "one for each quarter of a second");
        }
        tokio::time::advance(SECOND * 60).await;
        assert_eq!(passed(9), 3, "no more than the burst is saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_told_apart_by_what_is_configured() {
        let clients = limit(settings(1, 1, Key::Client));
        let rows = [
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", false),
            ("2001:db8:0:1::1", true),
        ];
        for (client, expected) in rows {
            assert_eq!(from(&clients, client), expected, "{client}");
        }
        let tenants = limit(settings(1, 1, Key::Header(HeaderName::from_static("x-tenant"))));
        let rows: [(&[&str], bool); 6] = [
            (&["a"], true),
            (&["a"], false),
            (&["b"], true),
            (&["a", "b"], true),
            (&[], true),
            (&[], false),
        ];
        for (values, expected) in rows {
            let request = values.iter().fold(Request::get("/"), |request, value| {
                request.header("x-tenant", *value)
            });
            assert_eq!(passes(&tenants, request, "192.0.2.1"), expected, "{values:?}");
        }
        let users = limit(settings(
            1,
            1,
            Key::Path {
                pattern: PathPattern::Exact("/u/{id}/x".to_owned()),
                parameter: "id".to_owned(),
            },
        ));
        for (path, expected) in [("/u/7/x", true), ("/u/7/x?a=1", false), ("/u/8/x", true)] {
            assert_eq!(
                passes(&users, Request::get(path), "192.0.2.1"),
                expected,
                "{path}"
            );
        }
        let all = limit(settings(1, 1, Key::Route));
        assert!(from(&all, "192.0.2.1"));
        assert!(!from(&all, "192.0.2.2"), "all together");
    }

    #[tokio::test(start_paused = true)]
    async fn edits_go_on_with_what_is_remembered() {
        let old = limit(settings(1, 5, Key::Client));
        tokio::time::advance(SECOND * 7).await;
        for _ in 0..5 {
            assert!(from(&old, "192.0.2.1"));
        }
        tokio::time::advance(SECOND * 2).await;
        let new = RateLimit::new(settings(1, 4, Key::Client), Arc::clone(&old.buckets));
        let passed = (0..9).filter(|_| from(&new, "192.0.2.1")).count();
        assert_eq!(passed, 1, "three seconds' worth is owed of the burst of four");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_told_how_they_stand_and_the_nearest_limit_alone() {
        let limit = limit(settings(2, 3, Key::Client));
        let shown = |headers: &mut HeaderMap| {
            let mut head = Request::new(()).into_parts().0;
            let mut mark = Mark::default();
            limit.request(&asked(&mut head, "192.0.2.1"), &mut mark);
            let Mark::Rate(standing) = mark else {
                panic!("{mark:?}")
            };
            standing.tell(headers);
            let names = [
                "ratelimit-limit",
                "ratelimit-remaining",
                "ratelimit-reset",
                "retry-after",
            ];
            let value = |name| headers.get(name).map_or("-", |value| value.to_str().unwrap());
            names.map(value).join(" ")
        };
        let mut other = HeaderMap::new();
        other.insert(REMAINING, HeaderValue::from(1));
        assert_eq!(shown(&mut other), "- 1 - -", "the other limit is nearer");
        let mut other = HeaderMap::new();
        other.insert(REMAINING, HeaderValue::from(7));
        assert_eq!(shown(&mut other), "3 1 1 -");
        assert_eq!(shown(&mut HeaderMap::new()), "3 0 2 -");
        assert_eq!(shown(&mut HeaderMap::new()), "3 0 2 1", "refused");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_refuses_nobody_and_says_nothing() {
        let mut settings = settings(1, 1, Key::Client);
        settings.mode = Mode::DryRun;
        let limit = limit(settings);
        let mut head = Request::new(()).into_parts().0;
        for expected in [Step::Next, Step::WouldDeny(Denial::RateLimited)] {
            let mut mark = Mark::default();
            let step = limit.request(&asked(&mut head, "192.0.2.1"), &mut mark);
            assert_eq!(step, expected);
            assert!(matches!(mark, Mark::Nothing), "{mark:?}");
        }
    }
}
