//! By which listener a request comes: the one that is named, or that the URL leads to.

use std::net::SocketAddr;
use std::sync::Arc;

use super::asked::Asked;
use crate::config::loops::serves;
use crate::config::snapshot::{Carries, Listener, Scheme, Snapshot};
use crate::explain::Unanswerable;

/// Who takes the connection.
#[derive(Debug)]
pub(super) enum Listen<'s> {
    By(&'s Arc<Listener>),
    /// Nobody accepts on that port.
    Nobody(u16),
}

/// Finds it.
///
/// # Errors
/// There is none of that name, or the URL leads to none, or to several.
pub(super) fn choose<'s>(
    snapshot: &'s Snapshot,
    asked: &Asked,
    named: Option<&str>,
) -> Result<Listen<'s>, Unanswerable> {
    let all = &snapshot.listeners;
    if let Some(name) = named {
        return match all.iter().find(|listener| listener.name == name) {
            Some(listener) if listener.carries == Carries::Requests => Ok(Listen::By(listener)),
            Some(listener) => Err(sees_none(listener, all)),
            None => Err(Unanswerable(format!(
                "there is no listener \"{name}\": name one of {}",
                names(of_requests(all))
            ))),
        };
    }
    let speaks = |listener: &&Arc<Listener>| match asked.scheme {
        None => true,
        Some(scheme) => (scheme == Scheme::Https) == listener.tls.is_some(),
    };
    let speaking: Vec<_> = of_requests(all).filter(speaks).collect();
    let usual = asked.scheme.map(|scheme| match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    });
    let fits = |listener: &Listener, port: u16| match asked.address() {
        Some(ip) => serves(listener.address, SocketAddr::new(ip, port)),
        None => listener.address.port() == port,
    };
    let of_port = |port: u16| {
        let fitting = speaking.iter().filter(|listener| fits(listener, port));
        fitting.copied().collect::<Vec<_>>()
    };
    let fitting = match (asked.port, usual) {
        (Some(port), _) => match of_port(port) {
            none if none.is_empty() => {
                let mut others = all.iter().filter(|other| other.carries != Carries::Requests);
                return match others.find(|other| fits(other, port)) {
                    Some(listener) => Err(sees_none(listener, all)),
                    None => Ok(Listen::Nobody(port)),
                };
            }
            some => some,
        },
        // A URL without a port means the usual one, and where no listener has that, any other.
        (None, Some(port)) => match of_port(port) {
            none if none.is_empty() => speaking,
            some => some,
        },
        (None, None) => speaking,
    };
    match fitting.as_slice() {
        [one] => Ok(Listen::By(one)),
        [] => {
            let what = match asked.scheme {
                Some(Scheme::Https) => "speaks TLS",
                Some(Scheme::Http) => "speaks HTTP without TLS",
                None => "is configured",
            };
            Err(Unanswerable(format!(
                "no listener {what}: name one of {}",
                names(of_requests(all))
            )))
        }
        several => Err(Unanswerable(format!(
            "{} could be meant: name one of them",
            names(several.iter().copied())
        ))),
    }
}

/// Of a listener that sees no requests nothing can be explained.
fn sees_none(listener: &Listener, all: &[Arc<Listener>]) -> Unanswerable {
    Unanswerable(format!(
        "listener \"{}\" passes connections on and sees no requests: name one of {}",
        listener.name,
        names(of_requests(all))
    ))
}

/// Those that see requests.
fn of_requests(all: &[Arc<Listener>]) -> impl Iterator<Item = &Arc<Listener>> {
    all.iter()
        .filter(|listener| listener.carries == Carries::Requests)
}

fn names<'s>(listeners: impl IntoIterator<Item = &'s Arc<Listener>>) -> String {
    let names = listeners.into_iter().map(|listener| listener.name.as_str());
    let text = names.collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        "none, for there is none".to_owned()
    } else {
        text
    }
}
