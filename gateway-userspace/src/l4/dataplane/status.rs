//! What an operator sees of the data plane.

use std::collections::BTreeMap;

use gateway_common::abi::Count;
use serde::Serialize;

use super::DataPlane;
use crate::l4::L4Error;
use crate::l4::counters::ReasonCount;
use crate::l4::interfaces::{self, Attached};

/// What an operator sees of the data plane.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Interfaces with the program on them; `None`: there is no program.
    pub interfaces: BTreeMap<String, Option<Attached>>,
    /// Packets by reason; those that never occurred are left out.
    pub verdicts: Vec<ReasonCount>,
    /// Packets by VIP, and of each by reason.
    pub vips: BTreeMap<String, Vec<ReasonCount>>,
    /// Those sent to other nodes, by the nodes' names.
    pub steered: BTreeMap<String, Counted>,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    /// The counters cannot be read, or netlink does not answer.
    pub async fn status(&self) -> Result<Status, L4Error> {
        let mut interfaces = BTreeMap::new();
        for name in &self.config.interfaces {
            let attached = interfaces::attached(&self.netlink, name, interfaces::index(name)?).await?;
            interfaces.insert(name.clone(), attached);
        }
        let mut verdicts = self.counters()?;
        verdicts.retain(|count| count.packets > 0);
        let mut vips = BTreeMap::new();
        for (name, id) in &self.vip_ids {
            vips.insert(name.clone(), self.counted.counters.vip(id.0)?);
        }
        let mut steered = BTreeMap::new();
        for (id, name) in &self.counted.names().nodes {
            let count = self.counted.counters.node(*id)?;
            if count.packets > 0 {
                steered.insert(name.clone(), count.into());
            }
        }
        Ok(Status {
            interfaces,
            verdicts,
            vips,
            steered,
        })
    }
}
