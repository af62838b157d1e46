//! Fetches the keys that issuers of tokens publish (`jwks_url`): a task of the control runtime for each filter that wants
//! some, never of a worker.
//!
//! What was good stays while a URL fails, and nothing makes anybody ask it more often than once in `BETWEEN`: a token
//! names what key it likes.

mod fetch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::snapshot::Snapshot;
use crate::filters::Filter;
use crate::filters::jwt::Verifier;
use crate::filters::jwt::fetched::{Fetched, Publisher};
use crate::names::Asker;
use fetch::{Fault, fetch};

/// At least so long from the beginning of one fetch to that of the next.
const BETWEEN: Duration = Duration::from_secs(10);
/// A fetch may take so long.
const FETCH_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(FETCH_MAX.as_secs() < BETWEEN.as_secs());

/// The fetching of the node.
#[derive(Debug)]
pub struct Fetcher {
    runtime: Handle,
    /// Who tells issuers' addresses.
    names: Asker,
    jobs: Mutex<Vec<Job>>,
}

/// One set that is kept up to date.
#[derive(Debug)]
struct Job {
    set: Arc<Fetched>,
    publisher: Publisher,
    task: JoinHandle<()>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetcher {
    /// Fetches nothing yet.
    pub fn start(runtime: Handle, names: Asker) -> Self {
        Self {
            runtime,
            names,
            jobs: Mutex::default(),
        }
    }

    /// Fetches what a snapshot's filters want, and nothing else any longer. What stays as it is goes on.
    pub fn apply(&self, snapshot: &Snapshot) {
        let of_listeners = snapshot.listeners.iter().flat_map(|listener| {
            let of_routes = listener.routes.iter().flat_map(|route| &route.filters);
            listener.filters.iter().chain(of_routes)
        });
        let wanted = of_listeners.filter_map(|named| match &named.filter {
            Filter::Jwt(jwt) => jwt.fetched(),
            _ => None,
        });
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = std::mem::take(&mut *jobs);
        for (set, publisher) in wanted {
            // A route stands in each of its listeners.
            if jobs.iter().any(|job| Arc::ptr_eq(&job.set, set)) {
                continue;
            }
            let same = |job: &Job| Arc::ptr_eq(&job.set, set) && job.publisher == *publisher;
            let job = match held.iter().position(same) {
                Some(index) => held.swap_remove(index),
                None => self.job(set, publisher),
            };
            jobs.push(job);
        }
    }

    fn job(&self, set: &Arc<Fetched>, publisher: &Publisher) -> Job {
        let (fetched, from, names) = (Arc::clone(set), publisher.clone(), self.names.clone());
        let task = self.runtime.spawn(async move {
            keep(&fetched, &from, || fetch(&from, &names)).await;
        });
        Job {
            set: Arc::clone(set),
            publisher: publisher.clone(),
            task,
        }
    }
}

/// Fetches for ever: after the interval, after a failure, and where another set is wanted.
async fn keep<F>(set: &Fetched, publisher: &Publisher, get: impl Fn() -> F)
where
    F: Future<Output = Result<Vec<Verifier>, Fault>>,
{
    let url = publisher.url.to_string();
    let mut failed = false;
    loop {
        let begun = Instant::now();
        set.begins();
        let got = timeout(FETCH_MAX, get())
            .await
            .unwrap_or(Err(Fault::Late(FETCH_MAX)));
        match got {
            Ok(keys) => {
                if failed {
                    tracing::info!(url, keys = keys.len(), "the keys of an issuer are fetched again");
                }
                failed = false;
                set.put(keys);
            }
            Err(error) => {
                // Once, until it works again.
                if !failed {
                    let error = &error as &dyn std::error::Error;
                    let has_some = set.get().is_some();
                    tracing::warn!(
                        url,
                        error,
                        has_some,
                        "the keys of an issuer cannot be fetched; trying again"
                    );
                }
                failed = true;
            }
        }
        let earliest = begun + BETWEEN;
        let next = if failed {
            earliest
        } else {
            begun + publisher.refresh.max(BETWEEN)
        };
        tokio::select! {
            () = sleep_until(next) => {}
            () = set.wanted() => sleep_until(earliest).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::filters::jwt::{set, tokens};

    const REFRESH: Duration = Duration::from_secs(300);

    fn publisher() -> Publisher {
        Publisher {
            url: "http://id.example/jwks".parse().unwrap(),
            tls: None,
            refresh: REFRESH,
        }
    }

    fn keys() -> Vec<Verifier> {
        let keys = set::parse(tokens::KEYS, &set::ALGORITHMS).unwrap();
        keys.iter().filter_map(Verifier::new).collect()
    }

    #[derive(Clone, Copy, Debug)]
    enum Wants {
        Nothing,
        /// Another set, after a tenth of a second.
        Once,
        /// Each tenth of a second.
        Always,
    }

    /// How often is asked in that time, while somebody wants another set, or not.
    async fn asked(set: &Fetched, works: bool, wants: Wants, time: Duration) -> u32 {
        let asked = Cell::new(0);
        let get = || {
            asked.set(asked.get() + 1);
            async move {
                let fault = Fault::Status(http::StatusCode::BAD_GATEWAY);
                if works { Ok(keys()) } else { Err(fault) }
            }
        };
        let wanting = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                match wants {
                    Wants::Nothing => {}
                    Wants::Always => set.wants_another(),
                    Wants::Once => {
                        set.wants_another();
                        std::future::pending::<()>().await;
                    }
                }
            }
        };
        let publisher = publisher();
        let all = async {
            tokio::join!(keep(set, &publisher, get), wanting);
        };
        assert!(timeout(time, all).await.is_err(), "it never ends");
        asked.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_is_fetched_at_its_interval_and_a_flood_of_unknown_keys_costs_nothing() {
        let rows = [
            // Whether it works, and is wanted; fetches in a thousand seconds.
            (true, Wants::Nothing, 4),
            (true, Wants::Once, 5),
            (true, Wants::Always, 100),
            (false, Wants::Nothing, 100),
            (false, Wants::Always, 100),
        ];
        for (works, wants, expected) in rows {
            let set = Fetched::default();
            let asked = asked(&set, works, wants, Duration::from_millis(999_900)).await;
            assert_eq!(asked, expected, "{works} {wants:?}");
            assert_eq!(set.get().is_some(), works);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_set_stays_while_the_url_fails() {
        let set = Fetched::default();
        asked(&set, true, Wants::Nothing, Duration::from_secs(1)).await;
        asked(&set, false, Wants::Always, Duration::from_secs(3_600)).await;
        assert_eq!(set.get().unwrap().len(), keys().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_hangs_is_given_up() {
        let (set, asked) = (Fetched::default(), Cell::new(0));
        let get = || {
            asked.set(asked.get() + 1);
            std::future::pending()
        };
        let publisher = publisher();
        assert!(
            timeout(Duration::from_secs(95), keep(&set, &publisher, get))
                .await
                .is_err()
        );
        assert_eq!(asked.get(), 10);
    }
}
