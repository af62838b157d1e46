//! Picks: one plan for each configuration, one picker for each worker.

use std::sync::Arc;

use super::choices::{peak_ewma, two_choices};
use super::group::group;
use super::hashed::{Table, hashed};
use super::level::Level;
use super::roster::Roster;
use super::turn::Turn;
use super::{Balancer, Hashing, Loads, Member, Mode, RosterTerms, mix};

/// What is computed once for a configuration and shared by all workers.
#[derive(Debug)]
pub struct Plan {
    balancer: Balancer,
    /// Members and weights as configured, by level.
    levels: Box<[Planned]>,
    members: usize,
}

#[derive(Debug)]
struct Planned {
    /// Only where keys are hashed.
    table: Option<Table>,
    /// For the workers' first turns.
    level: Level,
}

impl Plan {
    /// Builds the tables, a millisecond or more where keys are hashed: not for a worker.
    ///
    /// Of members only what is configured counts. Rosters must be of the same members in the same order, with the same
    /// `terms.zones`.
    pub fn new(balancer: Balancer, members: &[Member], terms: &RosterTerms) -> Self {
        let hashing = match balancer {
            Balancer::IpHash(hashing) | Balancer::ConsistentHash(hashing) => Some(hashing),
            _ => None,
        };
        let levels = group(members, terms.zones).into_iter().map(|group| {
            let weights = group.members.iter().filter_map(|index| {
                let weight = members.get(*index)?.configured_weight();
                Some((*index, weight * 1000))
            });
            Planned {
                table: hashing.map(|hashing| table(hashing, members, &group.members)),
                level: Level {
                    priority: group.priority,
                    zone: group.zone,
                    mode: Mode::Normal,
                    load: 0,
                    until: 0,
                    entries: Level::entries(weights),
                },
            }
        });
        Self {
            balancer,
            levels: levels.collect(),
            members: members.len(),
        }
    }

    /// How it picks.
    pub fn balancer(&self) -> Balancer {
        self.balancer
    }
}

/// Members that 16 bits do not count are in no table: [`MEMBERS_MAX`](super::MEMBERS_MAX) is far below.
fn table(hashing: Hashing, members: &[Member], group: &[usize]) -> Table {
    let share = |index: &usize| {
        let member = members.get(*index)?;
        let index = u16::try_from(*index).ok()?;
        Some((index, member.identity, member.configured_weight()))
    };
    let shares: Vec<_> = group.iter().filter_map(share).collect();
    Table::new(hashing, &shares)
}

/// Who takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Among the members.
    pub index: usize,
    /// Whether it was picked in panic.
    pub mode: Mode,
}

/// One worker's picks for one upstream.
#[derive(Debug)]
pub struct Picker {
    plan: Arc<Plan>,
    turn: Turn,
}

impl Picker {
    /// Each worker begins at another member, so that few requests do not all reach the first.
    pub fn new(plan: Arc<Plan>, worker: usize) -> Self {
        let turn = Turn::new(plan.members);
        for Planned { level, .. } in &plan.levels {
            for _ in 0..worker.checked_rem(level.entries.len()).unwrap_or(0) {
                turn.next(&level.entries, |_| true);
            }
        }
        Self { plan, turn }
    }

    /// Who takes a request; `None` where nobody is left.
    ///
    /// `key` is the hash of what the request is told apart by, and only read where keys are hashed; without one it goes
    /// anywhere. `tried` are left out. `random` are 64 fresh bits. When all of the level that is due were tried, the
    /// other levels are asked in their order, then members that are not known yet, then those that fail.
    pub fn pick(
        &self,
        roster: &Roster,
        loads: &impl Loads,
        key: Option<u64>,
        tried: &[usize],
        random: u64,
    ) -> Option<Pick> {
        let bits = match self.plan.balancer {
            // The same key is always due in the same level.
            Balancer::IpHash(_) | Balancer::ConsistentHash(_) => key.unwrap_or(random),
            _ => random,
        };
        let due = roster.level_for(mix(bits))?;
        let pick = |ordinal: usize| {
            let level = roster.level(ordinal)?;
            let index = self.pick_in(roster, ordinal, level, loads, bits, tried)?;
            Some(Pick {
                index,
                mode: level.mode,
            })
        };
        pick(due).or_else(|| {
            (0..roster.levels().len())
                .filter(|ordinal| *ordinal != due)
                .find_map(pick)
        })
    }

    fn pick_in(
        &self,
        roster: &Roster,
        ordinal: usize,
        level: &Level,
        loads: &impl Loads,
        bits: u64,
        tried: &[usize],
    ) -> Option<usize> {
        match self.plan.balancer {
            Balancer::RoundRobin => self
                .turn
                .next(&level.entries, |entry| !tried.contains(&entry.index)),
            Balancer::Random => level.draw(bits, tried).map(|entry| entry.index),
            Balancer::LeastRequests => self
                .turn
                .least(&level.entries, loads, |entry| !tried.contains(&entry.index)),
            Balancer::TwoChoices => two_choices(level, loads, bits, tried),
            Balancer::PeakEwma => peak_ewma(level, loads, bits, tried),
            Balancer::IpHash(_) | Balancer::ConsistentHash(_) => {
                let planned = self.plan.levels.get(ordinal);
                match planned.and_then(|planned| planned.table.as_ref()) {
                    Some(table) => hashed(table, roster, level, loads, &self.turn, bits, tried),
                    // Those that are only used when all others were tried are in other levels' tables.
                    None => level.draw(mix(bits), tried).map(|entry| entry.index),
                }
            }
        }
    }
}
