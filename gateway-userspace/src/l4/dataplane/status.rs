//! What an operator sees of the data plane.

use std::collections::BTreeMap;

use gateway_common::abi::Count;

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
    /// Packets by VIP, and of each by reason.
    pub vips: BTreeMap<String, Vec<ReasonCount>>,
    /// Those sent to other nodes, by the nodes' names.
    pub steered: BTreeMap<String, Counted>,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Frames.
    pub packets: u64,
    /// Their bytes as they came, Ethernet included.
    pub bytes: u64,
}

impl From<Count> for Counted {
    fn from(count: Count) -> Self {
        Self {
            packets: count.packets,
            bytes: count.bytes,
        }
    }
}

impl DataPlane {
    /// What an operator sees.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn status(&self) -> Result<Status, L4Error> {
        let mut verdicts = self.counters()?;
        let mut vips = BTreeMap::new();
        for (name, id) in &self.vip_ids {
            vips.insert(name.clone(), self.counted.counters.vip(id.0, &verdicts)?);
        }
        verdicts.retain(|count| count.packets > 0);
        let mut steered = BTreeMap::new();
        for (id, name) in &self.counted.names().nodes {
            let count = self.counted.counters.node(*id)?;
            if count.packets > 0 {
                steered.insert(name.clone(), count.into());
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
