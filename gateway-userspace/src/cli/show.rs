//! The client's commands: ask the running node, and show what it says.

mod acme;
mod upstreams;

use std::thread::sleep;
use std::time::{Duration, Instant};

use gateway::admin::status::{
    Changed, Dataplane, Interface, Member, NodeState, Nodes, Reloaded, Status, VipBounds,
};
use http::Method;
use serde_json::Value;

use super::client::Client;
use super::table::{Cell, Style, Table, Tone, word};
use super::{Form, print};

/// Between two looks at a node that drains.
const DRAIN_LOOK: Duration = Duration::from_millis(250);

/// `gateway status`.
pub fn status(client: &Client, form: Form) -> anyhow::Result<()> {
    let (status, value) = client.ask::<Status>(Method::GET, "/v1/status")?;
    show(form, &value, |style| status_text(&status, style))
}

/// `gateway nodes`.
pub fn nodes(client: &Client, form: Form) -> anyhow::Result<()> {
    let (nodes, value) = client.ask::<Nodes>(Method::GET, "/v1/nodes")?;
    show(form, &value, |style| nodes_text(&nodes, style))
}

/// `gateway drain`; with a limit, waits until the last connection has ended.
pub fn drain(client: &Client, form: Form, limit: Option<Duration>) -> anyhow::Result<()> {
    let (changed, value) = client.ask::<Changed>(Method::POST, "/v1/drain")?;
    let Some(limit) = limit else {
        return show(form, &value, |_| {
            format!("the node is {}\n", changed.state.word())
        });
    };
    let start = Instant::now();
    loop {
        let (status, value) = client.ask::<Status>(Method::GET, "/v1/status")?;
        if !matches!(status.state, NodeState::Draining | NodeState::Leaving) {
            anyhow::bail!(
                "the node is {} again: somebody undid the drain",
                status.state.word()
            );
        }
        if status.connections == 0 && status.active_requests == 0 {
            return show(form, &value, |_| {
                "the node is drained: its last connection has ended\n".to_owned()
            });
        }
        if start.elapsed() >= limit {
            let limit = humantime::format_duration(limit);
            let (connections, requests) = (status.connections, status.active_requests);
            anyhow::bail!(
                "{connections} connections with {requests} requests are still open after {limit}: \
                 wait longer with --timeout, or stop the node and have them cut"
            );
        }
        sleep(DRAIN_LOOK);
    }
}

/// `gateway undrain`.
pub fn undrain(client: &Client, form: Form) -> anyhow::Result<()> {
    let (changed, value) = client.ask::<Changed>(Method::POST, "/v1/undrain")?;
    show(form, &value, |_| {
        format!("the node is {}\n", changed.state.word())
    })
}

/// `gateway reload`.
pub fn reload(client: &Client, form: Form) -> anyhow::Result<()> {
    let (reloaded, value) = client.ask::<Reloaded>(Method::POST, "/v1/reload")?;
    show(form, &value, |_| {
        format!("snapshot {} is in force\n", reloaded.snapshot)
    })
}

pub(super) fn show(form: Form, value: &Value, text: impl FnOnce(Style) -> String) -> anyhow::Result<()> {
    match form {
        Form::Json => print(&format!("{value:#}\n"))?,
        Form::Text(style) => print(&text(style))?,
    }
    Ok(())
}

fn state_cell(state: NodeState) -> Cell {
    let tone = match state {
        NodeState::Ready => Tone::Good,
        NodeState::Joining | NodeState::Draining => Tone::Doubtful,
        NodeState::Leaving => Tone::Bad,
    };
    Cell(state.word().to_owned(), tone)
}

fn nodes_text(nodes: &Nodes, style: Style) -> String {
    let mut table = Table::new(&["node", "state", "alive", "weight", "view", "heard", "addresses"]);
    for node in &nodes.nodes {
        let alive = if node.alive {
            Cell("yes".to_owned(), Tone::Good)
        } else {
            Cell("no".to_owned(), Tone::Bad)
        };
        let heard = node
            .last_heard_ms
            .map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms ago"));
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        table.row([
            (&node.name).into(),
            state_cell(node.state),
            alive,
            node.weight.into(),
            node.view.into(),
            heard.into(),
            addresses.join(", ").into(),
        ]);
    }
    table.text(style)
}

