//! What an operator sees of the data plane.

use std::collections::BTreeMap;

use super::{Attachment, DataPlane};
use crate::l4::L4Error;
use crate::l4::counters::ReasonCount;

/// What an operator sees of the data plane.
#[derive(Clone, Debug)]
pub struct Status {
    /// Interfaces, as they were when they were last looked at.
    pub interfaces: Vec<Attachment>,
    /// Packets by reason; those that never occurred are left out.
    pub verdicts: Vec<ReasonCount>,
    /// Packets by VIP.
    pub vips: BTreeMap<String, u64>,
    /// Packets sent to other nodes, by their number.
    pub steered: BTreeMap<u16, u64>,
}

impl DataPlane {
    /// What an operator sees.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn status(&self) -> Result<Status, L4Error> {
        let mut verdicts = self.counters()?;
        verdicts.retain(|count| count.packets > 0);
        let mut vips = BTreeMap::new();
        for (name, id) in &self.vip_ids {
            vips.insert(name.clone(), self.counted.counters.vip(id.0)?.packets);
        }
        let mut steered = BTreeMap::new();
        for id in self.now.nodes.keys() {
            let count = self.counted.counters.node(id.0)?;
            if count.packets > 0 {
                steered.insert(id.0, count.packets);
            }
        }
        Ok(Status {
            interfaces: self.attachments.clone(),
            verdicts,
            vips,
            steered,
        })
    }
}
