//! The node's data plane: set up once, told of every change, taken down on stop.

mod attachments;
mod start;
mod status;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_common::abi::VIPS_MAX;
use gateway_common::vip::VipId;
use rtnetlink::Handle;

use super::collect::Collected;
use super::counters::ReasonCount;
use super::desired::{self, Desired, Neighbours};
use super::interfaces::Link;
use super::loader::Loaded;
use super::neighbours::Reach;
use super::owners::{OwnersCache, Successors};
use super::pins::Pins;
use super::{L4Error, addresses, neighbours, plan, trace};
use crate::config::snapshot::{Dataplane, Encapsulation, Snapshot, Vip};
use crate::view::View;

use attachments::Numbers;

pub use attachments::{Attachment, Change, State};
pub use status::Status;

/// Tables up to which a change is written at once, with all successors, some 3 ms each. Of more, owners and previous owners
/// go first, so that nothing more is sent to a dead node; until the successors follow, a proxy that crashes here resets
/// what was to go to them.
const AWAITED_TABLES_MAX: usize = 8;

/// The kernel program of this node, and what user space knows of it.
pub struct DataPlane {
    pub(super) loaded: Loaded,
    counted: Arc<Collected>,
    pins: Pins,
    netlink: Handle,
    config: Dataplane,
    now: Desired,
    vip_ids: HashMap<String, VipId>,
    local_addresses: HashSet<IpAddr>,
    neighbours: Neighbours,
    /// The interfaces of `config`, as they were when they were last looked at.
    attachments: Vec<Attachment>,
    /// What the kernel program was told of them.
    numbers: Numbers,
    cache: OwnersCache,
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Writes and waits.
    pub steps: usize,
    /// Until all tables were written, with computing them.
    pub took: Duration,
}

impl DataPlane {
    /// Loads the program, over what an earlier life left in those pins, and attaches it. Tables come with the first `publish`.
    ///
    /// # Errors
    /// Whatever keeps the program from running here, with the remedy; nothing is left behind then that was not there
    /// before.
    pub async fn start(config: &Dataplane, pins: Pins) -> Result<Self, L4Error> {
        let (connection, netlink, _) = rtnetlink::new_connection().map_err(|source| L4Error::Netlink {
            action: "open a netlink socket".to_owned(),
            source: source.into(),
        })?;
        tokio::spawn(connection);
        let had_links = !pins.linked_interfaces()?.is_empty();
        let left_behind = addresses::left_behind(&netlink).await?;
        let (loaded, counters, now) = match start::load(config, &pins, &netlink).await {
            Ok(loaded) => loaded,
            Err(error) => {
                if !had_links && let Err(also) = pins.remove() {
                    tracing::warn!(error = %also, "the pins of the failed start are left");
                }
                return Err(error);
            }
        };
        let mut dataplane = Self {
            counted: Collected::new(counters, loaded.lists.told()),
            loaded,
            pins,
            netlink,
            config: config.clone(),
            // What an earlier life put on lo is this one's to remove.
            local_addresses: left_behind
                .into_iter()
                .chain(now.vips.keys().map(|key| key.address.into()))
                .collect(),
            now,
            vip_ids: HashMap::new(),
            neighbours: Neighbours::new(),
            attachments: config
                .interfaces
                .iter()
                .map(|name| Attachment::unseen(name))
                .collect(),
            numbers: Numbers::default(),
            cache: OwnersCache::default(),
        };
        if let Err(error) = dataplane.look_after_interfaces().await {
            if !had_links && let Err(also) = dataplane.stop().await {
                tracing::warn!(error = %also, "the failed start has left something behind");
            }
            return Err(error);
        }
        Ok(dataplane)
    }

    /// Brings maps and addresses to what snapshot and view say.
    ///
    /// # Errors
    /// A map or an address cannot be written; what was written forwards.
    pub async fn publish(&mut self, snapshot: &Snapshot, view: &View) -> Result<Published, L4Error> {
        let started = Instant::now();
        self.name_vips(snapshot);
        let id = |vip: &Vip| self.vip_ids.get(&vip.name).copied().unwrap_or_default();
        let bounds = snapshot
            .vips
            .iter()
            .map(|vip| (id(vip), vip.protection))
            .collect();
        self.loaded.lists.configure(&snapshot.protection, bounds);
        self.name_counters(view);
        self.configure_traces(self.names(snapshot), snapshot.trace.as_ref());
        let vips: HashSet<IpAddr> = snapshot.vips.iter().map(|vip| vip.address).collect();
        // Before the tables only what they need: a death must not wait for what has not changed.
        for address in vips.difference(&self.local_addresses.clone()) {
            addresses::add(&self.netlink, *address).await?;
            self.local_addresses.insert(*address);
        }
        if self.has_unresolved(snapshot, view) {
            self.resolve(&others(snapshot, view)).await?;
        }
        let mut steps = 0;
        if self.now.tables.len() > AWAITED_TABLES_MAX {
            self.cache.set_successors(Successors::Later);
            steps += self.write(snapshot, view)?;
            self.cache.set_successors(Successors::Awaited);
        }
        steps += self.write(snapshot, view)?;
        if self.loaded.takeover.is_some() {
            self.take_over().await?;
        }
        let live_after = started.elapsed();
        for address in &vips {
            // Those that seem to be there: somebody may have taken one away.
            addresses::add(&self.netlink, *address).await?;
        }
        let gone: Vec<IpAddr> = self.local_addresses.difference(&vips).copied().collect();
        for address in gone {
            addresses::remove(&self.netlink, address).await?;
            self.local_addresses.remove(&address);
        }
        Ok(Published {
            steps,
            took: live_after,
        })
    }

