//! The control loop: follows views, neighbours and operators, and publishes what comes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::certificates::Certificates;
use super::command::Command;
use super::health::{Panics, Reasons};
use super::interfaces::Reached;
use super::publish::publish;
use super::registrations::Registrations;
use crate::acme::Issuer;
use crate::admin::ApiError;
use crate::admin::status::{NodeState, RefusedReload};
use crate::cluster::announce::Announcer;
use crate::cluster::{Cluster, State};
use crate::config::Settings;
use crate::config::denied::Denied;
use crate::config::snapshot::Snapshot;
use crate::events::Events;
use crate::guards::Driver;
use crate::health::{Checks, FIRST_ROUND_MAX};
use crate::jwks::Fetcher;
use crate::l4::DataPlane;
use crate::l7::{Keeping, Shared, Workers};
use crate::names::Names;
use crate::registry::Registry;
use crate::view::View;

/// How often neighbours and workers are looked after.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Neighbours that are all resolved are looked at every so many ticks: once a second.
const TICKS_PER_NEIGHBOUR_ROUND: u32 = 10;
/// How long the first node of a cluster waits for somebody's view before it offers to serve without one.
const VIEW_WAIT: Duration = Duration::from_millis(1_500);
/// How long something may keep the node from serving before it gives its share of new connections to the others.
const UNFIT_LIMIT: Duration = Duration::from_secs(2);
/// How long after a new view unresolved neighbours are looked at with each tick, not once a second.
const RESOLVE_EAGERLY: Duration = Duration::from_secs(2);

/// Why a node without heartbeats ends: others took over already.
const HEARTBEATS_ENDED: &str = "the heartbeat thread has ended";

/// The parts of a running node.
#[derive(Debug)]
pub struct Parts {
    /// The configuration in force.
    pub settings: Settings,
    /// State cells of the node.
    pub registry: Arc<Registry>,
    /// What host names of endpoints resolve to.
    pub names: Names,
    /// Number of the answers that are in force.
    pub answers: u64,
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// The request's side.
    pub workers: Workers,
    /// Checks of endpoints.
    pub checks: Checks,
    /// Breakers and passive health.
    pub guards: Driver,
    /// Keys of issuers of tokens.
    pub keys: Fetcher,
    /// Certificates that an authority issues.
    pub acme: Issuer,
    /// The packet's side; `None`: L7 only.
    pub dataplane: Option<DataPlane>,
    /// Prefixes that the admin API has denied.
    pub denied: Arc<Denied>,
    /// The other nodes; `None`: there are none.
    pub cluster: Option<Cluster>,
    /// Who answers for VIPs; `None`: nobody here.
    pub announcer: Option<Announcer>,
    /// Views as they come; of one node alone, the only one.
    pub views: watch::Receiver<Arc<View>>,
}

/// Why the control loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// A thread that the node cannot do without has ended: the others must take over, and somebody restart this one.
    Broken(&'static str),
}

/// The control loop's state.
#[derive(Debug)]
pub struct Controller {
    pub(super) parts: Parts,
    pub(super) reasons: Arc<Reasons>,
    pub(super) state: NodeState,
    pub(super) started: Instant,
    pub(super) last_refused: Option<RefusedReload>,
    /// When a change of names was last put in force, or failed to be.
    pub(super) renamed: Instant,
    /// Endpoints that came by themselves.
    pub(super) registrations: Registrations,
    /// Number of those that are in force.
    pub(super) registered: u64,
    pub(super) certificates: Certificates,
    pub(super) events: Events,
    first_round: FirstRound,
    panics: Panics,
    /// What keeps the tables from being written.
    unpublished: Option<String>,
    /// Number of the last view whose tables were written.
    written: Option<u64>,
    published: Instant,
    pub(super) reached: Reached,
    unfit_since: Option<Instant>,
    told: State,
}

/// Whether each endpoint was checked once, and the tables written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstRound {
    Waiting,
    Over,
}

