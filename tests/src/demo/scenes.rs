//! What happens in the demo, in order, and when.
//!
//! | scene | what | load |
//! |---|---|---|
//! | spread | 3,000 connections by flow-hash, over each family, 3,000 client addresses by ip-hash | those |
//! | steady | nothing | kept and new connections |
//! | kill | one node's process gets SIGKILL, later starts again | the same |
//! | cut | another's cable is cut, later mended | the same |
//! | drain | one is drained by its admin API, later undrained | the same |
//! | stop | all nodes end by SIGTERM; what is left is counted | none |

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;

use super::live::Live;
use super::tally::{DETECTION_MAX, Death};
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
    /// From the death to the last frame that was sent to the node before it came back; `None` where nobody saw.
    pub quiet_after: Option<Duration>,
    /// When it was brought back.
    pub back: Instant,
}

/// A drain, with its node.
#[derive(Clone, Debug)]
pub struct Drained {
    /// Its name.
    pub node: String,
    /// From the request to the undrain.
    pub span: Span,
    /// No connection may be opened on the node from here to the end of the span.
    pub settled: Instant,
}

/// All that was seen, as far as the demo came: what was not is `None`.
#[derive(Debug, Default)]
pub struct Seen {
    /// Nodes without a native XDP program.
    pub not_native: Option<u64>,
    /// 3,000 connections from one address.
    pub flow_hash: Option<Spread>,
    /// The same over IPv6.
    pub flow_hash_v6: Option<Spread>,
    /// 3,000 addresses, two connections each.
    pub ip_hash: Option<Spread>,
    /// The steady scene.
    pub steady: Option<Span>,
    /// The death of [`KILL`].
    pub kill: Option<Loss>,
    /// The death of [`CUT`].
    pub cut: Option<Loss>,
    /// The drain.
    pub drain: Option<Drained>,
    /// The journal of the load that ran through all scenes but the spread.
    pub records: Vec<Record>,
    /// Records that found no room; `None` where the load did not run through all scenes.
    pub left_out: Option<u64>,
    /// What the nodes left behind after they were stopped.
    pub left: Option<Vec<String>>,
}

impl Seen {
    /// Both deaths, as far as they happened.
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.kill.iter().chain(&self.cut)
    }

    /// Both deaths without what became of the nodes.
    pub fn deaths(&self) -> Vec<Death> {
        self.losses().map(|loss| loss.death.clone()).collect()
    }
}

/// Name of the scene of a killed process.
pub const KILL: &str = "kill";

/// Name of the scene of a cut cable.
pub const CUT: &str = "cut";

/// Plays all scenes in a lab whose nodes run, and writes down what is seen as it happens.
///
/// # Errors
/// Where the lab fails; failed requests are what is measured.
pub fn play(lab: &Lab, script: &Script, seen: &mut Seen) -> Result<()> {
    let mut not_native = 0;
    for node in lab.nodes() {
        let mode = node.xdp_mode()?;
        println!("  {}: XDP {mode:?}", node.name());
        not_native += u64::from(mode != XdpMode::Native);
    }
    seen.not_native = Some(not_native);
    measure_spreads(lab, seen)?;

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
    let played = play_under_load(lab, script, &live, &tap, seen);

    drop(live);
    println!("load: waiting for what is under way");
    let journal = load.stop()?;
    seen.records = journal.since(0);
    played?;
    seen.left_out = Some(journal.left_out());
    tap.end()
}

fn measure_spreads(lab: &Lab, seen: &mut Seen) -> Result<()> {
    let own = vec![None; usize::from(SPREAD_CONNECTIONS)];
    println!("spread: {SPREAD_CONNECTIONS} connections to a flow-hash VIP, over IPv4 and over IPv6");
    let [v4, v6] = [Family::V4, Family::V6].map(|family| Vip::FlowHash.http(family));
    seen.flow_hash = Some(spread::measure(lab.client(), v4, own.clone())?);
    seen.flow_hash_v6 = Some(spread::measure(lab.client(), v6, own)?);
    println!("spread: {SPREAD_CONNECTIONS} client addresses, two connections each, to an ip-hash VIP");
    let once = (0..SPREAD_CONNECTIONS).map(|number| Some(client_source(Family::V4, number)));
    let twice = once.clone().chain(once).collect();
    let target = Vip::IpHash.http(Family::V4);
    seen.ip_hash = Some(spread::measure(lab.client(), target, twice)?);
    Ok(())
}

