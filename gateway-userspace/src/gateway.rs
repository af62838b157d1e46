//! The running node: wires its parts, and stops them in order.

use std::path::Path;

/// Runs a node until it is told to stop.
///
/// # Errors
/// A refused configuration, or whatever keeps the node from running.
pub fn run(config: &Path) -> anyhow::Result<()> {
    let settings = crate::config::load(config)?;
    anyhow::bail!(
        "node {}: the parts of the node are not wired on this branch",
        settings.node.name
    )
}
