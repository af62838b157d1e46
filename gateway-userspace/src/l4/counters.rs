//! What the kernel counted, summed over its CPUs.

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use gateway_common::abi::{self, Count};
use gateway_common::tables::Noted;
use gateway_common::verdict::{Fate, Reason};
use serde::Serialize;

use super::L4Error;
use super::maps::{take, typed};

/// Packets that ended for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// Why.
    pub reason: &'static str,
    /// `pass`, `drop` or `transmit`.
    pub action: &'static str,
    /// Frames since the program was first attached.
    pub packets: u64,
    /// Their bytes, Ethernet included.
    pub bytes: u64,
}

/// The counters in the kernel.
pub struct Counters {
    reasons: PerCpuArray<MapData, Count>,
    vips: PerCpuArray<MapData, Count>,
    nodes: PerCpuArray<MapData, Count>,
    noted: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Counters {
    /// Takes the counters out of a loaded object.
    ///
    /// # Errors
    /// The object is not what this program expects.
    pub fn take(object: &mut Ebpf) -> Result<Self, L4Error> {
        Ok(Self {
            reasons: typed(take(object, abi::REASON_COUNTS)?, abi::REASON_COUNTS)?,
            vips: typed(take(object, abi::VIP_COUNTS)?, abi::VIP_COUNTS)?,
            nodes: typed(take(object, abi::NODE_COUNTS)?, abi::NODE_COUNTS)?,
            noted: typed(take(object, abi::NOTED_COUNTS)?, abi::NOTED_COUNTS)?,
        })
    }

    /// Every reason with its packets, in their order.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn reasons(&self) -> Result<Vec<ReasonCount>, L4Error> {
        let count = |reason: &Reason| {
            let count = sum(&self.reasons, *reason as u32, abi::REASON_COUNTS)?;
            Ok(ReasonCount::of(*reason, count))
        };
        Reason::ALL.iter().map(count).collect()
    }

    /// What came for the VIP of that number, by reason; those that never occurred are left out. `all` is what [`Self::reasons`] said a
    /// moment ago: what never occurred at all is not looked for, for each look is a call of the kernel.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn vip(&self, id: u16, all: &[ReasonCount]) -> Result<Vec<ReasonCount>, L4Error> {
        let mut counts = Vec::new();
        let occurred = Reason::ALL
            .iter()
            .zip(all)
            .filter(|(_, of_all)| of_all.packets > 0);
        for (reason, _) in occurred {
            let at = abi::vip_count(u32::from(id), *reason as u32);
            let count = sum(&self.vips, at, abi::VIP_COUNTS)?;
            if count.packets > 0 {
                counts.push(ReasonCount::of(*reason, count));
            }
        }
        Ok(counts)
    }

    /// What was counted beside reasons.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn noted(&self, noted: Noted) -> Result<u64, L4Error> {
        let values = self
            .noted
            .get(&(noted as u32), 0)
            .map_err(|source| L4Error::Map {
                action: "read",
                map: abi::NOTED_COUNTS,
                source,
            })?;
        Ok(values.iter().sum())
    }

    /// What was sent to the node of that number.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn node(&self, id: u16) -> Result<Count, L4Error> {
        sum(&self.nodes, u32::from(id), abi::NODE_COUNTS)
    }
}

impl ReasonCount {
    fn of(reason: Reason, count: Count) -> Self {
        Self {
            reason: reason.name(),
            action: match reason.fate() {
                Fate::Pass => "pass",
                Fate::Drop => "drop",
                Fate::Transmit | Fate::Redirect => "transmit",
            },
            packets: count.packets,
            bytes: count.bytes,
        }
    }
}

fn sum(map: &PerCpuArray<MapData, Count>, index: u32, name: &'static str) -> Result<Count, L4Error> {
    let values = map.get(&index, 0).map_err(|source| L4Error::Map {
        action: "read",
        map: name,
        source,
    })?;
    let add = |sum: Count, count: &Count| Count {
        packets: sum.packets + count.packets,
        bytes: sum.bytes + count.bytes,
    };
    Ok(values.iter().fold(Count::default(), add))
}
