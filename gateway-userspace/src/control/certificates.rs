//! Certificates and ticket keys whose files have changed: taken over where they are good, else the old ones stay.
//!
//! The directories are watched and not the files, for whoever renews one puts another in its place (rename, or a symbolic
//! link as Kubernetes moves it). A look comes once nothing has changed for a moment, as two files are not written at once;
//! and now and then in any case, for what a network file system does not tell.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::controller::Controller;
use crate::admin::status::NodeState;
use crate::config::Settings;
use crate::config::validate::read_ticket_keys;
use crate::events::Events;
use crate::tls::Pair;

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
    /// Why a file is not taken, by file: said once.
    faults: HashMap<PathBuf, String>,
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
            faults: HashMap::new(),
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

    /// Says what is wrong with a file, once; what it says is the same until it is mended.
    fn kept(&mut self, events: &Events, listener: Option<&str>, file: &Path, why: String) {
        if self.faults.get(file) != Some(&why) {
            events.tell_file(listener, file, "kept", &why);
            self.faults.insert(file.to_owned(), why);
        }
    }

    fn taken(&mut self, events: &Events, listener: Option<&str>, file: &Path, why: &str) {
        self.faults.remove(file);
        events.tell_file(listener, file, "renewed", why);
    }

    /// Reads all files; the settings with what has changed and is good, if anything has.
    ///
    /// Blocks on the file system, for some 0.1 ms a certificate.
    fn look(&mut self, settings: &Settings, events: &Events, now: SystemTime) -> Option<Settings> {
        let mut next = settings.clone();
        let mut changes = 0;
        for listener in &mut next.listeners {
            let Some(tls) = &mut listener.tls else { continue };
            let listener = Some(listener.name.as_str());
            for ((cert_file, key_file), held) in tls.files.iter().zip(&mut tls.server.pairs) {
                let read = Pair::load(cert_file, key_file);
                let judged = read.map_err(|fault| fault.to_string()).and_then(|pair| {
                    let valid = pair.facts.check(now);
                    valid.map_err(|fault| format!("{} {fault}", cert_file.display()))?;
                    Ok(pair)
                });
                match judged {
                    Ok(pair) if pair == *held => {
                        self.faults.remove(cert_file);
                    }
                    Ok(pair) => {
                        let until = humantime::format_rfc3339_seconds(pair.facts.not_after);
                        self.taken(events, listener, cert_file, &format!("valid until {until}"));
                        *held = pair;
                        changes += 1;
                    }
                    Err(why) => self.kept(events, listener, cert_file, why),
                }
            }
        }
        if let Some((file, held)) = &mut next.ticket_keys {
            match read_ticket_keys(file) {
                Ok(keys) if keys == *held => {
                    self.faults.remove(file);
                }
                Ok(keys) => {
                    self.taken(events, None, file, "tickets are sealed by the new current key");
                    *held = keys;
                    changes += 1;
                }
                Err((fault, remedy)) => {
                    self.kept(
                        events,
                        None,
                        file,
                        format!("{} {fault}; {remedy}", file.display()),
                    );
                }
            }
        }
        (changes > 0).then_some(next)
    }
}

/// Every file that is watched.
fn files(settings: &Settings) -> impl Iterator<Item = &Path> {
    let pairs = settings
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref());
    let pairs = pairs.flat_map(|tls| &tls.files);
    let pairs = pairs.flat_map(|(cert_file, key_file)| [cert_file.as_path(), key_file.as_path()]);
    pairs.chain(settings.ticket_keys.iter().map(|(file, _)| file.as_path()))
}

impl Controller {
    /// Puts changed certificates and ticket keys in force, by the same way as a reload.
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
        let settings = self.parts.settings.clone();
        let Some(next) = self.certificates.look(&settings, &self.events, SystemTime::now()) else {
            return;
        };
        match self.put_in_force(&next).await {
            Ok(snapshot) => {
                self.parts.settings = next;
                tracing::info!(
                    snapshot = snapshot.number,
                    "renewed certificates or ticket keys are in force"
                );
            }
            Err(error) => {
                tracing::error!(reason = %error, "renewed certificates cannot be put in force; trying again in a minute");
            }
        }
    }
}
