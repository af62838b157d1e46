//! What an operator sees of the data plane.

use std::collections::BTreeMap;

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
    /// Packets by VIP.
    pub vips: BTreeMap<String, u64>,
    /// Packets sent to other nodes, by their number.
    pub steered: BTreeMap<u16, u64>,
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
            interfaces,
            verdicts,
            vips,
            steered,
        })
    }
}
