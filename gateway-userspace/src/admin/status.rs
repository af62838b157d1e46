//! What the admin API answers with: plain data, written by the daemon and read by the client.
//!
//! Clients must ignore members that they do not know: later versions add some, and take none away.

mod acme;
mod upstreams;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use acme::{AcmeCertificate, AcmeOrder, acme};
pub use upstreams::{
    CheckStatus, Endpoint, EndpointReadiness, UnderWay, Upstream, Upstreams, Used, upstreams,
};

use crate::config::snapshot::{Bounds, Snapshot, Steering, Transport};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// Number of the snapshot in force.
    pub snapshot: u64,
    /// The file it came from.
    pub config: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Where the node is in its life.
    pub state: NodeState,
    /// Whether it may get traffic.
    pub ready: bool,
    /// Why it may not; empty where it may.
    pub reasons: Vec<String>,
    /// Number of the cluster's view in force.
    pub view: u64,
    /// The nodes of that view.
    pub members: Vec<Member>,
    /// Steering in the kernel; absent: L7 only.
    pub dataplane: Option<Dataplane>,
    /// Connections of clients that are open.
    pub connections: u64,
    /// Requests under way.
    pub active_requests: u64,
    /// Where L7 accepts.
    pub listeners: Vec<Listener>,
    /// Certificates that are had by ACME.
    #[serde(default)]
    pub acme: Vec<AcmeCertificate>,
    /// Backend services.
    pub upstreams: Vec<Upstream>,
    /// The last configuration that was refused since the start, unless one was accepted after it.
    pub last_refused: Option<RefusedReload>,
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Not taking its share yet.
    Joining,
    /// Taking its share.
    Ready,
    /// Takes no new connections, finishes those it has.
    Draining,
    /// On its way out.
    Leaving,
}

impl NodeState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        }
    }
}

/// A node of the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name.
    pub name: String,
    /// Its share of new connections; 0 while it drains.
    pub weight: u32,
    /// The life of its sockets.
    pub incarnation: u32,
}

/// Steering in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataplane {
    /// Where the program is attached, or should be.
    pub interfaces: Vec<Interface>,
    /// What it steers.
    pub vips: Vec<Vip>,
    /// What it decided so far.
    pub verdicts: Vec<VerdictCount>,
    /// What it sent to other nodes so far.
    #[serde(default)]
    pub steered: Vec<Steered>,
}

/// One interface of `[dataplane]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// `attached`; `down`, without carrier; `gone`, not there; `refused`, without this node's program.
    pub state: String,
    /// How the program is attached; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AttachedMode>,
    /// The kernel's id of the program, as `bpftool prog` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<u32>,
    /// Longest IP packet that the interface takes, in bytes; absent: it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// For people, what is to be said of its state.
    pub why: String,
}

/// How a program came to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the stack: slower.
    Generic,
}

/// One VIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vip {
    /// Its name.
    pub name: String,
    /// What clients connect to.
    pub address: IpAddr,
    /// Sorted.
    pub ports: Vec<u16>,
    /// The transport.
    pub protocol: Transport,
    /// What chooses the owner.
    pub steering: Steering,
    /// What may begin there; absent: it is UDP, which has no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<VipBounds>,
    /// Packets for it that this node has seen.
    #[serde(default)]
    pub packets: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// What was decided for them.
    #[serde(default)]
    pub verdicts: Vec<VerdictCount>,
}

/// What may begin at a VIP, by its own bounds or those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipBounds {
    /// By one source.
    pub source: Bounds,
    /// By all together.
    pub vip: Bounds,
}

/// What was sent to another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steered {
    /// Its name.
    pub node: String,
    /// Packets.
    pub packets: u64,
    /// Their bytes as they came, before anything was put around them.
    pub bytes: u64,
}

/// Packets of one verdict and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// Why.
    pub reason: String,
    /// What was done.
    pub action: String,
    /// Packets since the program was loaded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it accepts.
    pub address: SocketAddr,
    /// How many routes name it.
    pub routes: usize,
}

/// A configuration that was refused while the node ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// Every problem, one a line.
    pub text: String,
}

impl RefusedReload {
    /// One that was refused at that time.
    pub fn new(at: SystemTime, text: String) -> Self {
        Self {
            at: humantime::format_rfc3339_seconds(at).to_string(),
            text,
        }
    }
}

/// `GET /v1/nodes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nodes {
    /// This node among them.
    pub nodes: Vec<Node>,
}

/// A node of the cluster, as this node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where the others reach it: IPv4, IPv6, or both.
    pub addresses: Vec<IpAddr>,
    /// Its configured share.
    pub weight: u32,
    /// What it says of itself.
    pub state: NodeState,
    /// Whether it is heard.
    pub alive: bool,
    /// Milliseconds since it was last heard; 0 for this node, absent for one never heard.
    pub last_heard_ms: Option<u64>,
    /// Number of the view that it has.
    pub view: u64,
    /// The life of its sockets.
    pub incarnation: u32,
}

/// `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether the node may get traffic.
    pub ready: bool,
    /// Why it may not; empty where it may.
    pub reasons: Vec<String>,
}

/// `POST /v1/drain` and `POST /v1/undrain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What the node is now.
    pub state: NodeState,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Number of the snapshot in force.
    pub snapshot: u64,
}

/// Any error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable, for programs.
    pub code: String,
    /// A plain sentence, for people.
    pub message: String,
}

/// The listeners of a snapshot.
pub fn listeners(snapshot: &Snapshot) -> Vec<Listener> {
    let one = |listener: &std::sync::Arc<crate::config::snapshot::Listener>| Listener {
        name: listener.name.clone(),
        address: listener.address,
        routes: listener.routes.len(),
    };
    snapshot.listeners.iter().map(one).collect()
}

/// The VIPs of a snapshot.
pub fn vips(snapshot: &Snapshot) -> Vec<Vip> {
    let one = |vip: &crate::config::snapshot::Vip| Vip {
        name: vip.name.clone(),
        address: vip.address,
        ports: vip.ports.clone(),
        protocol: vip.protocol,
        steering: vip.steering,
        bounds: (vip.protocol == Transport::Tcp).then(|| VipBounds {
            source: vip.protection.source.unwrap_or(snapshot.protection.source),
            vip: vip.protection.vip.unwrap_or(snapshot.protection.vip),
        }),
        packets: 0,
        bytes: 0,
        verdicts: Vec::new(),
    };
    snapshot.vips.iter().map(one).collect()
}
