//! The kernel, and what this process may do.

use super::{bad, good};
use crate::l4::host::facts::Facts;
use crate::l4::host::{Finding, Level};

/// The oldest kernel: XDP links that are replaced at once came with 5.9, and 5.10 is the first with them that is kept.
const KERNEL_MIN: (u32, u32) = (5, 10);
/// Since then an address says who put it there (`IFA_PROTO`).
const KERNEL_OF_MARKED_ADDRESSES: (u32, u32) = (5, 18);
/// Since then maps do not count as locked memory.
const KERNEL_OF_UNLOCKED_MAPS: (u32, u32) = (5, 11);

/// What is to be said of a machine itself.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), rights(facts), btf(facts), bpffs(facts)];
    findings.extend(features(facts));
    findings.extend(locked_memory(facts));
    findings.extend([jit(facts), membarrier(facts), realtime(facts)]);
    findings
}

fn kernel(facts: &Facts) -> Finding {
    let release = &facts.release;
    match version(release) {
        None => bad(
            "kernel",
            Level::Warning,
            None,
            format!("the kernel calls itself \"{release}\", which is no version"),
            "see that it is 5.10 or newer",
        ),
        Some(version) if version < KERNEL_MIN => bad(
            "kernel",
            Level::Fault,
            None,
            format!("Linux {release} is older than 5.10"),
            "boot Linux 5.10 or newer, or remove [dataplane] to run L7 only",
        ),
        Some(version) if version < KERNEL_OF_MARKED_ADDRESSES => bad(
            "kernel",
            Level::Warning,
            None,
            format!(
                "Linux {release} does not note who put an address on lo: VIPs that are configured no more stay there \
                 after a crash, if the pinned maps are lost, too"
            ),
            "boot Linux 5.18 or newer, or look at `ip address show dev lo` after such a crash",
        ),
        Some(_) => good("kernel", None, format!("Linux {release}")),
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn rights(facts: &Facts) -> Finding {
    if facts.missing_capabilities.is_empty() {
        return good("rights", None, "all capabilities that are needed".to_owned());
    }
    let missing = facts.missing_capabilities.join(", ");
    bad(
        "rights",
        Level::Fault,
        None,
        format!("this process lacks {missing}"),
        "run it as root, or grant them (in the systemd unit, AmbientCapabilities=)",
    )
}

fn btf(facts: &Facts) -> Finding {
    if facts.btf {
        return good("btf", None, "the kernel has type information".to_owned());
    }
    bad(
        "btf",
        Level::Fault,
        None,
        "/sys/kernel/btf/vmlinux is missing",
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
    )
}

fn bpffs(facts: &Facts) -> Finding {
    let Some(path) = &facts.not_bpffs else {
        return good("bpffs", None, "maps and links can be pinned".to_owned());
    };
    bad(
        "bpffs",
        Level::Fault,
        None,
        format!(
            "dataplane.pin_directory {} is not on a BPF file system",
            path.display()
        ),
        "mount one with `mount -t bpf bpf /sys/fs/bpf`, or name a directory on one",
    )
}

/// What the kernel was asked for by trying. Who may not try is told so by `rights`.
fn features(facts: &Facts) -> Vec<Finding> {
    let rows = [
        (
            "socket-lookup",
            facts.socket_lookup,
            "XDP programs may look up sockets",
            "XDP programs may not call bpf_skc_lookup_tcp: the program cannot tell its own connections",
        ),
        (
            "mappable-arrays",
            facts.mappable_arrays,
            "tables can be written in memory",
            "arrays cannot be mapped into memory (BPF_F_MMAPABLE): tables could not be changed as a whole",
        ),
    ];
    let told = rows
        .into_iter()
        .filter_map(|(check, has, found, fault)| match has? {
            true => Some(good(check, None, found.to_owned())),
            false => Some(bad(
                check,
                Level::Fault,
                None,
                fault,
                "boot Linux 5.10 or newer with CONFIG_INET=y and CONFIG_BPF_SYSCALL=y",
            )),
        });
    told.collect()
}

/// Before 5.11 maps count as locked memory.
fn locked_memory(facts: &Facts) -> Option<Finding> {
    let counts = version(&facts.release).is_some_and(|version| version < KERNEL_OF_UNLOCKED_MAPS);
    let bytes = facts.locked_memory.filter(|_| counts)?;
    Some(bad(
        "locked-memory",
        Level::Fault,
        None,
        format!(
            "maps count as locked memory before Linux 5.11, and {} kB may be locked",
            bytes / 1024
        ),
        "set LimitMEMLOCK=infinity in the systemd unit, or `ulimit -l unlimited`",
    ))
}

fn jit(facts: &Facts) -> Finding {
    match facts.jit {
        Some(0) => bad(
            "jit",
            Level::Warning,
            None,
            "net.core.bpf_jit_enable is 0: the program is interpreted, at several times the cost of each packet",
            "set it to 1 (deploy/sysctl.conf)",
        ),
        _ => good("jit", None, "programs are compiled".to_owned()),
    }
}

fn membarrier(facts: &Facts) -> Finding {
    if facts.membarrier {
        return good(
            "membarrier",
            None,
            "a change of tables waits for packets under way".to_owned(),
        );
    }
    bad(
        "membarrier",
        Level::Warning,
        None,
        "membarrier is refused: each change of tables rests for 20 ms instead of waiting for the packets under way",
        "boot a kernel built with CONFIG_MEMBARRIER=y and without nohz_full, and let a seccomp filter pass it",
    )
}

fn realtime(facts: &Facts) -> Finding {
    if facts.realtime {
        return good(
            "realtime",
            None,
            "heartbeats go before everything else".to_owned(),
        );
    }
    bad(
        "realtime",
        Level::Warning,
        None,
        "heartbeats get no real-time priority: on a busy machine they may be late, and the node be taken for dead",
        "grant CAP_SYS_NICE (in the systemd unit, CapabilityBoundingSet=), and have no RestrictRealtime= there",
    )
}
