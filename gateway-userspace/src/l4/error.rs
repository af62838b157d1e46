//! Why the kernel's side could not be set up; each message names the remedy.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::ProgramError;

/// A failure of the data plane.
#[derive(Debug, thiserror::Error)]
pub enum L4Error {
    /// Built without the kernel program.
    #[error(
        "this gateway was built without the kernel program: run `cargo xtask build-ebpf` and build it again, or remove \
         [dataplane] from the configuration to run L7 only"
    )]
    NoObject,
    /// Not root.
    #[error(
        "[dataplane] needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW): start the gateway as root, or remove \
         [dataplane] to run L7 only"
    )]
    NotPermitted,
    /// A kernel without type information.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux is missing): boot one built with CONFIG_DEBUG_INFO_BTF=y, or \
         remove [dataplane] to run L7 only"
    )]
    NoBtf,
    /// An interface that is not there.
    #[error(
        "dataplane.interfaces names `{name}`, and there is no such interface here: name one of {}", present.join(", ")
    )]
    NoInterface {
        /// What was named.
        name: String,
        /// What there is.
        present: Vec<String>,
    },
    /// The pin directory is not on bpffs.
    #[error(
        "dataplane.pin_directory {} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or name \
         a directory on one", path.display()
    )]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// Another process of this node steers.
    #[error(
        "{holder} steers as this node, by the pins in {}, and did not end within {}: stop it, or give this node another \
         node.name or dataplane.pin_directory",
        path.display(), humantime::format_duration(*waited)
    )]
    Locked {
        /// The pin directory of the node.
        path: PathBuf,
        /// Who that is.
        holder: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// Another program holds the interface.
    #[error("another XDP program is attached to `{interface}`: {program}; {remedy}")]
    AnotherProgram {
        /// The interface.
        interface: String,
        /// What is known of the program.
        program: String,
        /// What takes it off.
        remedy: String,
    },
    /// The program could not be attached.
    #[error(
        "the XDP program cannot be attached to `{interface}` in {mode} mode: if the driver has no XDP, set \
         dataplane.mode = \"generic\""
    )]
    Attach {
        /// The interface.
        interface: String,
        /// native or generic.
        mode: &'static str,
        /// What the kernel said.
        source: ProgramError,
    },
    /// The link could not be taken over or pinned.
    #[error(
        "the link of the XDP program on `{interface}` cannot be taken over or pinned: kernel 5.9 or newer is needed, and \
         room on the BPF file system"
    )]
    Link {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object is not what this program expects.
    #[error("the kernel object has no {kind} `{name}`: build object and gateway from the same source")]
    Missing {
        /// map or program.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// The kernel refused the object.
    #[error(
        "the kernel does not load the program: it needs Linux 5.10 or newer; report what the verifier says below"
    )]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A map could not be read or written.
    #[error("cannot {action} the map {map}")]
    Map {
        /// read or write.
        action: &'static str,
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Netlink said no.
    #[error("cannot {action}")]
    Netlink {
        /// What was being done, and to what.
        action: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More prefixes than a list of the kernel holds.
    #[error(
        "there are more prefixes than the kernel's list has room for: raise dataplane.prefixes_max, which is {prefixes_max}"
    )]
    ListFull {
        /// Its bound.
        prefixes_max: u32,
    },
    /// Nobody writes the lists any more.
    #[error("the thread that writes the lists of prefixes has ended: restart the node")]
    ListsEnded,
    /// More tables than the maps hold.
    #[error("{needed} Maglev tables are needed and dataplane.tables is {available}: raise it")]
    TooManyTables {
        /// By this configuration and view.
        needed: usize,
        /// In the map.
        available: u32,
    },
}
