//! Certificates, authorities, ticket keys and secrets of filters whose files have changed, those of listeners and those
//! for endpoints: taken over where they are good, else the old ones stay. What is good `look` finds out; here is when it looks, and what then.
//!
//! The directories are watched and not the files, for whoever renews one puts another in its place (rename, or a symbolic
//! link as Kubernetes moves it). A look comes once nothing has changed for a moment, as two files are not written at once;
//! and now and then in any case, for what a network file system does not tell.

mod look;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::controller::Controller;
use crate::admin::status::NodeState;
use crate::config::Settings;
use crate::tls::Roots;
use look::{Faults, Look};

/// Nothing has changed for so long: whoever writes is done.
const QUIET: Duration = Duration::from_millis(300);
/// Where something changes all the time, a look comes after this.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Between two looks that nothing asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How long keys of this process alone seal tickets.
const OWN_KEYS_LIFE: Duration = Duration::from_secs(12 * 3600);

/// What is known of the files.
pub struct Certificates {
    /// `None`: it cannot be made; then only looks at intervals find changes.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Changes that the watcher told of.
    told: Arc<AtomicU64>,
    /// Of these, seen here; since when some were not looked at, and when the last came.
    seen: u64,
    pending: Option<(Instant, Instant)>,
    looked: Instant,
    faults: Faults,
    own_keys_since: Instant,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

impl Default for Certificates {
    fn default() -> Self {
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        let watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "changed certificates are found within a minute only");
        });
        let now = Instant::now();
        Self {
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
            told,
            seen: 0,
            pending: None,
            looked: now,
            faults: Faults::default(),
            own_keys_since: now,
        }
    }
}

impl Certificates {
    /// Watches the directories of a configuration, and no others.
    pub(super) fn follow(&mut self, settings: &Settings) {
        let wanted: BTreeSet<PathBuf> = files(settings)
            .filter_map(Path::parent)
            .map(Path::to_owned)
            .collect();
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&wanted) {
            // One that was removed is watched no more by itself.
            if let Err(error) = watcher.unwatch(gone) {
                tracing::debug!(%error, directory = %gone.display(), "no longer watching");
            }
        }
        let mut watched: BTreeSet<PathBuf> = self.watched.intersection(&wanted).cloned().collect();
        for new in wanted.difference(&self.watched) {
            match watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(new.clone());
                }
                Err(error) => {
                    tracing::warn!(%error, directory = %new.display(), "changes there are found within a minute only");
                }
            }
        }
        self.watched = watched;
    }

    /// Whether it is time to look at the files.
    fn is_due(&mut self, now: Instant) -> bool {
        let told = self.told.load(Ordering::Relaxed);
        if told != self.seen {
            self.seen = told;
            let first = self.pending.map_or(now, |(first, _)| first);
            self.pending = Some((first, now));
        }
        let is_quiet = self.pending.is_some_and(|(first, last)| {
            now.duration_since(last) >= QUIET || now.duration_since(first) >= QUIET_MAX
        });
        if !is_quiet && now.duration_since(self.looked) < LOOK_INTERVAL {
            return false;
        }
        self.pending = None;
        self.looked = now;
        true
    }
}

/// Every file that is watched.
fn files(settings: &Settings) -> impl Iterator<Item = &Path> {
    let listeners = settings.listeners.iter();
    let listeners = listeners.filter_map(|listener| listener.tls.as_ref());
    let listeners = listeners.flat_map(|tls| {
        let pairs = tls.files.iter().flat_map(pair);
        pairs.chain(tls.server.client_roots.iter().map(roots))
    });
    let filters = settings.listeners.iter().flat_map(|listener| &listener.filters);
    let filters = filters.chain(settings.routes.iter().flat_map(|route| &route.filters));
    let filters = filters.filter_map(|filter| filter.file.as_deref());
    let upstreams = settings.upstreams.iter();
    let upstreams = upstreams.filter_map(|upstream| upstream.tls.as_ref());
    let upstreams = upstreams.flat_map(|tls| {
        let own = tls.files.iter().flat_map(pair);
        own.chain([roots(&tls.client.settings().roots)])
    });
    let ticket_keys = settings.ticket_keys.iter().map(|(file, _)| file.as_path());
    listeners.chain(filters).chain(upstreams).chain(ticket_keys)
}

fn pair((cert_file, key_file): &(PathBuf, PathBuf)) -> [&Path; 2] {
    [cert_file, key_file]
}

fn roots(roots: &Roots) -> &Path {
    &roots.file
}

impl Controller {
    /// Puts what changed files hold in force, by the same way as a reload.
    pub(super) async fn follow_certificates(&mut self) {
        if self.state == NodeState::Leaving || files(&self.parts.settings).next().is_none() {
            return;
        }
        let now = Instant::now();
        let own_keys = self.parts.settings.ticket_keys.is_none();
        if own_keys && now.duration_since(self.certificates.own_keys_since) >= OWN_KEYS_LIFE {
            self.certificates.own_keys_since = now;
            self.parts.registry.rotate_ticket_keys();
            self.renew_snapshot("new keys of session tickets").await;
        }
        if !self.certificates.is_due(now) {
            return;
        }
        // One that is to be had from an authority may be gone.
        self.parts.acme.look();
        let settings = self.parts.settings.clone();
        let look = Look::new(&self.events, SystemTime::now(), &mut self.certificates.faults);
        let Some(next) = look.at(&settings) else {
            return;
        };
        match self.put_in_force(&next).await {
            Ok(snapshot) => {
                self.parts.settings = next;
                tracing::info!(snapshot = snapshot.number, "what renewed files hold is in force");
            }
            Err(error) => {
                tracing::error!(reason = %error, "what renewed files hold cannot be put in force; trying again in a minute");
            }
        }
    }
}
