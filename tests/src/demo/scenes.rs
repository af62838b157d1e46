//! What happens in the demo, in order, and when.
//!
//! | scene | what | load |
//! |---|---|---|
//! | spread | 3,000 connections by flow-hash, 3,000 client addresses by ip-hash | those |
//! | steady | nothing | kept and new connections |
//! | kill | one node's process gets SIGKILL, later starts again | the same |
//! | cut | another's cable is cut, later mended | the same |
//! | drain | one is drained by its admin API, later undrained | the same |
//! | stop | all nodes end by SIGTERM; what is left is counted | none |

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;

use super::live::Live;
use super::tally::Death;
use crate::lab::Lab;
use crate::lab::addresses::{Family, NODES, Vip, client_source};
use crate::lab::node::Node;
use crate::lab::tap::Tap;
use crate::lab::wire::XdpMode;
use crate::load::journal::Record;
use crate::load::spread::{self, Spread};
use crate::load::{Load, Pattern};

/// Connections of the flow-hash measurement, and client addresses of that of ip-hash: the figure of the targets.
pub const SPREAD_CONNECTIONS: u16 = 3_000;

/// A node that came back has heard the others by then, and old and new views have met.
const SETTLE: Duration = Duration::from_secs(2);

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct Script {
    /// Length of each scene.
    pub scene: Duration,
    /// Requests a second on kept connections.
    pub requests_per_second: u32,
    /// Kept connections.
    pub kept: u32,
    /// New connections a second.
    pub fresh_per_second: u32,
}

/// When something began and ended.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its begin.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

/// A death, with what became of its node.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Which scene: `kill` or `cut`.
    pub scene: &'static str,
    /// Who and when.
    pub death: Death,
    /// From the death to the last frame that was sent to the node before it came back; zero where none was.
    pub quiet_after: Duration,
    /// When it was brought back.
    pub back: Instant,
}

/// All that was seen.
#[derive(Debug)]
pub struct Seen {
    /// 3,000 connections from one address.
    pub flow_hash: Spread,
    /// 3,000 addresses, two connections each.
    pub ip_hash: Spread,
    /// The journal of the load that ran through all other scenes.
    pub records: Vec<Record>,
    /// Records that found no room.
    pub left_out: u64,
    /// The steady scene.
    pub steady: Span,
    /// The drain, from the request to the undrain.
    pub drain: Span,
    /// Which node was drained.
    pub drained: String,
    /// Both deaths.
    pub losses: Vec<Loss>,
    /// Nodes without a native XDP program.
    pub not_native: u64,
}

/// Plays all scenes but the last in a lab whose nodes run.
///
/// # Errors
/// Where the lab fails; failed requests are what is measured.
pub fn play(lab: &Lab, script: &Script) -> Result<Seen> {
    let mut not_native = 0;
    for node in lab.nodes() {
        let mode = node.xdp_mode()?;
        println!("  {}: XDP {mode:?}", node.name());
        not_native += u64::from(mode != XdpMode::Native);
    }

    println!("spread: {SPREAD_CONNECTIONS} connections to a flow-hash VIP");
    let own = vec![None; usize::from(SPREAD_CONNECTIONS)];
    let flow_hash = spread::measure(lab.client(), Vip::FlowHash.http(Family::V4), own)?;
    println!("spread: {SPREAD_CONNECTIONS} client addresses, two connections each, to an ip-hash VIP");
    let once = (0..SPREAD_CONNECTIONS).map(|number| Some(client_source(Family::V4, number)));
    let twice = once.clone().chain(once).collect();
    let ip_hash = spread::measure(lab.client(), Vip::IpHash.http(Family::V4), twice)?;

    println!(
        "load: {} requests/s on {} kept connections, {} new connections/s",
        script.requests_per_second, script.kept, script.fresh_per_second
    );
    let tap = Tap::start(lab)?;
    let pattern = Pattern {
        target: Vip::FlowHash.http(Family::V4),
        kept: script.kept,
        requests_per_second: script.requests_per_second,
        fresh_per_second: script.fresh_per_second,
    };
    let load = Load::start(lab, pattern)?;
    let live = Live::start(
        &load,
        lab.nodes().iter().map(|node| node.name().to_owned()).collect(),
    )?;
    let steady_from = Instant::now();
    std::thread::sleep(script.scene);
    let steady = Span {
        from: steady_from,
        to: Instant::now(),
    };
    // The director's death is the harder one: the VIP must move as well.
    let killed = tap.director().unwrap_or(0);
    let mut losses = vec![kill(lab, killed, script, &live, &tap)?];
    // It may be director again: then another node is cut off.
    let cut_off = tap
        .director()
        .filter(|index| *index != killed)
        .unwrap_or((killed + 1) % NODES);
    losses.push(cut(lab, cut_off, script, &live, &tap)?);
    let drained = (0..NODES)
        .find(|index| ![killed, cut_off].contains(index))
        .unwrap_or(0);
    let drained = node_of(lab, drained)?;
    let drain = drain(drained, script, &live)?;

    drop(live);
    println!("load: waiting for what is under way");
    let journal = load.stop()?;
    Ok(Seen {
        flow_hash,
        ip_hash,
        records: journal.since(0),
        left_out: journal.left_out(),
        steady,
        drain,
        drained: drained.name().to_owned(),
        losses,
        not_native,
    })
}

