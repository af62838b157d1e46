//! Members by level: by priority, and in it, where the local zone is preferred, by zone.

use std::collections::BTreeMap;

use super::{Intake, Member, Zone, Zones};

/// The members of one level.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) priority: u8,
    /// `None`: zones do not matter.
    pub(super) zone: Option<Zone>,
    /// Indices, in order.
    pub(super) members: Vec<usize>,
}

/// The levels in the order in which they get traffic. It depends on nothing but what is configured, so that plans and
/// rosters agree on it. Who takes no new requests is in none of them.
pub(super) fn group(members: &[Member], zones: Zones) -> Vec<Group> {
    let mut groups: BTreeMap<(u8, Option<Zone>), Vec<usize>> = BTreeMap::new();
    let members = members.iter().enumerate();
    for (index, member) in members.filter(|(_, member)| member.intake == Intake::All) {
        let zone = match zones {
            Zones::Equal => None,
            Zones::LocalFirst => Some(member.zone),
        };
        groups.entry((member.priority, zone)).or_default().push(index);
    }
    let groups = groups.into_iter();
    groups
        .map(|((priority, zone), members)| Group {
            priority,
            zone,
            members,
        })
        .collect()
}
