//! Changes of state as events: who, from, to, why. The one place that records them: the log, what is kept, who follows.
//!
//! Telling never waits: a lock is held for a push and a send, and who follows too slowly loses its place, not the teller
//! its time. Counters are the tellers' own. How followers are served is the admin API's matter.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, Sender};

/// Events that are kept to be looked at: of some hundred bytes each, so half a megabyte, and an incident's length.
pub const EVENTS_KEPT: usize = 1_024;
/// Events that a follower may be behind before it is cut off; they are shared by all, so as many again in memory.
pub const EVENTS_BEHIND_MAX: usize = 1_024;
/// Who may follow at once: each holds a connection of the admin API, which probes and operators need too.
pub const FOLLOWERS_MAX: usize = 8;

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in UTC (RFC 3339, milliseconds).
    pub time: String,
    /// What changed.
    pub kind: Kind,
    /// Of a check: which one; absent: what all checks of the endpoint come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The upstream's name; absent: it is about no upstream.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upstream: String,
    /// Of a file: the listener that it is for; absent: it is an upstream's or a route's, or for all listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Of a file: the route that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of a certificate, of authorities, of ticket keys or of a filter's secrets: the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The endpoint; absent: the whole upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// The interface of `[dataplane]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// The reason, for people.
    pub why: String,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What a check says, or what all of an endpoint come to.
    Check,
    /// A circuit breaker.
    Breaker,
    /// Whether passive health has taken an endpoint out.
    Ejection,
    /// Which way is taken to an endpoint.
    Channel,
    /// A limit of an upstream or an endpoint.
    Limit,
    /// A file with a certificate, authorities, ticket keys or a filter's secrets, which was written anew.
    File,
    /// An order of a certificate at an authority.
    Acme,
    /// An interface that the kernel program is attached to, or should be.
    Interface,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Breaker => "breaker",
            Self::Ejection => "ejection",
            Self::Channel => "channel",
            Self::Limit => "limit",
            Self::File => "file",
            Self::Acme => "acme",
            Self::Interface => "interface",
        }
    }
}

/// A change, as it is told.
#[derive(Clone, Debug)]
pub struct Told<'t> {
    /// What changed.
    pub kind: Kind,
    /// Of a check: which one.
    pub check: Option<&'static str>,
    /// The upstream's name.
    pub upstream: &'t str,
    /// The endpoint; `None`: the whole upstream.
    pub endpoint: Option<SocketAddr>,
    /// What it was.
    pub from: &'t str,
    /// What it is.
    pub to: &'t str,
    /// Stable, one of few; may be empty.
    pub code: &'static str,
    /// The reason, for people.
    pub why: String,
    /// What the log says of it.
    pub line: &'static str,
    /// How loud the log says it.
    pub volume: Volume,
}

/// Whose file it is that was written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'w> {
    /// Of all listeners.
    All,
    /// Of the listener with that name.
    Listener(&'w str),
    /// Of the upstream with that name.
    Upstream(&'w str),
    /// Of the route with that name.
    Route(&'w str),
}

/// How loud the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// For the record.
    Info,
    /// Somebody should look.
    Warn,
}

/// Where events are told; all clones are one.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<VecDeque<Arc<Event>>>,
    followers: Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Inner {
            kept: Mutex::default(),
            followers: Sender::new(EVENTS_BEHIND_MAX),
        }))
    }
}

/// What a follower gets.
#[derive(Debug)]
pub struct Following {
    /// The last events, the oldest first.
    pub kept: Vec<Arc<Event>>,
    /// The next, as they come; holds the follower's place.
    pub coming: Receiver<Arc<Event>>,
}

/// As many follow already as may: [`FOLLOWERS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FOLLOWERS_MAX} follow already")]
pub struct TooManyFollowers;

impl Events {
    /// Records a change. Never waits for a reader.
    pub fn tell(&self, told: Told<'_>) {
        log(&told);
        let event = Arc::new(Event {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            kind: told.kind,
            check: told.check.map(str::to_owned),
            upstream: told.upstream.to_owned(),
            listener: None,
            route: None,
            file: None,
            endpoint: told.endpoint,
            interface: None,
            from: told.from.to_owned(),
            to: told.to.to_owned(),
            why: told.why,
        });
        self.record(event);
    }

    /// Records what became of a file that was written anew: `renewed`, or `kept` what it held before.
    pub fn tell_file(&self, whose: Whose<'_>, file: &Path, to: &str, why: &str) {
        let shown = file.display();
        let (mut upstream, mut listener, mut route) = (None, None, None);
        match whose {
            Whose::All => {}
            Whose::Upstream(name) => upstream = Some(name),
            Whose::Listener(name) => listener = Some(name),
            Whose::Route(name) => route = Some(name),
        }
        if to == "renewed" {
            tracing::info!(upstream, listener, route, file = %shown, why, "a renewed file is taken over");
        } else {
            tracing::warn!(
                upstream,
                listener,
                route,
                file = %shown,
                why,
                "a renewed file is not taken: what it held before stays"
            );
        }
        self.record(Arc::new(Event {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            kind: Kind::File,
            check: None,
            upstream: upstream.unwrap_or_default().to_owned(),
            listener: listener.map(str::to_owned),
            route: route.map(str::to_owned),
            file: Some(file.to_owned()),
            endpoint: None,
            interface: None,
            from: "valid".to_owned(),
            to: to.to_owned(),
            why: why.to_owned(),
        }));
    }

