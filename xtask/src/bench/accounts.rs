//! What the kernel keeps account of: CPU time and memory of processes, idle time of cores.
//!
//! Source: proc(5), `/proc/PID/stat`, `/proc/PID/status`, `/proc/stat`. Which of it counts as what is the callers'
//! knowledge.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// One tick of the accounts in `/proc`: USER_HZ is 100 on every architecture we run on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, in the program and in the kernel on its behalf.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// In the program.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl Cpu {
    /// Both parts.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

/// CPU time of a process group so far.
///
/// # Errors
/// When it has no process.
pub fn cpu(group: Pid) -> Result<Cpu> {
    let stats = stats(group)?;
    let sum = stats.iter().map(|stat| stat.cpu).reduce(Cpu::plus);
    sum.with_context(|| format!("process group {group} has ended"))
}

/// CPU time of this process and of its children that have ended.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn own_cpu() -> Result<Cpu> {
    let one = |who| -> Result<Cpu> {
        let usage = getrusage(who).context("asking for this process's own CPU time")?;
        Ok(Cpu {
            user: duration(usage.user_time()),
            system: duration(usage.system_time()),
        })
    };
    Ok(one(UsageWho::RUSAGE_SELF)?.plus(one(UsageWho::RUSAGE_CHILDREN)?))
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
}

/// Resident memory of a process group, in bytes; pages that its processes share count for each.
///
/// # Errors
/// When it has no process.
pub fn resident_bytes(group: Pid) -> Result<u64> {
    let mut bytes = None;
    for process in members(group)? {
        if let Some(status) = read(&format!("/proc/{process}/status"))? {
            bytes = Some(bytes.unwrap_or(0) + resident(&status));
        }
    }
    bytes.with_context(|| format!("process group {group} has ended"))
}

/// Open files of a process group, sockets included.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn open_files(group: Pid) -> Result<usize> {
    let mut count = 0;
    for process in members(group)? {
        let path = format!("/proc/{process}/fd");
        count += fs::read_dir(&path)
            .with_context(|| format!("reading {path}"))?
            .count();
    }
    Ok(count)
}

/// The processes of a group.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn members(group: Pid) -> Result<Vec<i32>> {
    Ok(stats(group)?.iter().map(|stat| stat.process).collect())
}

/// Time of one core since the machine's start, by what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Core {
    /// In programs, and lost to other guests of the host: what other work adds to.
    pub user: Duration,
    /// Idle, and idle while a disk is waited for.
    pub idle: Duration,
}

/// Reads the accounts of `core`.
///
/// # Errors
/// When there is no such core.
pub fn core(core: usize) -> Result<Core> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    parse_core(&text, core).with_context(|| format!("/proc/stat has no core {core}"))
}

struct Stat {
    process: i32,
    cpu: Cpu,
}

fn stats(group: Pid) -> Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Some(text) = read(&format!("/proc/{process}/stat"))? else {
            continue;
        };
        if let Some((of, cpu)) = parse_stat(&text).filter(|(of, _)| *of == group.as_raw()) {
            debug_assert_eq!(of, group.as_raw());
            found.push(Stat { process, cpu });
        }
    }
    Ok(found)
}

/// A file of `/proc`, or nothing when its process has just ended.
fn read(path: &str) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // ESRCH: it ended between opening and reading.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {path}")),
    }
}

/// Process group and CPU time of a process that lives. Its name, in parentheses, may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<(i32, Cpu)> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if ["Z", "X"].contains(fields.first()?) {
        return None;
    }
    let ticks = |at: usize| Some(TICK * fields.get(at)?.parse::<u32>().ok()?);
    let cpu = Cpu {
        user: ticks(11)?,
        system: ticks(12)?,
    };
    Some((fields.get(2)?.parse().ok()?, cpu))
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    // A process that is ending has no memory left, and no such line.
    kibibytes.unwrap_or(0) * 1024
}

fn parse_core(text: &str, core: usize) -> Option<Core> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    // user nice system idle iowait irq softirq steal
    let fields: Vec<u32> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let ticks = |at: usize| Some(TICK * *fields.get(at)?);
    Some(Core {
        user: ticks(0)? + ticks(1)? + ticks(7)?,
        idle: ticks(3)? + ticks(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let rows = [
            (
                "812 (nginx: (x) y) S 1 800 800 0 -1 4194560 1 2 3 4 250 1300 7 8 20 0 1 0 100 1 1",
                Some((800, 2_500, 13_000)),
                "a name with blanks and parentheses",
            ),
            (
                "812 (wrk) Z 1 800 800 0 -1 4194560 1 2 3 4 250 1300 7 8 20 0 1 0 100 1 1",
                None,
                "one that has ended",
            ),
            ("", None, "nothing"),
        ];
        for (text, expected, description) in rows {
            let found =
                parse_stat(text).map(|(group, cpu)| (group, cpu.user.as_millis(), cpu.system.as_millis()));
            assert_eq!(found, expected, "{description}");
        }
    }

    #[test]
    fn idle_and_user_time_of_a_core_are_read() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 5 200 3000 40 0 60 7 0 0\ncpu1 1 0 2 3 0 0 0 0 0 0\nintr 1\n";
        let core = parse_core(text, 0).unwrap();
        assert_eq!((core.user.as_millis(), core.idle.as_millis()), (1_120, 30_400));
        assert_eq!(parse_core(text, 1).unwrap().idle.as_millis(), 30);
        assert_eq!(parse_core(text, 2), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    1500 kB\nRssAnon:\t 1 kB\n"),
            1_536_000
        );
        assert_eq!(resident("Name:\tx\n"), 0);
    }

    #[test]
    fn this_process_has_memory_and_cpu_time() {
        let group = nix::unistd::getpgrp();
        assert!(resident_bytes(group).unwrap() > 100_000);
        assert!(
            members(group)
                .unwrap()
                .contains(&std::process::id().cast_signed())
        );
        cpu(group).unwrap();
        own_cpu().unwrap();
    }
}