/// Ends all nodes by SIGTERM and lists what they left.
///
/// # Errors
/// Where one does not end, or the lab cannot look.
pub fn stop_all(lab: &Lab) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for node in lab.nodes() {
        let status = node.stop()?;
        if !status.success() {
            left.push(format!("{}: ended with {status}", node.name()));
        }
        let remains = node.leftovers()?;
        left.extend(remains.into_iter().map(|what| format!("{}: {what}", node.name())));
    }
    Ok(left)
}

fn kill(lab: &Lab, index: usize, script: &Script, live: &Live, tap: &Tap) -> Result<Loss> {
    let node = node_of(lab, index)?;
    let role = role(tap, index);
    let at = node.kill()?;
    live.say(format!("{} killed (SIGKILL){role}", node.name()));
    std::thread::sleep(script.scene);
    let quiet_after = quiet_after(tap, index, at);
    live.say(format!("{} starts again", node.name()));
    let back = Instant::now();
    node.start()?;
    node.wait_ready()?;
    lab.wait_formed(NODES)?;
    live.say(format!("{} is back", node.name()));
    std::thread::sleep(SETTLE);
    Ok(Loss {
        scene: "kill",
        death: Death {
            node: node.name().to_owned(),
            at,
        },
        quiet_after,
        back,
    })
}

fn cut(lab: &Lab, index: usize, script: &Script, live: &Live, tap: &Tap) -> Result<Loss> {
    let node = node_of(lab, index)?;
    let role = role(tap, index);
    let at = lab.cut_link(node.name())?;
    live.say(format!("{}'s link cut{role}", node.name()));
    std::thread::sleep(script.scene);
    let quiet_after = quiet_after(tap, index, at);
    let back = lab.heal_link(node.name())?;
    live.say(format!("{}'s link mended", node.name()));
    lab.wait_formed(NODES)?;
    live.say(format!("{} is back", node.name()));
    std::thread::sleep(SETTLE);
    Ok(Loss {
        scene: "cut",
        death: Death {
            node: node.name().to_owned(),
            at,
        },
        quiet_after,
        back,
    })
}

fn drain(node: &Node, script: &Script, live: &Live) -> Result<Span> {
    let from = Instant::now();
    node.admin_json(Method::POST, "/v1/drain")
        .with_context(|| format!("drain {}", node.name()))?;
    live.say(format!("{} drains", node.name()));
    std::thread::sleep(script.scene);
    node.admin_json(Method::POST, "/v1/undrain")
        .with_context(|| format!("undrain {}", node.name()))?;
    let to = Instant::now();
    live.say(format!("{} takes connections again", node.name()));
    std::thread::sleep(SETTLE);
    Ok(Span { from, to })
}

fn node_of(lab: &Lab, index: usize) -> Result<&Node> {
    lab.nodes().get(index).with_context(|| format!("no node {index}"))
}

/// Says it where a node is the one that the client's packets arrive at.
fn role(tap: &Tap, index: usize) -> &'static str {
    if tap.director() == Some(index) {
        ", the VIP's director"
    } else {
        ""
    }
}

fn quiet_after(tap: &Tap, index: usize, death: Instant) -> Duration {
    tap.last(index)
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(death))
}
