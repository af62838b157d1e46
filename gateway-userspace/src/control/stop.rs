//! How a node ends: the others take over, requests finish, the node leaves, and the kernel's side goes last.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

use super::command::Command;
use super::controller::{Controller, Parts, TICK};
use crate::admin::status::NodeState;
use crate::cluster::State;
use crate::l7::{Drained, Keeping};
use crate::view::View;

/// How long requests under way may take when the node stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long the other nodes may take to follow a change of view before this one goes on without them.
const FOLLOW_LIMIT: Duration = Duration::from_secs(1);
/// How long others need from their view to their tables: what was steered here before arrives within it.
const SETTLE: Duration = Duration::from_millis(300);

impl Controller {
    /// Stops in order: the others take over, then requests finish, then the node leaves, then the kernel's side goes.
    ///
    /// `hurry` cuts short what still waits.
    pub async fn stop(
        mut self,
        commands: &mut mpsc::Receiver<Command>,
        hurry: impl Future<Output = ()>,
    ) -> Drained {
        self.state = NodeState::Leaving;
        self.tell_readiness();
        let name = self.snapshot().node.name.clone();
        let view = self.view();
        let is_member = view.member(&name).is_some() && view.members.len() > 1;
        if is_member {
            self.tell_cluster(State::Draining);
            self.follow(|view| view.member(&name).is_none_or(|me| me.weight == 0))
                .await;
            sleep(SETTLE).await;
        }
        self.parts.workers.keep_connections(Keeping::Ended);
        tracing::info!(limit = ?DRAIN_LIMIT, "finishing the requests under way");
        let drained = self.finish_requests(commands, hurry).await;
        self.parts.checks.stop();
        self.parts.names.stop();
        if is_member {
            self.tell_cluster(State::Leaving);
            self.follow(|view| view.member(&name).is_none()).await;
            // What is still on its way to this node as director is steered for this long.
            sleep(SETTLE).await;
        }
        let Parts {
            cluster,
            dataplane,
            announcer,
            ..
        } = self.parts;
        if let Some(cluster) = cluster {
            cluster.stop();
        }
        if let Some(announcer) = announcer {
            announcer.stop();
        }
        if let Some(dataplane) = dataplane
            && let Err(error) = dataplane.stop().await
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "something of the data plane is left behind"
            );
        }
        drained
    }

    /// Lets requests finish. Meanwhile this node still directs: it follows views and neighbours, and answers questions.
    async fn finish_requests(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        hurry: impl Future<Output = ()>,
    ) -> Drained {
        let cutter = self.parts.workers.cutter();
        let Some(workers) = self.parts.workers.take() else {
            return Drained::default();
        };
        let mut drained = std::pin::pin!(workers.drain(DRAIN_LIMIT));
        let mut hurry = std::pin::pin!(hurry);
        let mut is_cut = false;
        let mut tick = interval(TICK);
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                drained = &mut drained => return drained,
                () = &mut hurry, if !is_cut => {
                    tracing::warn!("told to stop twice: requests under way are cut");
                    is_cut = true;
                    cutter.cut();
                }
                Ok(()) = self.parts.views.changed() => self.publish_view().await,
                Some(command) = commands.recv() => self.obey(command).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.look_after(ticks).await;
                }
            }
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
}
