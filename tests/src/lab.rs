//! The lab: one client, three gateway nodes and three upstreams on one switch, each in a network namespace of its own;
//! or the client behind a router, which knows the nodes as next hops.
//!
//! Everything is real but the cables: kernel TCP, native XDP, the released program. A lab removes itself when it is
//! dropped, on a panic and on Ctrl-C; what a killed run left is removed by the next one. Labs stand side by side.
//! Modules in the order in which a lab is raised. What happens in a lab is up to `load`, `demo` and the tests.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;
use nix::unistd::Uid;
use rand::Rng;

pub mod addresses;
pub mod claim;
pub mod echo;
pub mod exchange;
pub mod hosts;
pub mod netns;
pub mod node;
pub mod offload;
pub mod pass;
pub mod plug;
pub mod remains;
pub mod router;
pub mod settings;
pub mod sysctl;
pub mod tagged;
pub mod tap;
pub mod upstream;
pub mod wait;
pub mod wire;

use addresses::{CLIENT_NETWORK_V4, CLIENT_NETWORK_V6, NODES, UPSTREAMS};
use claim::Claim;
use hosts::{BRIDGE, INSIDE_BRIDGE, add_client_behind, add_host, inside_port};
use netns::Namespace;
use node::Node;
use pass::Passing;
use router::Router;
use settings::{Announce, Common, Families, Files, Links};
use upstream::Upstream;
use wait::wait_until;
use wire::Power;

/// From ready nodes to nodes that all know each other: some heartbeats.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// Length of the cluster's secret.
const CLUSTER_KEY_BYTES: usize = 32;

/// What a lab is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Weight of each node.
    pub weights: [u32; NODES],
    /// The gateway's program.
    pub program: PathBuf,
    /// What all nodes' configurations have in common. Where nodes announce nothing, there is a router.
    pub common: Common,
}

impl Plan {
    /// Nodes of equal weight, and the program that `GATEWAY_BIN` names or that was built beside the running one.
    ///
    /// # Errors
    /// Where there is no program.
    pub fn new() -> Result<Self> {
        Ok(Self {
            weights: [1; NODES],
            program: gateway_program()?,
            common: Common::default(),
        })
    }
}

/// A lab that stands. Its nodes run when they are started.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they must go.
    nodes: Vec<Node>,
    upstreams: Vec<Upstream>,
    client: Namespace,
    router: Option<Router>,
    _passing: Option<Passing>,
    switch: Namespace,
    common: Common,
    traces: Traces,
}

/// Whether the switch can take frames that a node's XDP program sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Its ports to nodes have a passing XDP program.
    TakesXdp,
    /// They have none: enough for what needs no steering, and needs no kernel object.
    Plain,
}

impl Lab {
    /// Raises a lab for gateway nodes; none of them runs yet.
    ///
    /// # Errors
    /// Without the rights of root, without the kernel object, and where the kernel refuses something; nothing is left.
    pub fn raise(plan: &Plan) -> Result<Self> {
        Self::raise_with(plan, Switch::TakesXdp)
    }

    /// As [`Lab::raise`], with a choice of switch.
    ///
    /// # Errors
    /// As [`Lab::raise`].
    pub fn raise_with(plan: &Plan, kind: Switch) -> Result<Self> {
        if !Uid::effective().is_root() {
            bail!("the lab makes network namespaces and loads XDP programs: run it as root");
        }
        remains::mount_bpffs()?;
        let traces = Traces::new(Claim::take()?)?;
        let id = traces.claim.id();

        let switch = Namespace::create(&remains::namespace(id, "switch"))?;
        switch.run(|| -> Result<()> {
            sysctl::write(sysctl::SWITCH)?;
            wire::add_bridge(BRIDGE)?;
            wire::add_bridge(INSIDE_BRIDGE)?;
            sysctl::write_where_present(sysctl::SWITCH_WHERE_PRESENT)
        })??;

        let families = plan.common.families;
        let router = match plan.common.announce {
            Announce::Vip => None,
            Announce::None => {
                let name = "router";
                let namespace = add_host(id, &switch, name, addresses::router(), sysctl::ROUTER, families)?;
                Some(namespace)
            }
        };
        let client = match &router {
            None => add_host(
                id,
                &switch,
                "client",
                addresses::client(),
                sysctl::CLIENT,
                families,
            )?,
            Some(router) => add_client_behind(router, id, families)?,
        };
        client.run(move || -> Result<()> {
            if families == Families::Both {
                wire::add_local_network(CLIENT_NETWORK_V4.0.into(), CLIENT_NETWORK_V4.1)?;
            }
            wire::add_local_network(CLIENT_NETWORK_V6.0.into(), CLIENT_NETWORK_V6.1)
        })??;
        let router = router
            .map(|namespace| Router::new(namespace, families.list()))
            .transpose()?;
        let upstreams = (0..UPSTREAMS)
            .map(|index| {
                let name = format!("upstream{}", index + 1);
                let namespace = add_host(id, &switch, &name, addresses::upstream(index), &[], families)?;
                Upstream::start(index, namespace)
            })
            .collect::<Result<Vec<_>>>()?;
        let nodes = (0..NODES)
            .zip(plan.weights)
            .map(|(index, weight)| {
                let name = node::name(index);
                let namespace = add_host(id, &switch, &name, addresses::node(index), sysctl::NODE, families)?;
                let common = plan.common;
                namespace.run(move || hosts::add_ways_to_client(common))??;
                if common.links == Links::Two {
                    hosts::plug_inside(&switch, index, &namespace, families)?;
                }
                let files = Files::new(&remains::directory(id), &remains::pin_directory(id), &name);
                Node::new(index, weight, files, plan.common, &plan.program, namespace)
            })
            .collect::<Result<Vec<_>>>()?;
        let passing = match kind {
            Switch::TakesXdp => {
                let mut ports: Vec<_> = (0..NODES).map(node::name).collect();
                if plan.common.links == Links::Two {
                    ports.extend((0..NODES).map(|index| inside_port(&node::name(index))));
                }
                Some(switch.run(move || pass::attach(&ports))??)
            }
            Switch::Plain => None,
        };
        Ok(Self {
            nodes,
            upstreams,
            client,
            router,
            _passing: passing,
            switch,
            common: plan.common,
            traces,
        })
    }

