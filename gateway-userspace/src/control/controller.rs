//! The control loop: follows views, neighbours and operators, and publishes what comes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::command::Command;
use super::health::{Panics, Reasons};
use crate::admin::ApiError;
use crate::admin::status::{NodeState, RefusedReload};
use crate::cluster::announce::Announcer;
use crate::cluster::{Cluster, State};
use crate::config::Settings;
use crate::config::snapshot::{Snapshot, Vip};
use crate::health::Checks;
use crate::l4::DataPlane;
use crate::l7::{Drained, Keeping, Shared, Workers};
use crate::registry::Registry;
use crate::view::View;

/// How often neighbours and workers are looked after.
const TICK: Duration = Duration::from_millis(100);
/// Neighbours that are all resolved are looked at every so many ticks: once a second.
const TICKS_PER_NEIGHBOUR_ROUND: u32 = 10;
/// How long requests under way may take when the node stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long the other nodes may take to follow a change of view before this one goes on without them.
const FOLLOW_LIMIT: Duration = Duration::from_secs(1);
/// How long others need from their view to their tables: what was steered here before arrives within it.
const SETTLE: Duration = Duration::from_millis(300);

/// The parts of a running node.
#[derive(Debug)]
pub struct Parts {
    /// The configuration in force.
    pub settings: Settings,
    /// State cells of the node.
    pub registry: Registry,
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// The request's side.
    pub workers: Workers,
    /// Readiness checks.
    pub checks: Checks,
    /// The packet's side; `None`: L7 only.
    pub dataplane: Option<DataPlane>,
    /// The other nodes; `None`: there are none.
    pub cluster: Option<Cluster>,
    /// Who answers for VIPs; `None`: nobody here.
    pub announcer: Option<Announcer>,
    /// Views as they come; of one node alone, the only one.
    pub views: watch::Receiver<Arc<View>>,
}

/// The control loop's state.
#[derive(Debug)]
pub struct Controller {
    pub(super) parts: Parts,
    pub(super) reasons: Arc<Reasons>,
    pub(super) state: NodeState,
    pub(super) started: Instant,
    pub(super) last_refused: Option<RefusedReload>,
    first_round: FirstRound,
    panics: Panics,
    unpublished: Option<String>,
}

/// Whether each endpoint was checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstRound {
    Waiting,
    Over,
}

impl Controller {
    /// A node that joins.
    pub fn new(parts: Parts, reasons: Arc<Reasons>) -> Self {
        Self {
            parts,
            reasons,
            state: NodeState::Joining,
            started: Instant::now(),
            last_refused: None,
            first_round: FirstRound::Waiting,
            panics: Panics::default(),
            unpublished: None,
        }
    }

