//! Channels of an upstream's endpoints: which way is taken now, and when the first one is probed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::UpstreamState;
use crate::config::snapshot::UpstreamProtocol;
use crate::events::{Kind, Told, Volume};
use crate::registry::EndpointState;
use crate::resilience::channel::{Action, Channels, Event, Settings, Why};
use crate::tls::Security;

/// A way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Where it leads.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: UpstreamProtocol,
    /// Whether that is encrypted.
    pub security: Security,
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            UpstreamProtocol::Http1 => "http1",
            UpstreamProtocol::Http2 => "http2",
        };
        let security = match self.security {
            Security::Plain => "",
            Security::Tls => ", TLS",
        };
        write!(formatter, "{} ({protocol}{security})", self.address)
    }
}

/// An endpoint with all ways to it.
#[derive(Clone, Debug)]
pub struct Reachable<'e> {
    /// Its address, which is that of the first way.
    pub address: SocketAddr,
    /// What the first way speaks.
    pub protocol: UpstreamProtocol,
    /// Whether that is encrypted.
    pub security: Security,
    /// The other ways.
    pub others: &'e [Channel],
    /// Its state.
    pub state: &'e Arc<EndpointState>,
}

impl Reachable<'_> {
    fn first(&self) -> Channel {
        Channel {
            address: self.address,
            protocol: self.protocol,
            security: self.security,
        }
    }
}

/// What failed where communication did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The way: another one is taken now.
    Channel,
    /// The endpoint: it has no other way, or none that works.
    Endpoint,
}

/// The first way of an endpoint is to be tried.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The endpoint's address.
    pub endpoint: SocketAddr,
    /// Its state.
    pub state: Arc<EndpointState>,
    /// The way to try.
    pub channel: Channel,
}

impl UpstreamState {
    /// Takes over what a snapshot says of the ways to its endpoints, and keeps the state of what stays.
    pub fn reach(&self, settings: Settings, endpoints: &[Reachable<'_>]) {
        let now = self.now();
        let mut machines = self.machines();
        let channels = &mut machines.channels;
        channels.retain(|address, _| {
            let endpoint = endpoints.iter().find(|endpoint| endpoint.address == *address);
            endpoint.is_some_and(|endpoint| !endpoint.others.is_empty())
        });
        for endpoint in endpoints {
            if endpoint.others.is_empty() {
                endpoint.state.channel.store(0, Ordering::Relaxed);
                continue;
            }
            let channels = channels
                .entry(endpoint.address)
                .or_insert_with(|| Channels::new(settings, endpoint.first(), endpoint.others, now));
            channels.set(settings);
            let action = channels.set_channels(endpoint.first(), endpoint.others, now);
            self.follow_channel(endpoint.address, endpoint.state, channels, action);
        }
    }

    /// Communication with an endpoint failed over that way.
    pub fn channel_failed(&self, endpoint: SocketAddr, state: &EndpointState, channel: Channel) -> Blame {
        let now = self.now();
        let mut machines = self.machines();
        let Some(channels) = machines.channels.get_mut(&endpoint) else {
            return Blame::Endpoint;
        };
        // A probe that falls due with it comes with a later tick: only the driver sends them.
        let actions = channels.step(Event::Failed(channel), now, rand::random());
        self.follow_channel(endpoint, state, channels, actions);
        if channels.is_hopeful() {
            Blame::Channel
        } else {
            Blame::Endpoint
        }
    }

    /// Time passed, a few times a second; what is to be probed.
    pub fn tick_channels(&self, endpoints: &[Reachable<'_>]) -> Vec<Probe> {
        let now = self.now();
        let mut machines = self.machines();
        let mut probes = Vec::new();
        for endpoint in endpoints {
            let Some(channels) = machines.channels.get_mut(&endpoint.address) else {
                continue;
            };
            let actions = channels.step(Event::Tick, now, rand::random());
            let asked = self.follow_channel(endpoint.address, endpoint.state, channels, actions);
            probes.extend(asked.map(|channel| Probe {
                endpoint: endpoint.address,
                state: Arc::clone(endpoint.state),
                channel,
            }));
        }
        probes
    }

    /// A probe ended.
    pub fn channel_probed(&self, probe: &Probe, passed: Result<(), String>) {
        let now = self.now();
        let mut machines = self.machines();
        let Some(channels) = machines.channels.get_mut(&probe.endpoint) else {
            return;
        };
        let event = match passed {
            Ok(()) => Event::ProbePassed,
            Err(error) => {
                tracing::debug!(endpoint = %probe.endpoint, channel = %probe.channel, error, "the first way still fails");
                Event::ProbeFailed
            }
        };
        let actions = channels.step(event, now, rand::random());
        self.follow_channel(probe.endpoint, &probe.state, channels, actions);
    }

    /// Publishes where the machine stands, and tells of a change. The channel to probe, if one is to be.
    fn follow_channel(
        &self,
        endpoint: SocketAddr,
        state: &EndpointState,
        channels: &Channels<Channel>,
        actions: impl IntoIterator<Item = Action<Channel>>,
    ) -> Option<Channel> {
        let position = u8::try_from(channels.position()).unwrap_or(0);
        state.channel.store(position, Ordering::Relaxed);
        let mut probe = None;
        for action in actions {
            match action {
                Action::Probe { key } => probe = Some(key),
                Action::Switch { from, to, why } => {
                    self.switches.fetch_add(1, Ordering::Relaxed);
                    let volume = match why {
                        Why::Recovered { .. } | Why::Removed => Volume::Info,
                        Why::Failed | Why::AllFail => Volume::Warn,
                    };
                    self.events.tell(Told {
                        kind: Kind::Channel,
                        check: None,
                        upstream: &self.name,
                        endpoint: Some(endpoint),
                        from: &from.to_string(),
                        to: &to.to_string(),
                        code: "",
                        why: why.to_string(),
                        line: "another way to the endpoint is taken",
                        volume,
                    });
                }
            }
        }
        probe
    }
}
