//! What the admin API asks of the control loop.

use tokio::sync::oneshot;

use crate::admin::ApiError;
use crate::admin::endpoints::{Place, Renewal, Renewed, Withdrawn};
use crate::admin::status::{Node, NodeState, Status};

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
}