    /// Runs the node until `stop` is ready.
    pub async fn run(&mut self, mut commands: mpsc::Receiver<Command>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        self.publish_view().await;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                Ok(()) = self.parts.views.changed() => self.publish_view().await,
                Some(command) = commands.recv() => self.obey(command).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.look_after(ticks).await;
                }
            }
            self.tell_readiness();
        }
    }

    /// Stops in order: the others take over, then requests finish, then the node leaves, then the kernel's side goes.
    ///
    /// `hurry` cuts short what still waits.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) -> Drained {
        tokio::pin!(hurry);
        self.state = NodeState::Leaving;
        self.tell_readiness();
        let has_others = self.view().members.len() > 1;
        if let Some(cluster) = &self.parts.cluster
            && has_others
        {
            cluster.set_state(State::Draining);
            let name = self.snapshot().node.name.clone();
            self.follow(|view| view.member(&name).is_none_or(|me| me.weight == 0)).await;
            sleep(SETTLE).await;
        }
        self.parts.workers.keep_connections(Keeping::Ended);
        let Parts { workers, cluster, dataplane, announcer, checks, mut views, shared, settings, .. } = self.parts;
        tracing::info!(limit = ?DRAIN_LIMIT, "finishing the requests under way");
        // While they finish, this node still directs: views are followed.
        let snapshot = shared.snapshot.load_full();
        let mut dataplane = dataplane;
        let mut drained = std::pin::pin!(workers.drain(DRAIN_LIMIT));
        let result = loop {
            tokio::select! {
                result = &mut drained => break result,
                () = &mut hurry => {
                    tracing::warn!("told to stop twice: requests under way are cut");
                    break Drained::default();
                }
                Ok(()) = views.changed() => {
                    let view = views.borrow_and_update().clone();
                    publish(dataplane.as_mut(), &snapshot, &view).await;
                    if let Some(announcer) = &announcer {
                        announcer.update(&view, &settings.node.name, &snapshot.vips);
                    }
                }
            }
        };
        checks.stop();
        if let Some(cluster) = &cluster
            && has_others
        {
            cluster.set_state(State::Leaving);
            let left = views.wait_for(|view| view.member(&settings.node.name).is_none());
            if timeout(FOLLOW_LIMIT, left).await.is_err() {
                tracing::warn!("the other nodes have not taken over yet");
            }
            // What is on its way to this node as director is steered for this long.
            let view = views.borrow().clone();
            publish(dataplane.as_mut(), &snapshot, &view).await;
            if let Some(announcer) = &announcer {
                announcer.update(&view, &settings.node.name, &snapshot.vips);
            }
            sleep(SETTLE).await;
        }
        if let Some(cluster) = cluster {
            cluster.stop();
        }
        if let Some(announcer) = announcer {
            announcer.stop();
        }
        if let Some(dataplane) = dataplane
            && let Err(error) = dataplane.stop().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "something of the data plane is left behind");
        }
        result
    }

    /// The configuration in force.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.parts.shared.snapshot.load_full()
    }

    /// The view in force.
    pub(super) fn view(&self) -> Arc<View> {
        self.parts.views.borrow().clone()
    }

    /// Answers for the VIPs that the view gives to this node.
    pub(super) fn announce(&self) {
        let snapshot = self.snapshot();
        if let Some(announcer) = &self.parts.announcer {
            let vips: &[Vip] = &snapshot.vips;
            announcer.update(&self.view(), &snapshot.node.name, vips);
        }
    }

    /// Brings the kernel's tables, then the floating addresses, to the newest view.
    async fn publish_view(&mut self) {
        let view = self.parts.views.borrow_and_update().clone();
        if view.number == 0 {
            return;
        }
        let snapshot = self.snapshot();
        self.unpublished = publish(self.parts.dataplane.as_mut(), &snapshot, &view).await;
        self.announce();
    }

    async fn look_after(&mut self, ticks: u32) {
        if self.first_round == FirstRound::Waiting {
            let is_late = self.started.elapsed() >= crate::health::FIRST_ROUND_MAX;
            if self.parts.checks.unchecked() == 0 || is_late {
                self.first_round = FirstRound::Over;
                self.state = NodeState::Ready;
                self.set_cluster_state(State::Ready);
            }
        }
        let (snapshot, view) = (self.snapshot(), self.view());
        let Some(dataplane) = &self.parts.dataplane else { return };
        if view.number == 0 {
            return;
        }
        let is_due = ticks.is_multiple_of(TICKS_PER_NEIGHBOUR_ROUND) || dataplane.has_unresolved(&snapshot, &view);
        if self.unpublished.is_some() {
            self.publish_view().await;
        } else if is_due {
            match dataplane.neighbours_changed(&snapshot, &view).await {
                Ok(true) => self.publish_view().await,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "looking for neighbours"),
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // An operator that went away meanwhile needs no answer.
        match command {
            Command::Status(reply) => drop(reply.send(self.status().await)),
            Command::Nodes(reply) => drop(reply.send(self.nodes())),
            Command::Drain(reply) => drop(reply.send(self.change(NodeState::Draining))),
            Command::Undrain(reply) => drop(reply.send(self.change(NodeState::Ready))),
            Command::Reload(reply) => drop(reply.send(self.reload().await)),
        }
    }

    /// Drains or undrains.
    fn change(&mut self, state: NodeState) -> Result<NodeState, ApiError> {
        if self.first_round == FirstRound::Waiting {
            return Err(ApiError::Conflict("the node still joins: ask again once it is ready".to_owned()));
        }
        let (cluster_state, keeping) = match state {
            NodeState::Draining => (State::Draining, Keeping::Ended),
            _ => (State::Ready, Keeping::Kept),
        };
        if self.state != state {
            tracing::info!(state = state.word(), "the operator changed the node's state");
        }
        self.state = state;
        self.set_cluster_state(cluster_state);
        self.parts.workers.keep_connections(keeping);
        Ok(state)
    }

    fn set_cluster_state(&self, state: State) {
        if let Some(cluster) = &self.parts.cluster {
            cluster.set_state(state);
        }
    }

    /// Publishes views until one is as wanted, or the others took too long.
    async fn follow(&mut self, wanted: impl Fn(&View) -> bool) {
        let followed = async {
            while !wanted(&self.view()) {
                if self.parts.views.changed().await.is_err() {
                    return;
                }
                self.publish_view().await;
            }
        };
        if timeout(FOLLOW_LIMIT, followed).await.is_err() {
            tracing::warn!("the other nodes do not follow: going on without them");
        }
    }

    fn tell_readiness(&mut self) {
        let mut reasons = Vec::new();
        if self.state != NodeState::Ready {
            reasons.push(format!("the node is {}", self.state.word()));
        }
        if self.first_round == FirstRound::Waiting {
            reasons.push(format!("{} endpoints were not checked yet", self.parts.checks.unchecked()));
        }
        let view = self.view();
        if view.number == 0 {
            reasons.push("there is no view of the cluster yet".to_owned());
        } else if view.member(&self.parts.settings.node.name).is_none() {
            reasons.push(format!("view {} of the cluster does not have this node", view.number));
        }
        if let Some(error) = &self.unpublished {
            reasons.push(error.clone());
        }
        let dead = self.parts.workers.dead();
        if dead > 0 {
            reasons.push(format!("{dead} workers have ended: restart the node, and report it"));
        }
        if let Some(recent) = self.panics.too_many(Instant::now(), self.parts.shared.metrics.panics()) {
            reasons.push(format!("{recent} panics in the last minute: see the log"));
        }
        self.reasons.set(reasons);
    }
}

/// Publishes to the kernel; what kept it from that.
async fn publish(dataplane: Option<&mut DataPlane>, snapshot: &Snapshot, view: &View) -> Option<String> {
    let dataplane = dataplane?;
    match dataplane.publish(snapshot, view).await {
        Ok(published) => {
            if published.steps > 0 {
                tracing::info!(view = view.number, steps = published.steps, took = ?published.took, "steering by the new view");
            }
            None
        }
        Err(error) => {
            let text = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error = text, "the tables cannot be written; trying again");
            Some(text)
        }
    }
}