    /// Brings the maps to what should be in them; the number of steps that took.
    fn write(&mut self, snapshot: &Snapshot, view: &View) -> Result<usize, L4Error> {
        let next = desired::desired(
            snapshot,
            &self.config,
            view,
            &self.neighbours,
            &self.vip_ids,
            &self.now,
            &mut self.cache,
        );
        self.counted
            .tell_without_table(next.without_table, self.config.tables);
        let steps = plan::plan(&self.now, &next);
        for step in &steps {
            self.loaded.maps.carry_out(step)?;
            // Step by step, so that after a failure the next plan begins where this one ended.
            plan::record(&mut self.now, step);
        }
        Ok(steps.len())
    }

    /// Resolves the next hops to the other nodes; waits a moment for those that are new, so that the tables do not name
    /// a node before packets can reach it.
    async fn resolve(&mut self, others: &[IpAddr]) -> Result<(), L4Error> {
        /// A neighbour on the segment answers within a millisecond.
        const NEW_NEIGHBOUR_WAIT: Duration = Duration::from_millis(60);
        let known: HashSet<IpAddr> = self
            .now
            .node_addresses
            .keys()
            .map(|address| (*address).into())
            .collect();
        let deadline = Instant::now() + NEW_NEIGHBOUR_WAIT;
        loop {
            let found = self.look_for(others).await?;
            let is_new_missing = others
                .iter()
                .any(|other| !known.contains(other) && !found.contains_key(other));
            self.neighbours = found;
            if !is_new_missing || Instant::now() >= deadline {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the kernel knows of the next hops. What it forgot for a moment is still right until it knows better.
    async fn look_for(&self, others: &[IpAddr]) -> Result<Neighbours, L4Error> {
        let links: Vec<Link> = self.attachments.iter().filter_map(|one| one.link).collect();
        let mut found = neighbours::resolve(&self.netlink, &links, self.reach(), others).await?;
        for other in others {
            if let (None, Some(known)) = (found.get(other), self.neighbours.get(other)) {
                found.insert(*other, *known);
            }
        }
        Ok(found)
    }

    fn reach(&self) -> Reach {
        match self.config.encapsulation {
            Encapsulation::Gue => Reach::Routed,
            Encapsulation::Ipip | Encapsulation::L2 => Reach::Segment,
        }
    }

    /// Says to the kernel program that this process is alive and keeps the tables right.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn renew_lease(&self) -> Result<(), L4Error> {
        self.loaded.maps.renew_lease()
    }

    /// Looks again for the next hops; `true` if any has changed, so that it is time to publish.
    ///
    /// # Errors
    /// Netlink does not answer.
    pub async fn neighbours_changed(&mut self, snapshot: &Snapshot, view: &View) -> Result<bool, L4Error> {
        let found = self.look_for(&others(snapshot, view)).await?;
        let have_changed = found != self.neighbours;
        self.neighbours = found;
        Ok(have_changed)
    }

    /// Whether a member's hardware address is not known yet, so that nothing can be sent to it.
    pub fn has_unresolved(&self, snapshot: &Snapshot, view: &View) -> bool {
        others(snapshot, view)
            .iter()
            .any(|address| !self.neighbours.contains_key(address))
    }

    /// The counters, for the metrics.
    pub fn collected(&self) -> Arc<Collected> {
        Arc::clone(&self.counted)
    }

    /// Packets by reason.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn counters(&self) -> Result<Vec<ReasonCount>, L4Error> {
        self.counted.counters.reasons()
    }

    /// Detaches the program and removes all that was set up: links, maps, addresses.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed all the same.
    pub async fn stop(self) -> Result<(), L4Error> {
        let mut result = Ok(());
        let Self {
            loaded,
            pins,
            netlink,
            local_addresses,
            ..
        } = self;
        loaded.tracer.stop();
        drop(loaded);
        if let Err(error) = pins.remove() {
            result = Err(error);
        }
        for address in local_addresses {
            let removed = addresses::remove(&netlink, address).await;
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }

    fn name_counters(&self, view: &View) {
        let mut names = self.counted.names();
        let vips = self.vip_ids.iter().map(|(name, id)| (id.0, name.clone()));
        names.vips = vips.collect();
        let nodes = view
            .members
            .iter()
            .map(|member| (member.id.0, member.name.clone()));
        names.nodes = nodes.collect();
    }

    /// What packets' numbers mean, for traces.
    fn names(&self, snapshot: &Snapshot) -> trace::Names {
        let names = self.counted.names();
        trace::Names {
            node: snapshot.node.name.clone(),
            vips: names.vips.clone(),
            nodes: names.nodes.clone(),
        }
    }

    /// Gives each VIP a number for its counters, which it keeps for as long as it is configured.
    fn name_vips(&mut self, snapshot: &Snapshot) {
        self.vip_ids
            .retain(|name, _| snapshot.vips.iter().any(|vip| vip.name == *name));
        for vip in &snapshot.vips {
            if !self.vip_ids.contains_key(&vip.name) {
                let taken: HashSet<u16> = self.vip_ids.values().map(|id| id.0).collect();
                let free = (1..=VIPS_MAX as u16).find(|id| !taken.contains(id)).unwrap_or(0);
                self.vip_ids.insert(vip.name.clone(), VipId(free));
            }
        }
    }
}

fn others(snapshot: &Snapshot, view: &View) -> Vec<IpAddr> {
    let others = view
        .members
        .iter()
        .filter(|member| member.name != snapshot.node.name);
    others.flat_map(desired::addresses).collect()
}
