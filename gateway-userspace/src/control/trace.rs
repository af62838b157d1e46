//! Packets of the data plane as they pass, for who asks the admin API.

use super::explain::{InForce, no_dataplane};
use super::reload::failed;
use crate::admin::ApiError;
use crate::l4::trace::TraceError;
use crate::trace::{Order, Running};

/// Begins a trace. Blocks, for some milliseconds.
///
/// # Errors
/// There is no data plane, no such VIP, or there are traces enough.
pub(super) fn start(in_force: &InForce, order: Order) -> Result<Running, ApiError> {
    let tracer = in_force.tracer.as_ref().ok_or_else(no_dataplane)?;
    tracer.start(order).map_err(|error| match error {
        TraceError::TooMany => ApiError::Conflict(sentence(&error)),
        TraceError::NoVip { .. } => ApiError::NotFound(sentence(&error)),
        TraceError::L4(error) => failed(error),
    })
}

fn sentence(error: &TraceError) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}
