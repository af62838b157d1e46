//! An interface of a node that goes and comes back, as by a driver that is loaded anew.

use anyhow::{Context, Result};

use super::pass::{self, Passing};
use super::settings::INTERFACE;
use super::{Lab, Node, hosts, node, wire};

impl Lab {
    /// Removes the interface by which clients reach a node.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn unplug(&self, index: usize) -> Result<()> {
        self.node_at(index)?.namespace().run(|| wire::remove(INTERFACE))?
    }

    /// Makes that interface again. The switch's side takes frames of XDP for as long as what is given back lives.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn plug_in(&self, index: usize) -> Result<Passing> {
        hosts::plug(&self.switch, index, self.node_at(index)?.namespace(), self.common)?;
        let port = node::name(index);
        self.switch.run(move || pass::attach(&[port]))?
    }

    fn node_at(&self, index: usize) -> Result<&Node> {
        self.nodes
            .get(index)
            .with_context(|| format!("there is no node {index}"))
    }
}
