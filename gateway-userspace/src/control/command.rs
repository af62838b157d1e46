//! What the admin API asks of the control loop, and who answers what.

use tokio::sync::oneshot;

use super::controller::Controller;
use super::explain::InForce;
use crate::admin::ApiError;
use crate::admin::breakers::{Breaker, Switched};
use crate::admin::deny;
use crate::admin::endpoints::{Place, Renewal, Renewed, Withdrawn};
use crate::admin::routes::{Changed, Order};
use crate::admin::status::{Node, NodeState, Status};
use crate::resilience::breaker::Force;

/// Commands that may wait: operators and scripts are few.
pub const COMMANDS_MAX: usize = 64;

/// One question or order, with the place of its answer.
#[derive(Debug)]
pub enum Command {
    /// The node in one view.
    Status(oneshot::Sender<Status>),
    /// The nodes of the cluster.
    Nodes(oneshot::Sender<Vec<Node>>),
    /// Takes no new connections.
    Drain(oneshot::Sender<Result<NodeState, ApiError>>),
    /// Undoes a drain.
    Undrain(oneshot::Sender<Result<NodeState, ApiError>>),
    /// Reads the configuration anew.
    Reload(oneshot::Sender<Result<u64, ApiError>>),
    /// An endpoint renews itself, or registers.
    Renew(Place, Renewal, oneshot::Sender<Result<Renewed, ApiError>>),
    /// An endpoint goes.
    Withdraw(Place, oneshot::Sender<Result<Withdrawn, ApiError>>),
    /// What is in force, for explanations and listings.
    InForce(oneshot::Sender<InForce>),
    /// A route is set or deleted.
    ChangeRoute(Order, oneshot::Sender<Result<Changed, ApiError>>),
    /// Whose packets are dropped.
    Denied(oneshot::Sender<Result<deny::Listed, ApiError>>),
    /// Prefixes are denied, or no longer.
    ChangeDenied(deny::Order, oneshot::Sender<Result<deny::Changed, ApiError>>),
    /// A circuit breaker is forced, or (`None`) released.
    Force(
        Breaker,
        Option<Force>,
        oneshot::Sender<Result<Switched, ApiError>>,
    ),
}

impl Controller {
    /// Does what is asked, and answers; an operator that went away meanwhile needs no answer.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Nodes(reply) => drop(reply.send(self.nodes())),
            Command::Drain(reply) => drop(reply.send(self.change(NodeState::Draining))),
            Command::Undrain(reply) => drop(reply.send(self.change(NodeState::Ready))),
            Command::Reload(reply) => drop(reply.send(self.reload().await)),
            Command::Renew(place, renewal, reply) => drop(reply.send(self.renew(&place, &renewal))),
            Command::Withdraw(place, reply) => drop(reply.send(self.withdraw(&place))),
            Command::InForce(reply) => drop(reply.send(self.in_force())),
            Command::ChangeRoute(order, reply) => drop(reply.send(self.change_route(&order).await)),
            Command::Denied(reply) => drop(reply.send(self.denied())),
            Command::ChangeDenied(order, reply) => drop(reply.send(self.change_denied(order).await)),
            Command::Force(breaker, force, reply) => drop(reply.send(self.force(&breaker, force))),
        }
    }
}
