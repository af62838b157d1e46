//! The admin API's side of the control loop: sends commands, waits for answers.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry as Metrics;
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::explain::{self, InForce};
use super::health::Reasons;
use super::routes;
use crate::admin::breakers::{Breaker, Switched};
use crate::admin::deny;
use crate::admin::endpoints::{Place, Renewal, Renewed, Withdrawn};
use crate::admin::routes::{Changed, Order, Shown};
use crate::admin::status::{Node, NodeState, Status};
use crate::admin::{Answer, Api, ApiError};
use crate::events::Events;
use crate::explain::{packet, request};
use crate::resilience::breaker::Force;
use crate::trace;

/// What the admin API holds of the running node.
#[derive(Debug)]
pub struct Handle {
    /// To the control loop.
    pub commands: mpsc::Sender<Command>,
    /// Read without asking the loop.
    pub reasons: Arc<Reasons>,
    /// Read without asking the loop.
    pub events: Events,
    /// Read without asking the loop.
    pub metrics: Metrics,
}

impl Handle {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ApiError> {
        let stopping = || ApiError::Conflict("the node is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Explains, or lists, on a thread of its own: a large file takes a tenth of a second to read, and the kernel's maps some
    /// milliseconds, in which the control loop has other things to do.
    async fn explain<T: Send + 'static>(
        &self,
        tell: impl FnOnce(&InForce) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let in_force = self.ask(Command::InForce).await?;
        let explained = tokio::task::spawn_blocking(move || tell(&in_force));
        explained
            .await
            .map_err(|error| ApiError::Failed(format!("The answer broke off: {error}.")))?
    }
}

impl Api for Handle {
    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.reasons.get();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.metrics) {
            Ok(()) => text,
            Err(error) => format!("# the metrics cannot be written: {error}\n# EOF\n"),
        }
    }

    fn events(&self) -> &Events {
        &self.events
    }

    fn status(&self) -> Answer<'_, Result<Status, ApiError>> {
        Box::pin(self.ask(Command::Status))
    }

    fn nodes(&self) -> Answer<'_, Result<Vec<Node>, ApiError>> {
        Box::pin(self.ask(Command::Nodes))
    }

    fn drain(&self) -> Answer<'_, Result<NodeState, ApiError>> {
        Box::pin(async { self.ask(Command::Drain).await? })
    }

    fn undrain(&self) -> Answer<'_, Result<NodeState, ApiError>> {
        Box::pin(async { self.ask(Command::Undrain).await? })
    }

    fn reload(&self) -> Answer<'_, Result<u64, ApiError>> {
        Box::pin(async { self.ask(Command::Reload).await? })
    }

    fn renew(&self, place: Place, renewal: Renewal) -> Answer<'_, Result<Renewed, ApiError>> {
        Box::pin(async { self.ask(|reply| Command::Renew(place, renewal, reply)).await? })
    }

    fn withdraw(&self, place: Place) -> Answer<'_, Result<Withdrawn, ApiError>> {
        Box::pin(async { self.ask(|reply| Command::Withdraw(place, reply)).await? })
    }

    fn routes(&self, name: Option<String>) -> Answer<'_, Result<Vec<Shown>, ApiError>> {
        Box::pin(self.explain(move |in_force| routes::shown(&in_force.settings, name.as_deref())))
    }

    fn change_route(&self, order: Order) -> Answer<'_, Result<Changed, ApiError>> {
        Box::pin(async { self.ask(|reply| Command::ChangeRoute(order, reply)).await? })
    }

    fn explain_request(
        &self,
        question: request::Question,
    ) -> Answer<'_, Result<request::Explained, ApiError>> {
        Box::pin(self.explain(move |in_force| explain::request(in_force, &question)))
    }

    fn explain_packet(&self, question: packet::Question) -> Answer<'_, Result<packet::Explained, ApiError>> {
        Box::pin(self.explain(move |in_force| explain::packet(in_force, &question)))
    }

    fn trace(&self, order: trace::Order) -> Answer<'_, Result<trace::Running, ApiError>> {
        Box::pin(self.explain(move |in_force| super::trace::start(in_force, order)))
    }

    fn denied(&self) -> Answer<'_, Result<deny::Listed, ApiError>> {
        Box::pin(async { self.ask(Command::Denied).await? })
    }

    fn change_denied(&self, order: deny::Order) -> Answer<'_, Result<deny::Changed, ApiError>> {
        Box::pin(async { self.ask(|reply| Command::ChangeDenied(order, reply)).await? })
    }

    fn force(&self, breaker: Breaker, force: Option<Force>) -> Answer<'_, Result<Switched, ApiError>> {
        Box::pin(async move { self.ask(|reply| Command::Force(breaker, force, reply)).await? })
    }
}