fn status_text(status: &Status, style: Style) -> String {
    let mut text = status_head(status, style);
    if let Some(refused) = &status.last_refused {
        let title = format!(
            "configuration refused at {}; the one before stays in force",
            refused.at
        );
        text.push_str(&format!(
            "\n{}\n{}\n",
            style.paint(&title, Tone::Bad),
            refused.text
        ));
    }
    if let Some(dataplane) = &status.dataplane {
        let mut vips = Table::new(&[
            "VIP",
            "address",
            "ports",
            "protocol",
            "steering",
            "new connections",
            "packets",
            "bytes",
        ]);
        for vip in &dataplane.vips {
            let ports: Vec<String> = vip.ports.iter().map(u16::to_string).collect();
            let (protocol, steering) = (word(&vip.protocol), word(&vip.steering));
            vips.row([
                (&vip.name).into(),
                vip.address.into(),
                ports.join(", ").into(),
                protocol.into(),
                steering.into(),
                vip.bounds.as_ref().map_or_else(String::new, bounds_text).into(),
                vip.packets.into(),
                vip.bytes.into(),
            ]);
        }
        let mut verdicts = Table::new(&["verdict", "reason", "packets", "bytes"]);
        for count in dataplane.verdicts.iter().filter(|count| count.packets > 0) {
            verdicts.row([
                (&count.action).into(),
                (&count.reason).into(),
                count.packets.into(),
                count.bytes.into(),
            ]);
        }
        text.push_str(&format!("\n{}\n{}", vips.text(style), verdicts.text(style)));
        if !dataplane.steered.is_empty() {
            let mut steered = Table::new(&["sent to", "packets", "bytes"]);
            for count in &dataplane.steered {
                steered.row([(&count.node).into(), count.packets.into(), count.bytes.into()]);
            }
            text.push_str(&format!("\n{}", steered.text(style)));
        }
    }
    let mut listeners = Table::new(&["listener", "address", "routes"]);
    for listener in &status.listeners {
        listeners.row([
            (&listener.name).into(),
            listener.address.into(),
            listener.routes.into(),
        ]);
    }
    text.push_str(&format!("\n{}", listeners.text(style)));
    if !status.acme.is_empty() {
        text.push_str(&format!("\n{}", acme::table(&status.acme).text(style)));
    }
    text.push_str(&format!("\n{}", upstreams::table(&status.upstreams).text(style)));
    if let Some(checks) = upstreams::checks(&status.upstreams) {
        text.push_str(&format!("\n{}", checks.text(style)));
    }
    text
}

fn status_head(status: &Status, style: Style) -> String {
    let mut table = Table::bare();
    let up = humantime::format_duration(Duration::from_secs(status.uptime_s));
    table.row([
        "node".into(),
        format!("{}, version {}, up {up}", status.node, status.version).into(),
    ]);
    table.row(["state".into(), state_cell(status.state)]);
    table.row([
        "ready".into(),
        if status.ready {
            Cell("yes".to_owned(), Tone::Good)
        } else {
            Cell(format!("no: {}", status.reasons.join("; ")), Tone::Bad)
        },
    ]);
    table.row([
        "config".into(),
        format!("{}, snapshot {}", status.config, status.snapshot).into(),
    ]);
    let member = |member: &Member| format!("{} (weight {})", member.name, member.weight);
    let members: Vec<String> = status.members.iter().map(member).collect();
    table.row([
        "view".into(),
        format!("{}: {}", status.view, members.join(", ")).into(),
    ]);
    let dataplane = status.dataplane.as_ref().map(|dataplane| {
        let interfaces = dataplane.interfaces.iter();
        interfaces.map(interface_text).collect::<Vec<_>>().join(", ")
    });
    let is_whole = |dataplane: &Dataplane| dataplane.interfaces.iter().all(|one| one.state == "attached");
    let tone = match status.dataplane.as_ref().is_none_or(is_whole) {
        true => Tone::Plain,
        false => Tone::Bad,
    };
    table.row([
        "dataplane".into(),
        Cell(dataplane.unwrap_or_else(|| "none: L7 only".to_owned()), tone),
    ]);
    let load = format!(
        "{} connections, {} requests under way",
        status.connections, status.active_requests
    );
    table.row(["load".into(), load.into()]);
    table.text(style)
}

/// How many connections may begin at a VIP.
fn bounds_text(bounds: &VipBounds) -> String {
    let rate = |per_second: u64| match per_second {
        0 => "no limit".to_owned(),
        per_second => format!("{per_second}/s"),
    };
    let (source, vip) = (bounds.source, bounds.vip);
    format!(
        "source {}, VIP {}",
        rate(source.connections_per_second),
        rate(vip.connections_per_second)
    )
}