fn play_under_load(lab: &Lab, script: &Script, live: &Live, tap: &Tap, seen: &mut Seen) -> Result<()> {
    let from = Instant::now();
    std::thread::sleep(script.scene);
    let to = Instant::now();
    seen.steady = Some(Span { from, to });
    // The director's death is the harder one: the VIP must move as well.
    let killed = tap.director().unwrap_or(0);
    kill(lab, killed, script, live, tap, &mut seen.kill)?;
    // It may be director again: then another node is cut off.
    let cut_off = tap
        .director()
        .filter(|index| *index != killed)
        .unwrap_or((killed + 1) % NODES);
    cut(lab, cut_off, script, live, tap, &mut seen.cut)?;
    let drained = (0..NODES)
        .find(|index| ![killed, cut_off].contains(index))
        .unwrap_or(0);
    seen.drain = Some(drain(node_of(lab, drained)?, script, live)?);
    Ok(())
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

fn kill(
    lab: &Lab,
    index: usize,
    script: &Script,
    live: &Live,
    tap: &Tap,
    seen: &mut Option<Loss>,
) -> Result<()> {
    let node = node_of(lab, index)?;
    let role = role(tap, index);
    let at = node.kill()?;
    live.say(format!("{} killed (SIGKILL){role}", node.name()));
    std::thread::sleep(script.scene);
    *seen = Some(loss(KILL, node, at, tap.quiet_after(index, at)?));
    live.say(format!("{} starts again", node.name()));
    node.start()?;
    node.wait_ready()?;
    settle(lab, node, live)
}

fn cut(
    lab: &Lab,
    index: usize,
    script: &Script,
    live: &Live,
    tap: &Tap,
    seen: &mut Option<Loss>,
) -> Result<()> {
    let node = node_of(lab, index)?;
    let role = role(tap, index);
    let at = lab.cut_link(node.name())?;
    live.say(format!("{}'s link cut{role}", node.name()));
    std::thread::sleep(script.scene);
    *seen = Some(loss(CUT, node, at, tap.quiet_after(index, at)?));
    lab.heal_link(node.name())?;
    live.say(format!("{}'s link mended", node.name()));
    settle(lab, node, live)
}

fn loss(scene: &'static str, node: &Node, at: Instant, quiet_after: Option<Duration>) -> Loss {
    let death = Death {
        node: node.name().to_owned(),
        at,
    };
    Loss {
        scene,
        death,
        quiet_after,
        back: Instant::now(),
    }
}

fn settle(lab: &Lab, node: &Node, live: &Live) -> Result<()> {
    lab.wait_formed(NODES)?;
    live.say(format!("{} is back", node.name()));
    std::thread::sleep(SETTLE);
    Ok(())
}

fn drain(node: &Node, script: &Script, live: &Live) -> Result<Drained> {
    let from = Instant::now();
    node.admin_json(Method::POST, "/v1/drain")
        .with_context(|| format!("drain {}", node.name()))?;
    let settled = Instant::now() + DETECTION_MAX;
    live.say(format!("{} drains", node.name()));
    std::thread::sleep(script.scene);
    let to = Instant::now();
    node.admin_json(Method::POST, "/v1/undrain")
        .with_context(|| format!("undrain {}", node.name()))?;
    live.say(format!("{} takes connections again", node.name()));
    std::thread::sleep(SETTLE);
    Ok(Drained {
        node: node.name().to_owned(),
        span: Span { from, to },
        settled,
    })
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