    /// Records how an order of a certificate ended: `issued` or `failed`. `from` says what there was: `valid`, or `none`.
    pub fn tell_order(&self, listener: &str, file: &Path, from: &str, to: &str, why: &str) {
        let shown = file.display();
        if to == "issued" {
            tracing::info!(listener, file = %shown, why, "a certificate was issued");
        } else {
            tracing::warn!(listener, file = %shown, why, "a certificate cannot be had; what there was stays");
        }
        self.record(Arc::new(Event {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            kind: Kind::Acme,
            check: None,
            upstream: String::new(),
            listener: Some(listener.to_owned()),
            route: None,
            file: Some(file.to_owned()),
            endpoint: None,
            interface: None,
            from: from.to_owned(),
            to: to.to_owned(),
            why: why.to_owned(),
        }));
    }

    /// Records what became of an interface: `attached`, `down`, `gone` or `refused`.
    pub fn tell_interface(&self, interface: &str, from: &str, to: &str, why: &str) {
        if to == "attached" {
            tracing::info!(interface, from, to, why, "an interface takes packets again");
        } else {
            tracing::warn!(interface, from, to, why, "an interface takes no packets");
        }
        self.record(Arc::new(Event {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            kind: Kind::Interface,
            check: None,
            upstream: String::new(),
            listener: None,
            route: None,
            file: None,
            endpoint: None,
            interface: Some(interface.to_owned()),
            from: from.to_owned(),
            to: to.to_owned(),
            why: why.to_owned(),
        }));
    }

    fn record(&self, event: Arc<Event>) {
        let mut kept = self.kept_now();
        if kept.len() >= EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // Under the lock, so that who begins to follow misses none and sees none twice. Without followers it fails.
        drop(self.0.followers.send(event));
    }

    /// The last events, the oldest first.
    pub fn kept(&self) -> Vec<Arc<Event>> {
        self.kept_now().iter().cloned().collect()
    }

    /// The last events, and from the next on as they come.
    ///
    /// # Errors
    /// Too many follow.
    pub fn follow(&self) -> Result<Following, TooManyFollowers> {
        let kept = self.kept_now();
        if self.0.followers.receiver_count() >= FOLLOWERS_MAX {
            return Err(TooManyFollowers);
        }
        Ok(Following {
            kept: kept.iter().cloned().collect(),
            coming: self.0.followers.subscribe(),
        })
    }

    fn kept_now(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(told: &Told<'_>) {
    let (upstream, from, to, code, line) = (told.upstream, told.from, told.to, told.code, told.line);
    let why = told.why.as_str();
    let endpoint = told
        .endpoint
        .map_or_else(|| "all".to_owned(), |address| address.to_string());
    let endpoint = endpoint.as_str();
    let kind = match told.kind {
        Kind::Check => told.check.unwrap_or("endpoint"),
        other => other.word(),
    };
    match told.volume {
        Volume::Warn => tracing::warn!(upstream, endpoint, kind, from, to, code, why, "{line}"),
        Volume::Info => tracing::info!(upstream, endpoint, kind, from, to, code, why, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(why: String) -> Told<'static> {
        Told {
            kind: Kind::Breaker,
            check: None,
            upstream: "users",
            endpoint: None,
            from: "closed",
            to: "open",
            code: "",
            why,
            line: "circuit breaker changed",
            volume: Volume::Info,
        }
    }

    fn whys(events: &[Arc<Event>]) -> Vec<usize> {
        events.iter().map(|event| event.why.parse().unwrap()).collect()
    }

    #[test]
    fn the_last_events_are_kept_and_no_more() {
        let events = Events::default();
        for number in 0..EVENTS_KEPT + 3 {
            events.tell(told(number.to_string()));
        }
        let expected: Vec<usize> = (3..EVENTS_KEPT + 3).collect();
        assert_eq!(whys(&events.kept()), expected);
    }

    #[tokio::test]
    async fn followers_miss_none_see_none_twice_and_are_told_when_they_are_too_slow() {
        let events = Events::default();
        events.tell(told("0".to_owned()));
        let Following { kept, mut coming } = events.follow().unwrap();
        events.tell(told("1".to_owned()));
        assert_eq!(whys(&kept), [0]);
        assert_eq!(whys(&[coming.recv().await.unwrap()]), [1]);
        for number in 0..=EVENTS_BEHIND_MAX {
            events.tell(told(number.to_string()));
        }
        let lost = coming.recv().await.unwrap_err();
        assert_eq!(lost, tokio::sync::broadcast::error::RecvError::Lagged(1));
    }

    #[test]
    fn followers_are_bounded_and_one_that_goes_makes_room() {
        let events = Events::default();
        let mut all: Vec<_> = (0..FOLLOWERS_MAX).map(|_| events.follow().unwrap()).collect();
        assert_eq!(events.follow().map(drop), Err(TooManyFollowers));
        drop(all.pop());
        assert!(events.follow().is_ok());
    }
}
