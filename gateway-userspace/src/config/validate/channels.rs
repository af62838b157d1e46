//! `channels` of endpoints and upstreams, and `upstream.failback`.

use std::net::SocketAddr;

use crate::config::given::{self, Place};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::precedence::time;
use crate::config::problem::Problems;
use crate::config::settings::{ChannelSettings, ChannelTarget};
use crate::config::snapshot::UpstreamProtocol;
use crate::registry::Channel;
use crate::resilience::channel::Settings;
use crate::tls::Security;

/// Of whom channels are.
#[derive(Clone, Copy, Debug)]
pub enum Of<'g> {
    /// One endpoint.
    Endpoint(&'g Place),
    /// Every endpoint of an upstream.
    Upstream,
}

/// Channels beside the first, which speaks `protocol`.
pub fn channels(
    given: Option<&Vec<given::Channel>>,
    of: Of<'_>,
    protocol: UpstreamProtocol,
    security: Security,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Vec<ChannelSettings> {
    // Any address will do to see whether two ways of an upstream are one.
    let endpoint = match of {
        Of::Endpoint(Place::Address(address)) => *address,
        Of::Endpoint(Place::Name(..)) | Of::Upstream => SocketAddr::from(([192, 0, 2, 1], 0)),
    };
    let mut known = vec![Channel {
        address: endpoint,
        protocol,
        security,
    }];
    let mut channels = Vec::new();
    for (index, given) in given.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let Some(settings) = channel(given, of, security, &path, problems) else {
            continue;
        };
        let channel = settings.to(endpoint, protocol, security);
        if known.contains(&channel) {
            let remedy = "write another address, port or protocol, another tls, or remove it";
            problems.add(&path, "it is the same way as one before it", remedy);
        }
        known.push(channel);
        channels.push(settings);
    }
    channels
}

fn channel(
    given: &given::Channel,
    of: Of<'_>,
    first: Security,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<ChannelSettings> {
    let security = given
        .tls
        .map(|tls| if tls { Security::Tls } else { Security::Plain });
    if security == Some(Security::Tls) && first == Security::Plain {
        let remedy =
            "add [upstream.tls], which makes the first way one with TLS, and write tls = false for another";
        problems.add(&path.key("tls"), "nothing says how TLS is spoken", remedy);
        return None;
    }
    let target = match (given.address, given.port) {
        (Some(_), Some(_)) => {
            let remedy = "remove one of both: an address has a port";
            problems.add(&path.key("port"), "it stands beside an address", remedy);
            return None;
        }
        (Some(address), None) => {
            let path = path.key("address");
            let fault = match of {
                Of::Upstream => Some((
                    "all endpoints would be reached at one address".to_owned(),
                    "write it into the endpoint that it leads to, or write a port",
                )),
                Of::Endpoint(Place::Name(host, _)) => Some((
                    format!("{host} may stand for several addresses, of which this would be one"),
                    "write the endpoint with its address, or the channel with a port",
                )),
                _ if address.ip().is_unspecified() || address.ip().is_multicast() => Some((
                    format!("nobody can be connected to at {}", address.ip()),
                    "write the address of the machine that serves",
                )),
                _ if address.port() == 0 => {
                    Some((format!("{address} has no port"), "write a port from 1 to 65535"))
                }
                Of::Endpoint(Place::Address(_)) => None,
            };
            if let Some((fault, remedy)) = fault {
                problems.add(&path, fault, remedy);
                return None;
            }
            ChannelTarget::Address(address)
        }
        (None, Some(port)) => ChannelTarget::Port(port),
        (None, None) if given.protocol.is_none() && given.tls.is_none() => {
            let remedy = "write an address, a port, a protocol, tls, or several of them";
            problems.add(path, "nothing says in what it differs from the first way", remedy);
            return None;
        }
        (None, None) => ChannelTarget::Same,
    };
    let protocol = given.protocol;
    Some(ChannelSettings {
        target,
        protocol,
        security,
    })
}

/// `failback`.
pub fn failback(given: &given::Upstream, path: &KeyPath, problems: &mut Problems<'_>) -> Settings {
    let has_channels = given.channels.is_some()
        || given
            .endpoints
            .iter()
            .flatten()
            .any(|endpoint| endpoint.channels.is_some());
    if given.failback.is_some() && !has_channels {
        let remedy = "add channels to the upstream or an endpoint, or remove it";
        problems.add(
            &path.key("failback"),
            "there is no other way to come back from",
            remedy,
        );
    }
    let default = given::Failback::default();
    let given = given.failback.as_ref().unwrap_or(&default);
    let settings = Settings {
        rise: given.rise.unwrap_or(limits::FAILBACK_RISE),
        stay_min: time(given.stay, limits::FAILBACK_STAY),
        stay_max: time(given.stay_max, limits::FAILBACK_STAY_MAX),
        probe_interval: time(given.interval, limits::FAILBACK_INTERVAL),
        probe_interval_max: time(given.interval_max, limits::FAILBACK_INTERVAL_MAX),
        probe_timeout: time(given.timeout, limits::FAILBACK_TIMEOUT),
    };
    for (key, is_longer) in [
        ("stay", settings.stay_min > settings.stay_max),
        ("interval", settings.probe_interval > settings.probe_interval_max),
    ] {
        if is_longer {
            let remedy = format!("write a shorter time here, or a longer one for {key}_max");
            let path = path.key("failback").key(key);
            problems.add(&path, format!("is longer than {key}_max"), remedy);
        }
    }
    settings
}