/// An interface with its program; and what is the matter, where that takes no packets.
fn interface_text(interface: &Interface) -> String {
    let name = &interface.name;
    match (interface.mode, interface.program) {
        (Some(mode), Some(program)) if interface.state == "attached" => {
            format!("{name} {} (program {program})", word(&mode))
        }
        _ => format!("{name} {}: {}", interface.state, interface.why),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread::JoinHandle;

    use gateway::admin::breakers::{Breaker, Switched};
    use gateway::admin::deny;
    use gateway::admin::endpoints::{Place, Renewal, Renewed, Withdrawn};
    use gateway::admin::status::{
        AcmeCertificate, AcmeOrder, AttachedMode, CheckStatus, Endpoint, EndpointReadiness, Listener, Node,
        RefusedReload, Steered, UnderWay, Upstream, VerdictCount, Vip,
    };
    use gateway::admin::{Answer, Api, ApiError, Token, bind, serve};
    use gateway::config::snapshot::{AdminListen, Kind, Steering, Transport};
    use gateway::events::Events;
    use gateway::explain::{packet, request};
    use gateway::resilience::breaker::{Force, State};
    use gateway::trace;
    use tokio::sync::oneshot;

    use super::super::client::ClientError;
    use super::super::told;
    use super::*;

    /// A node with connections that end one by one, each time somebody looks.
    struct Fading {
        events: Events,
        connections: AtomicU64,
    }

    fn node_status(state: NodeState, connections: u64) -> Status {
        Status {
            node: "gw-1".to_owned(),
            version: "0.1.0".to_owned(),
            snapshot: 3,
            config: "/etc/g.toml".to_owned(),
            uptime_s: 61,
            state,
            ready: false,
            reasons: vec!["it drains".to_owned()],
            view: 4,
            members: vec![Member {
                name: "gw-1".to_owned(),
                weight: 0,
                incarnation: 1,
            }],
            dataplane: Some(Dataplane {
                interfaces: vec![Interface {
                    name: "eth0".to_owned(),
                    state: "attached".to_owned(),
                    mode: Some(AttachedMode::Native),
                    program: Some(7),
                    mtu: Some(1_500),
                    why: "the program is on it".to_owned(),
                }],
                vips: vec![Vip {
                    name: "public".to_owned(),
                    address: "203.0.113.10".parse().unwrap(),
                    ports: vec![80],
                    protocol: Transport::Tcp,
                    steering: Steering::FlowHash,
                    bounds: None,
                    packets: 7,
                    bytes: 420,
                    verdicts: Vec::new(),
                }],
                verdicts: vec![VerdictCount {
                    reason: "owner".to_owned(),
                    action: "tx".to_owned(),
                    packets: 2,
                    bytes: 120,
                }],
                steered: vec![Steered {
                    node: "gw-2".to_owned(),
                    packets: 5,
                    bytes: 300,
                }],
            }),
            connections,
            active_requests: 0,
            listeners: vec![Listener {
                name: "web".to_owned(),
                address: "[::]:80".parse().unwrap(),
                routes: 2,
            }],
            upstreams: vec![Upstream {
                name: "users".to_owned(),
                breaker: Some(State::Closed),
                under_way: UnderWay::default(),
                endpoints: vec![Endpoint {
                    channel: None,
                    address: "10.0.1.1:80".parse().unwrap(),
                    host: None,
                    metadata: Default::default(),
                    weight: 1,
                    readiness: EndpointReadiness::Failing,
                    ejected: true,
                    breaker: Some(State::HalfOpen),
                    active: 0,
                    under_way: UnderWay::default(),
                    requests: 5,
                    failures: 1,
                    checks: vec![CheckStatus {
                        kind: Kind::Liveness,
                        state: EndpointReadiness::Failing,
                        since_s: 61,
                        last_failure: Some("answered 500".to_owned()),
                    }],
                }],
            }],
            acme: vec![AcmeCertificate {
                names: vec!["a.example".to_owned(), "www.a.example".to_owned()],
                listeners: vec!["web".to_owned()],
                cert_file: "/c/a.pem".into(),
                valid_until: None,
                next_order: Some("1970-01-01T00:05:00Z".to_owned()),
                next_order_because: Some("there is none yet".to_owned()),
                last_order: Some(AcmeOrder {
                    at: "1970-01-01T00:00:00Z".to_owned(),
                    outcome: "failed".to_owned(),
                    why: "too many".to_owned(),
                }),
            }],
            last_refused: Some(RefusedReload::new(
                std::time::UNIX_EPOCH,
                "g.toml:1: odd; mend it".to_owned(),
            )),
        }
    }

    impl Api for Fading {
        fn ready(&self) -> Result<(), Vec<String>> {
            Ok(())
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn events(&self) -> &Events {
            &self.events
        }

        fn status(&self) -> Answer<'_, Result<Status, ApiError>> {
            let left = self.connections.load(Ordering::Relaxed).saturating_sub(1);
            self.connections.store(left, Ordering::Relaxed);
            Box::pin(async move { Ok(node_status(NodeState::Draining, left)) })
        }

        fn nodes(&self) -> Answer<'_, Result<Vec<Node>, ApiError>> {
            let node = Node {
                name: "gw-2".to_owned(),
                addresses: vec!["10.0.0.12".parse().unwrap()],
                weight: 1,
                state: NodeState::Ready,
                alive: false,
                last_heard_ms: Some(1200),
                view: 4,
                incarnation: 2,
            };
            Box::pin(async { Ok(vec![node]) })
        }

        fn drain(&self) -> Answer<'_, Result<NodeState, ApiError>> {
            Box::pin(async { Ok(NodeState::Draining) })
        }

        fn undrain(&self) -> Answer<'_, Result<NodeState, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("the node leaves".to_owned())) })
        }

        fn reload(&self) -> Answer<'_, Result<u64, ApiError>> {
            Box::pin(async { Err(ApiError::Refused("g.toml:1: odd; mend it\n1 problem".to_owned())) })
        }

        fn renew(&self, place: Place, renewal: Renewal) -> Answer<'_, Result<Renewed, ApiError>> {
            Box::pin(async move {
                if place.upstream != "users" {
                    return Err(ApiError::NotFound("There is no such upstream.".to_owned()));
                }
                Ok(Renewed {
                    upstream: place.upstream,
                    address: place.address,
                    weight: renewal.weight.unwrap_or(1),
                    ttl: humantime::format_duration(renewal.ttl).to_string(),
                })
            })
        }

        fn withdraw(&self, place: Place) -> Answer<'_, Result<Withdrawn, ApiError>> {
            Box::pin(async move {
                Ok(Withdrawn {
                    upstream: place.upstream,
                    address: place.address,
                })
            })
        }

        fn routes(
            &self,
            _: Option<String>,
        ) -> Answer<'_, Result<Vec<gateway::admin::routes::Shown>, ApiError>> {
            Box::pin(async { Err(ApiError::Failed("nobody asks".to_owned())) })
        }

        fn change_route(
            &self,
            _: gateway::admin::routes::Order,
        ) -> Answer<'_, Result<gateway::admin::routes::Changed, ApiError>> {
            Box::pin(async { Err(ApiError::Failed("nobody asks".to_owned())) })
        }

        fn explain_request(&self, _: request::Question) -> Answer<'_, Result<request::Explained, ApiError>> {
            Box::pin(async { Err(ApiError::Invalid("The URL leads nowhere.".to_owned())) })
        }

        fn explain_packet(&self, _: packet::Question) -> Answer<'_, Result<packet::Explained, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("This node steers nothing.".to_owned())) })
        }

        fn trace(&self, _: trace::Order) -> Answer<'_, Result<trace::Running, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("no data plane".to_owned())) })
        }

        fn denied(&self) -> Answer<'_, Result<deny::Listed, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("This node steers nothing.".to_owned())) })
        }

        fn change_denied(&self, _: deny::Order) -> Answer<'_, Result<deny::Changed, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("This node steers nothing.".to_owned())) })
        }

        fn force(&self, breaker: Breaker, force: Option<Force>) -> Answer<'_, Result<Switched, ApiError>> {
            Box::pin(async move {
                if breaker.upstream != "users" {
                    return Err(ApiError::NotFound("There is no such upstream.".to_owned()));
                }
                Ok(Switched {
                    breaker: match force {
                        Some(Force::Open) => State::ForcedOpen,
                        Some(Force::Closed) => State::ForcedClosed,
                        None => State::HalfOpen,
                    },
                })
            })
        }
    }

    /// A served node, on a thread and in a directory of its own.
    struct Running {
        scratch: PathBuf,
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    }

    impl Running {
        fn start(name: &str, connections: u64) -> Self {
            let scratch = std::env::temp_dir().join(format!("gateway-show-{name}-{}", std::process::id()));
            std::fs::create_dir(&scratch).unwrap();
            let token = Token::load_or_make(&scratch.join("token")).unwrap();
            let bound = bind(&AdminListen::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
            let address = bound.address().unwrap();
            let (stop, stopped) = oneshot::channel();
            let api = Arc::new(Fading {
                events: Events::default(),
                connections: AtomicU64::new(connections),
            });
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime
                    .block_on(serve(bound, token, api, async move { drop(stopped.await) }))
                    .unwrap();
            });
            Self {
                scratch,
                address,
                stop,
                thread,
            }
        }

        fn client(&self, token: &str) -> Client {
            Client::new(AdminListen::Tcp(self.address), self.scratch.join(token))
        }

        fn stop(self) {
            self.stop.send(()).unwrap();
            self.thread.join().unwrap();
            std::fs::remove_dir_all(&self.scratch).unwrap();
        }
    }

    #[test]
    fn answers_and_errors_of_the_node_reach_the_operator() {
        let running = Running::start("errors", 1);
        let client = running.client("token");
        assert_eq!(
            client.ask::<Status>(Method::GET, "/v1/status").unwrap().0.node,
            "gw-1"
        );
        assert_eq!(
            client.ask::<Nodes>(Method::GET, "/v1/nodes").unwrap().0.nodes[0].name,
            "gw-2"
        );
        let refused = told(&reload(&client, Form::Json).unwrap_err());
        assert_eq!(refused, ("g.toml:1: odd; mend it\n1 problem".to_owned(), 64));
        let conflict = told(&undrain(&client, Form::Json).unwrap_err());
        assert_eq!(
            conflict,
            (
                "gateway: the node answered 409 Conflict: the node leaves".to_owned(),
                1
            )
        );
        let absent = running
            .client("absent")
            .ask::<Status>(Method::GET, "/v1/status")
            .unwrap_err();
        assert!(matches!(absent, ClientError::Token(_)), "{absent}");
        let wrong = running.scratch.join("wrong");
        std::fs::write(&wrong, "0123456789abcdef").unwrap();
        std::fs::set_permissions(&wrong, std::fs::Permissions::from_mode(0o600)).unwrap();
        let wrong = running
            .client("wrong")
            .ask::<Status>(Method::GET, "/v1/status")
            .unwrap_err()
            .to_string();
        assert!(
            wrong.contains("/wrong: name the file that its admin.token_file names"),
            "{wrong}"
        );
        running.stop();
        let gone = client
            .ask::<Status>(Method::GET, "/v1/status")
            .unwrap_err()
            .to_string();
        assert!(gone.contains("is `gateway run` running?"), "{gone}");
    }

    #[test]
    fn drain_waits_for_the_last_connection_and_no_longer_than_it_may() {
        let running = Running::start("drain", 3);
        drain(
            &running.client("token"),
            Form::Json,
            Some(Duration::from_secs(60)),
        )
        .unwrap();
        running.stop();
        let running = Running::start("drain-long", 1000);
        let late = drain(&running.client("token"), Form::Json, Some(Duration::ZERO))
            .unwrap_err()
            .to_string();
        assert!(
            late.starts_with("999 connections with 0 requests are still open after 0s"),
            "{late}"
        );
        running.stop();
    }

    #[test]
    fn something_else_on_the_port_is_named_as_such() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"220 mail ready\r\n").unwrap();
        });
        let running = Running::start("other", 1);
        let client = Client::new(AdminListen::Tcp(address), running.scratch.join("token"));
        let odd = client
            .ask::<Status>(Method::GET, "/v1/status")
            .unwrap_err()
            .to_string();
        assert!(odd.contains("does not answer as an admin API"), "{odd}");
        thread.join().unwrap();
        running.stop();
    }

    #[test]
    fn status_shows_what_an_operator_looks_for() {
        let text = status_text(&node_status(NodeState::Draining, 2), Style::Plain);
        for wanted in [
            "node       gw-1, version 0.1.0, up 1m 1s\n",
            "ready      no: it drains\n",
            "view       4: gw-1 (weight 0)\n",
            "dataplane  eth0 native (program 7)\n",
            "configuration refused at 1970-01-01T00:00:00Z; the one before stays in force\ng.toml:1: odd; mend it\n",
            "public  203.0.113.10  80     tcp       flow-hash                   7        420\n",
            "tx       owner   2        120\n",
            "gw-2     5        300\n",
            "a.example, www.a.example  none yet     1970-01-01T00:05:00Z  failed at 1970-01-01T00:00:00Z: too many\n",
            "users     10.0.1.1:80  failing    1       0       5         1         ejected, breaker half-open\n",
            "users     10.0.1.1:80  liveness  failing  1m 1s  answered 500\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
    }
}