    /// Its number, which all its names carry.
    pub fn id(&self) -> u32 {
        self.traces.claim.id()
    }

    /// Directory of its files; gone with the lab.
    pub fn directory(&self) -> PathBuf {
        remains::directory(self.id())
    }

    /// The client's namespace.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The router between client and nodes.
    ///
    /// # Errors
    /// Where the plan wanted none.
    pub fn router(&self) -> Result<&Router> {
        self.router.as_ref().context("this lab has no router")
    }

    /// The switch's namespace; its ports are named after the hosts.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The upstreams.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// Starts all nodes and waits until each is ready and knows the others.
    ///
    /// # Errors
    /// Where one does not get ready; quotes what it wrote.
    pub fn start_nodes(&self) -> Result<()> {
        self.start_first(NODES)
    }

    /// Starts that many nodes and waits until each is ready and knows the others.
    ///
    /// # Errors
    /// Where one does not get ready; quotes what it wrote.
    pub fn start_first(&self, count: usize) -> Result<()> {
        for node in self.nodes.iter().take(count) {
            node.start()?;
        }
        for node in self.nodes.iter().take(count) {
            node.wait_ready()?;
        }
        self.wait_formed(count)
    }

    /// Waits until every running node counts `alive` living nodes.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn wait_formed(&self, alive: usize) -> Result<()> {
        let deadline = Instant::now() + FORM_TIMEOUT;
        let running: Vec<_> = self.nodes.iter().filter(|node| node.pid().is_some()).collect();
        let formed = wait_until(deadline, || {
            running
                .iter()
                .all(|node| living_nodes(node).is_ok_and(|count| count == alive))
                .then_some(())
        });
        if formed.is_some() {
            return Ok(());
        }
        let mut seen = String::new();
        for node in running {
            let count =
                living_nodes(node).map_or_else(|error| format!("{error:#}"), |count| count.to_string());
            seen.push_str(&format!("\n  {} sees {count}", node.name()));
        }
        bail!("the nodes do not all see {alive} living nodes within {FORM_TIMEOUT:?}:{seen}")
    }

    /// Cuts a host's cable: its port on the switch goes down, its interface loses the carrier. Says since when it may.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn cut_link(&self, port: &str) -> Result<Instant> {
        let name = port.to_owned();
        self.switch.run(move || {
            let cut = Instant::now();
            wire::set_power(&name, Power::Down).map(|()| cut)
        })?
    }

    /// Mends a cable that was cut.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn heal_link(&self, port: &str) -> Result<Instant> {
        let name = port.to_owned();
        self.switch.run(move || wire::set_power(&name, Power::Up))??;
        Ok(Instant::now())
    }
}

/// The number of a lab with its files; removes whatever bears the number when it goes, also where a lab was half built.
#[derive(Debug)]
struct Traces {
    claim: Claim,
}

impl Traces {
    fn new(claim: Claim) -> Result<Self> {
        let traces = Self { claim };
        let id = traces.claim.id();
        remains::remove_on_signal(id)?;
        let directory = remains::directory(id);
        let pins = remains::pin_directory(id);
        for path in [&directory, &pins] {
            fs::create_dir(path).with_context(|| format!("create {}", path.display()))?;
        }
        let mut key = [0; CLUSTER_KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join("cluster.key");
        fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .with_context(|| format!("protect {}", path.display()))?;
        Ok(traces)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = remains::remove(self.claim.id()) {
            eprintln!("lab: {error:#}");
        }
        remains::forget(self.claim.id());
    }
}

/// The program that `GATEWAY_BIN` names, or else the one that was built beside the running program.
///
/// # Errors
/// Where there is none.
pub fn gateway_program() -> Result<PathBuf> {
    let path = match std::env::var_os("GATEWAY_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe().context("find the running program")?;
            // Test programs lie in `deps`, one below the others.
            let candidates = own.ancestors().skip(1).take(2).map(|place| place.join("gateway"));
            candidates
                .into_iter()
                .find(|path| path.is_file())
                .unwrap_or_else(|| own.with_file_name("gateway"))
        }
    };
    if !path.is_file() {
        bail!(
            "there is no {}; build it (`cargo build -p gateway-userspace`) or set GATEWAY_BIN",
            path.display()
        );
    }
    Ok(path)
}

fn living_nodes(node: &Node) -> Result<usize> {
    let answer = node.admin_json(Method::GET, "/v1/nodes")?;
    let nodes = answer.get("nodes").unwrap_or(&answer);
    let nodes = nodes.as_array().context("/v1/nodes is no list")?;
    let alive = |node: &&serde_json::Value| node.get("alive").and_then(|alive| alive.as_bool()) == Some(true);
    Ok(nodes.iter().filter(alive).count())
}
