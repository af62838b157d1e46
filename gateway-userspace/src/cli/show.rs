//! The client's commands: ask the running node, and show what it says.

use std::thread::sleep;
use std::time::{Duration, Instant};

use gateway::admin::status::{Changed, EndpointReadiness, Member, NodeState, Nodes, Reloaded, Status};
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

fn show(form: Form, value: &Value, text: impl FnOnce(Style) -> String) -> anyhow::Result<()> {
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
        let mut vips = Table::new(&["VIP", "address", "ports", "protocol", "steering"]);
        for vip in &dataplane.vips {
            let ports: Vec<String> = vip.ports.iter().map(u16::to_string).collect();
            let (protocol, steering) = (word(&vip.protocol), word(&vip.steering));
            vips.row([
                (&vip.name).into(),
                vip.address.into(),
                ports.join(", ").into(),
                protocol.into(),
                steering.into(),
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
    }
    let mut listeners = Table::new(&["listener", "address", "routes"]);
    for listener in &status.listeners {
        listeners.row([
            (&listener.name).into(),
            listener.address.into(),
            listener.routes.into(),
        ]);
    }
    let mut endpoints = Table::new(&[
        "upstream",
        "endpoint",
        "readiness",
        "weight",
        "active",
        "requests",
        "failures",
    ]);
    for upstream in &status.upstreams {
        for endpoint in &upstream.endpoints {
            let tone = match endpoint.readiness {
                EndpointReadiness::Ready => Tone::Good,
                EndpointReadiness::Failing => Tone::Bad,
                EndpointReadiness::Unknown => Tone::Doubtful,
                EndpointReadiness::Unchecked => Tone::Plain,
            };
            endpoints.row([
                (&upstream.name).into(),
                endpoint.address.into(),
                Cell(endpoint.readiness.word().to_owned(), tone),
                endpoint.weight.into(),
                endpoint.active.into(),
                endpoint.requests.into(),
                endpoint.failures.into(),
            ]);
        }
    }
    text.push_str(&format!("\n{}\n{}", listeners.text(style), endpoints.text(style)));
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
        let one = |i: &gateway::admin::status::Interface| {
            format!("{} {} (program {})", i.name, word(&i.mode), i.program)
        };
        interfaces.map(one).collect::<Vec<_>>().join(", ")
    });
    table.row([
        "dataplane".into(),
        dataplane.unwrap_or_else(|| "none: L7 only".to_owned()).into(),
    ]);
    let load = format!(
        "{} connections, {} requests under way",
        status.connections, status.active_requests
    );
    table.row(["load".into(), load.into()]);
    table.text(style)
}