impl Controller {
    /// A node that joins.
    pub fn new(parts: Parts, reasons: Arc<Reasons>, events: Events) -> Self {
        let started = Instant::now();
        let mut certificates = Certificates::default();
        certificates.follow(&parts.settings);
        Self {
            parts,
            reasons,
            state: NodeState::Joining,
            started,
            last_refused: None,
            renamed: started,
            registrations: Registrations::default(),
            registered: 0,
            certificates,
            events,
            first_round: FirstRound::Waiting,
            panics: Panics::default(),
            unpublished: None,
            written: None,
            published: started,
            reached: Reached::ByAll,
            unfit_since: None,
            told: State::Joining,
        }
    }

    /// Runs the node until `stop` is ready, or it is broken.
    pub async fn run(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        stop: impl Future<Output = ()>,
    ) -> Ended {
        tokio::pin!(stop);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        self.publish_view().await;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ended::Told,
                changed = self.parts.views.changed() => match changed {
                    Ok(()) => self.publish_view().await,
                    Err(_) => return Ended::Broken(HEARTBEATS_ENDED),
                },
                Some(command) = commands.recv() => self.obey(command).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.drop_old_snapshots();
                    self.look_after(ticks).await;
                    self.follow_names().await;
                    self.follow_registrations().await;
                    self.follow_certificates().await;
                    self.offer_to_serve();
                    if let Some(thread) = self.dead_thread() {
                        return Ended::Broken(thread);
                    }
                }
            }
            self.tell_readiness();
        }
    }

    /// The configuration in force.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.parts.shared.snapshot.load_full()
    }

    /// The view in force.
    pub(super) fn view(&self) -> Arc<View> {
        self.parts.views.borrow().clone()
    }

    /// Answers for the VIPs that a view gives to this node.
    pub(super) fn announce(&self, view: &View) {
        let snapshot = self.snapshot();
        if let Some(announcer) = &self.parts.announcer {
            announcer.update(view, &snapshot.node.name, &snapshot.vips);
        }
    }

    /// Brings the kernel's tables, then the floating addresses, to the newest view.
    pub(super) async fn publish_view(&mut self) {
        let view = self.parts.views.borrow_and_update().clone();
        if view.number == 0 {
            return;
        }
        let snapshot = self.snapshot();
        let failed = publish(self.parts.dataplane.as_mut(), &snapshot, &view).await;
        self.published = Instant::now();
        if failed.is_none() {
            self.written = Some(view.number);
            // Only what is written can be answered for: packets would come and find the old tables.
            self.announce(&view);
        }
        if let Some(error) = failed
            .as_ref()
            .filter(|error| self.unpublished.as_ref() != Some(error))
        {
            tracing::error!(error, "the tables cannot be written; trying again");
        }
        self.unpublished = failed;
    }

    pub(super) async fn look_after(&mut self, ticks: u32) {
        let (snapshot, view) = (self.snapshot(), self.view());
        let Some(dataplane) = &mut self.parts.dataplane else {
            return;
        };
        if view.number == 0 {
            return;
        }
        // Only what keeps the tables right may say that they are.
        if self.written.is_some()
            && let Err(error) = dataplane.renew_lease()
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "renewing the lease of the tables"
            );
        }
        let is_round = ticks.is_multiple_of(TICKS_PER_NEIGHBOUR_ROUND);
        if is_round {
            self.look_after_interfaces(&snapshot.vips).await;
        }
        let Some(dataplane) = &mut self.parts.dataplane else {
            return;
        };
        let is_eager =
            self.published.elapsed() < RESOLVE_EAGERLY && dataplane.has_unresolved(&snapshot, &view);
        if self.unpublished.is_some() {
            self.publish_view().await;
        } else if is_round || is_eager {
            match dataplane.neighbours_changed(&snapshot, &view).await {
                Ok(true) => self.publish_view().await,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "looking for neighbours")
                }
            }
        }
    }

    /// Takes its share once the endpoints were checked and the tables are written; gives it back while the node is unfit.
    fn offer_to_serve(&mut self) {
        if self.first_round == FirstRound::Waiting {
            let is_checked = self.parts.checks.unchecked() == 0 || self.started.elapsed() >= FIRST_ROUND_MAX;
            // The first node of a cluster makes the first view only once it offers to serve.
            let is_first = self.view().number == 0 && self.started.elapsed() >= VIEW_WAIT;
            if is_checked && (self.written.is_some() || is_first) {
                self.first_round = FirstRound::Over;
                self.state = NodeState::Ready;
            }
        }
        let now = Instant::now();
        let is_unfit = !self.faults(now).is_empty();
        self.unfit_since = is_unfit.then(|| self.unfit_since.unwrap_or(now));
        let is_unfit_long = self
            .unfit_since
            .is_some_and(|since| now.duration_since(since) > UNFIT_LIMIT);
        match self.state {
            NodeState::Ready if is_unfit_long => self.tell_cluster(State::Draining),
            NodeState::Ready => self.tell_cluster(State::Ready),
            _ => {}
        }
    }

    /// Drains or undrains.
    pub(super) fn change(&mut self, state: NodeState) -> Result<NodeState, ApiError> {
        if self.state == NodeState::Leaving {
            return Err(ApiError::Conflict("the node is stopping".to_owned()));
        }
        if self.first_round == FirstRound::Waiting {
            return Err(ApiError::Conflict(
                "the node still joins: ask again once it is ready".to_owned(),
            ));
        }
        let (cluster_state, keeping) = match state {
            NodeState::Draining => (State::Draining, Keeping::Ended),
            _ => (State::Ready, Keeping::Kept),
        };
        if self.state != state {
            tracing::info!(state = state.word(), "the operator changed the node's state");
        }
        self.state = state;
        self.tell_cluster(cluster_state);
        self.parts.workers.keep_connections(keeping);
        Ok(state)
    }

    pub(super) fn tell_cluster(&mut self, state: State) {
        if self.told != state
            && let Some(cluster) = &self.parts.cluster
        {
            cluster.set_state(state);
        }
        self.told = state;
    }

    pub(super) fn tell_readiness(&mut self) {
        let mut reasons = Vec::new();
        if self.state != NodeState::Ready {
            reasons.push(format!("the node is {}", self.state.word()));
        }
        if self.first_round == FirstRound::Waiting {
            reasons.push(format!(
                "{} checks of endpoints were not made yet",
                self.parts.checks.unchecked()
            ));
        }
        let view = self.view();
        if view.number == 0 {
            reasons.push("there is no view of the cluster yet".to_owned());
        } else if view.member(&self.parts.settings.node.name).is_none() {
            reasons.push(format!(
                "view {} of the cluster does not have this node",
                view.number
            ));
        }
        if self.written.is_none() {
            reasons.push("the tables were not written yet".to_owned());
        }
        reasons.extend(self.faults(Instant::now()));
        self.reasons.set(reasons);
    }
}

impl Controller {
    /// A thread that should run and does not.
    fn dead_thread(&self) -> Option<&'static str> {
        let cluster = self.parts.cluster.as_ref();
        if cluster.is_some_and(|cluster| !cluster.is_running()) {
            return Some(HEARTBEATS_ENDED);
        }
        let announcer = self.parts.announcer.as_ref();
        announcer
            .is_some_and(|announcer| !announcer.is_running())
            .then_some("the announcer's thread has ended")
    }

    /// What keeps this node from serving, whatever its state.
    fn faults(&mut self, now: Instant) -> Vec<String> {
        let mut faults: Vec<String> = self.unpublished.iter().cloned().collect();
        faults.extend(self.parts.dataplane.iter().flat_map(DataPlane::interface_faults));
        let dead = self.parts.workers.dead();
        if dead > 0 {
            faults.push(format!(
                "{dead} workers have ended: restart the node, and report it"
            ));
        }
        if let Some(recent) = self.panics.too_many(now, self.parts.shared.metrics.panics()) {
            faults.push(format!("{recent} panics in the last minute: see the log"));
        }
        faults
    }
}
