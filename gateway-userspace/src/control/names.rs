//! Host names of endpoints: a changed answer becomes a new snapshot, by the same way as a reload.

use std::time::{Duration, Instant};

use tokio::time::interval;

use super::controller::{Controller, TICK};
use crate::admin::status::NodeState;
use crate::names::FirstAnswers;

/// Between two snapshots that changed answers or registrations make: some servers answer with another choice each second, a
/// fleet that starts registers all at once, and requests under way hold the snapshots of their start.
const BETWEEN: Duration = Duration::from_secs(1);

impl Controller {
    /// Puts changed answers in force.
    pub(super) async fn follow_names(&mut self) {
        if self.parts.names.answers_number() != self.parts.answers {
            self.renew_snapshot("changed addresses of host names").await;
        }
    }

    /// Makes a snapshot of the same configuration with what else it is made of now.
    pub(super) async fn renew_snapshot(&mut self, what: &'static str) {
        if self.state == NodeState::Leaving || self.renamed.elapsed() < BETWEEN {
            return;
        }
        self.renamed = Instant::now();
        let settings = self.parts.settings.clone();
        match self.put_in_force(&settings).await {
            Ok(next) => tracing::info!(snapshot = next.number, "{what} are in force"),
            Err(error) => tracing::error!(reason = %error, "{what} cannot be put in force; trying again"),
        }
    }

    /// Waits for the first answers of names that a new configuration brings.
    pub(super) async fn await_names(&mut self) {
        let answered = self.parts.names.first_answers();
        if let FirstAnswers::Late(missing) = self.meanwhile(answered).await {
            tracing::warn!(missing, "going on without the addresses of some host names");
        }
    }

    /// Waits for something that is done elsewhere. Meanwhile this node follows views and neighbours as ever.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut tick = interval(TICK);
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Ok(()) = self.parts.views.changed() => self.publish_view().await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.look_after(ticks).await;
                }
            }
        }
    }
}
