//! The kernel's tables are brought to what snapshot and view say; what kept them from that is told, and tried again.

use crate::config::snapshot::Snapshot;
use crate::l4::DataPlane;
use crate::view::View;

/// Publishes to the kernel; what kept it from that.
pub(super) async fn publish(
    dataplane: Option<&mut DataPlane>,
    snapshot: &Snapshot,
    view: &View,
) -> Option<String> {
    let dataplane = dataplane?;
    match dataplane.publish(snapshot, view).await {
        Ok(published) => {
            if published.steps > 0 {
                tracing::info!(view = view.number, steps = published.steps, took = ?published.took, "steering by the new view");
            }
            None
        }
        Err(error) => Some(format!("{:#}", anyhow::Error::from(error))),
    }
}
