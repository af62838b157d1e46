//! A name asked for once, by hickory-resolver: the hosts file, then DNS servers (RFC 1035, RFC 3596).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::{Instant, timeout};

use super::state::{Answer, Family};

/// How long a question may take, all servers and tries included: less than a node waits for its first answers.
pub(super) const ASK_MAX: Duration = Duration::from_secs(4);
/// Of a configured server: how long one try may take.
const TRY_MAX: Duration = Duration::from_secs(1);
/// Of configured servers: tries after the first.
const RETRIES: usize = 2;

/// After a failure the system's files are read anew, but not more often: a hosts file may be long.
const REMAKE_AFTER: Duration = Duration::from_secs(30);

/// Who is asked.
#[derive(Debug)]
pub(super) struct Source {
    /// Empty: the system's configuration.
    servers: Vec<SocketAddr>,
    /// Made when it is first needed, and anew after a failure ([`REMAKE_AFTER`]): the system's files may have changed.
    made: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
    at: Instant,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Made(…)")
    }
}

impl Source {
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self {
            servers: servers.to_vec(),
            made: Mutex::default(),
        }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks for both families; takes [`ASK_MAX`] at most.
    pub(super) async fn ask(&self, host: &str) -> Answer {
        let (made, name) = match self.made().and_then(|made| Ok((made, Name::from_ascii(host)?))) {
            Ok(ready) => ready,
            Err(error) => return failed(&error),
        };
        if let Some(answer) = made.hosts_answer(&name) {
            return answer;
        }
        let (v4, v6) = tokio::join!(
            made.lookup(&name, RecordType::A),
            made.lookup(&name, RecordType::AAAA)
        );
        let answer = Answer { v4, v6 };
        if answer.fault().is_some() && made.at.elapsed() >= REMAKE_AFTER {
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }

    fn made(&self) -> Result<Made, NetError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let new = make(&self.servers)?;
        Ok(made.insert(new).clone())
    }
}

fn make(servers: &[SocketAddr]) -> Result<Made, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let server = |address: &SocketAddr| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(address.ip(), true, connections)
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = TRY_MAX;
        options.attempts = RETRIES;
        builder
    };
    let options = builder.options_mut();
    // What is kept, and for how long, is decided by `state`.
    options.cache_size = 0;
    // A name in the hosts file is not asked for by DNS, not even for the family that the file does not have.
    options.use_hosts_file = ResolveHosts::Never;
    let hosts = if servers.is_empty() {
        Hosts::from_system().unwrap_or_default()
    } else {
        Hosts::default()
    };
    Ok(Made {
        resolver: builder.build()?,
        hosts: Arc::new(hosts),
        at: Instant::now(),
    })
}

impl Made {
    fn hosts_answer(&self, name: &Name) -> Option<Answer> {
        let of = |kind: RecordType| {
            let found = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            found.map_or(Family::Nothing, |found| family(found.answers()))
        };
        let answer = Answer {
            v4: of(RecordType::A),
            v6: of(RecordType::AAAA),
        };
        (answer.v4 != Family::Nothing || answer.v6 != Family::Nothing).then_some(answer)
    }

    async fn lookup(&self, name: &Name, kind: RecordType) -> Family {
        match timeout(ASK_MAX, self.resolver.lookup(name.clone(), kind)).await {
            Ok(Ok(found)) => family(found.answers()),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => Family::Nothing,
            Ok(Err(error)) => Family::Failed(format!("asking for {kind}: {error}")),
            Err(_) => Family::Failed(format!("asking for {kind}: no answer within {ASK_MAX:?}")),
        }
    }
}

fn failed(error: &NetError) -> Answer {
    let why = error.to_string();
    Answer {
        v4: Family::Failed(why.clone()),
        v6: Family::Failed(why),
    }
}

/// The addresses among records that one can connect to, and the shortest TTL of all, aliases included.
fn family(records: &[Record]) -> Family {
    let addresses = records.iter().filter_map(|record| record.data.ip_addr());
    let addresses: Vec<IpAddr> = addresses
        .map(|address| address.to_canonical())
        .filter(is_usable)
        .collect();
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    if addresses.is_empty() {
        Family::Nothing
    } else {
        Family::Found(addresses, Duration::from_secs(u64::from(ttl)))
    }
}

/// Filters of others answer with the unspecified address, which would be this machine.
fn is_usable(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}
