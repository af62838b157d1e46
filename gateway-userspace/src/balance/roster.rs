//! Who may be picked now, with which weight, and how traffic is split over priorities and zones.
//!
//! Computed when something changed, O(n); the caller knows when. It holds nothing of one worker, so all may share it.

use super::group::{Group, group};
use super::level::{Entry, Level};
use super::mix::below;
use super::split::{Load, Strength, split};
use super::{Intake, Member, Mode, SHARE_WHOLE, Standing, Zone};

/// How levels are made and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RosterTerms {
    /// Whether the local zone comes first.
    pub zones: Zones,
    /// A level takes all that it is offered while this many per cent of its available weight are its whole weight or
    /// more; at least 100. Envoy's default is 140: from 71% on.
    pub overprovisioning_per_cent: u16,
    /// All members of a level are used when fewer per cent of its weight than this are available, and the levels
    /// together cannot bear the traffic. 0: never, then nobody is picked where all fail. 1: only if (nearly) all fail.
    pub panic_below_per_cent: u8,
}

impl Default for RosterTerms {
    /// Envoy's.
    fn default() -> Self {
        Self {
            zones: Zones::Equal,
            overprovisioning_per_cent: 140,
            panic_below_per_cent: 50,
        }
    }
}

/// Whether it matters where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zones {
    /// No.
    Equal,
    /// Of each priority, the local ones come first.
    LocalFirst,
}

/// Who may be picked.
#[derive(Debug)]
pub struct Roster {
    /// Those of the plan in its order, then those that are used when all others were tried.
    levels: Box<[Level]>,
    /// How many of them are the plan's.
    planned: usize,
    /// The level that gets all traffic, if one does.
    only: Option<usize>,
    /// Whether somebody may be picked who is known or presumed good.
    has_good: bool,
    /// By member.
    seats: Box<[Seat]>,
}

/// What a member has of its level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Thousandths of a weight of 1; 0: it is not to be picked.
    pub(super) weight: u32,
    /// Per mille of the greatest share in its level, so that all start quickly where all start.
    pub(super) share: u16,
    mode: Mode,
    /// Whether sessions that name it may go on, though it is not to be picked.
    keeps: Keeps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Nothing,
    Sessions,
}

/// What one level gets, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelLoad {
    /// The priority of its members.
    pub priority: u8,
    /// Their zone, where zones matter.
    pub zone: Option<Zone>,
    /// Its share of all traffic.
    pub per_mille: u16,
    /// How many may be picked.
    pub members: usize,
    /// Whether failing ones are among them.
    pub mode: Mode,
}

impl Roster {
    /// Sees who may be picked.
    ///
    /// `Unknown` members count for nothing while one is known to be ready, not even as missing: adding endpoints does
    /// not make an upstream seem half dead. Shares do not count for what a level can bear either: they say how
    /// members of one level stand to each other, and all of them starting is no reason to go elsewhere.
    pub fn new(members: &[Member], terms: &RosterTerms) -> Self {
        let groups = group(members, terms.zones);
        let is_ready = |member: &Member| member.intake == Intake::All && member.standing == Standing::Ready;
        let is_any_ready = members.iter().any(is_ready);
        let rank = |index: &usize| rank(members.get(*index), is_any_ready);
        let strengths: Vec<Strength> = groups
            .iter()
            .map(|group| strength(group, members, rank))
            .collect();
        let loads = split(&strengths, terms);
        let mut seats: Vec<Seat> = members.iter().map(Seat::empty).collect();
        let mut levels = Vec::with_capacity(groups.len() + 2);
        let mut until = 0;
        for (group, Load { load, mode }) in groups.iter().zip(loads) {
            let may = |index: &&usize| match rank(index) {
                Rank::Available => true,
                Rank::Waiting => false,
                Rank::Failing => mode == Mode::Panic,
            };
            let chosen: Vec<usize> = group.members.iter().filter(may).copied().collect();
            take_seats(&mut seats, members, &chosen, mode);
            until += load;
            let entries = entries(members, &chosen);
            levels.push(Level {
                priority: group.priority,
                zone: group.zone,
                mode,
                load,
                until,
                entries,
            });
        }
        let planned = levels.len();
        let without = |wanted: Rank| -> Vec<usize> {
            let seats = seats.iter().enumerate();
            let without = seats.filter(|(index, seat)| seat.weight == 0 && rank(index) == wanted);
            let takes = |index: &usize| members.get(*index).is_some_and(|one| one.intake == Intake::All);
            without.map(|(index, _)| index).filter(takes).collect()
        };
        let mut spares = vec![(Mode::Normal, without(Rank::Waiting))];
        if terms.panic_below_per_cent > 0 {
            spares.push((Mode::Panic, without(Rank::Failing)));
        }
        for (mode, chosen) in spares.into_iter().filter(|(_, chosen)| !chosen.is_empty()) {
            levels.push(Level {
                priority: u8::MAX,
                zone: None,
                mode,
                load: 0,
                until,
                entries: entries(members, &chosen),
            });
        }
        let mut loaded = levels.iter().enumerate().filter(|(_, level)| level.load > 0);
        let only = match (loaded.next(), loaded.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        };
        Self {
            levels: levels.into(),
            planned,
            only,
            has_good: strengths.iter().any(|strength| strength.available > 0),
            seats: seats.into(),
        }
    }

    /// What the levels get, in their order.
    pub fn loads(&self) -> impl Iterator<Item = LevelLoad> {
        let sum = self.load().max(1);
        self.levels.iter().take(self.planned).map(move |level| LevelLoad {
            priority: level.priority,
            zone: level.zone,
            per_mille: u16::try_from((level.load * 1000 + sum / 2) / sum).unwrap_or(SHARE_WHOLE),
            members: level.entries.len(),
            mode: level.mode,
        })
    }

    /// Whether a session that names that member, as a sticky cookie does, may go on there, and whether out of panic.
    ///
    /// More than picks allow: also one that takes no new requests, and one that is not checked yet. Never one that fails
    /// (but in panic), or that is not of this subset.
    pub fn admits(&self, index: usize) -> Option<Mode> {
        let seat = self.seats.get(index)?;
        (seat.weight > 0 || seat.keeps == Keeps::Sessions).then_some(seat.mode)
    }

    /// Whether somebody may be picked who is known or presumed good: else picks are made in panic, or not at all.
    pub fn has_good(&self) -> bool {
        self.has_good
    }

    /// The seat of a member that may be picked.
    pub(super) fn seat(&self, index: usize) -> Option<Seat> {
        self.seats.get(index).copied().filter(|seat| seat.weight > 0)
    }

    /// The level for a draw; `None` where nobody may be picked.
    pub(super) fn level_for(&self, bits: u64) -> Option<usize> {
        if self.only.is_some() {
            return self.only;
        }
        let point = below(bits, self.load());
        self.levels.iter().position(|level| point < level.until)
    }

    pub(super) fn level(&self, ordinal: usize) -> Option<&Level> {
        self.levels.get(ordinal)
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn load(&self) -> u64 {
        self.levels.last().map_or(0, |last| last.until)
    }
}

impl Seat {
    fn empty(member: &Member) -> Self {
        let keeps = match (member.intake, member.standing) {
            (Intake::None, _) | (_, Standing::Failing) => Keeps::Nothing,
            (Intake::All | Intake::Sessions, Standing::Ready | Standing::Unknown) => Keeps::Sessions,
        };
        Self {
            weight: 0,
            share: 0,
            mode: Mode::Normal,
            keeps,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Available,
    /// Unknown, while another is known to be ready.
    Waiting,
    Failing,
}

fn rank(member: Option<&Member>, is_any_ready: bool) -> Rank {
    match member.map(|member| member.standing) {
        Some(Standing::Ready) => Rank::Available,
        Some(Standing::Unknown) if !is_any_ready => Rank::Available,
        Some(Standing::Unknown) => Rank::Waiting,
        Some(Standing::Failing) | None => Rank::Failing,
    }
}

fn strength(group: &Group, members: &[Member], rank: impl Fn(&usize) -> Rank) -> Strength {
    let mut strength = Strength {
        whole: 0,
        available: 0,
    };
    for index in &group.members {
        let weight = members
            .get(*index)
            .map_or(0, |member| u64::from(member.configured_weight()));
        match rank(index) {
            Rank::Available => {
                strength.available += weight;
                strength.whole += weight;
            }
            Rank::Waiting => {}
            Rank::Failing => strength.whole += weight,
        }
    }
    strength
}

fn entries(members: &[Member], chosen: &[usize]) -> Box<[Entry]> {
    let weight = |index: &usize| Some((*index, members.get(*index)?.effective_weight()));
    Level::entries(chosen.iter().filter_map(weight))
}

fn take_seats(seats: &mut [Seat], members: &[Member], chosen: &[usize], mode: Mode) {
    let share = |index: &usize| {
        members
            .get(*index)
            .map_or(1, |member| member.share.clamp(1, SHARE_WHOLE))
    };
    let most = u32::from(chosen.iter().map(share).max().unwrap_or(SHARE_WHOLE));
    for index in chosen {
        if let (Some(seat), Some(member)) = (seats.get_mut(*index), members.get(*index)) {
            let relative = u32::from(share(index)) * u32::from(SHARE_WHOLE) / most;
            *seat = Seat {
                weight: member.effective_weight(),
                share: u16::try_from(relative).unwrap_or(SHARE_WHOLE),
                mode,
                keeps: seat.keeps,
            };
        }
    }
}
