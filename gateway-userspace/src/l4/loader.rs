//! Loads the kernel program and attaches it: over what an earlier life pinned, where there is any.
//!
//! A link that is pinned gets the new program by one atomic swap, so that a restart never detaches.

use std::sync::Arc;

use aya::maps::ProgramArray;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use gateway_common::abi;
use gateway_common::protection::SOURCE_SETS;
use gateway_common::tables::Noted;
use gateway_common::verdict::REASONS;
use gateway_common::vip::table::CELLS;

use super::counters::Counters;
use super::deny::Lists;
use super::descriptors::Descriptors;
use super::explain::Reader;
use super::flows::FlowLimits;
use super::interfaces::{Attached, Mode};
use super::kept::{Kept, Takeover};
use super::maps::Maps;
use super::others::Other;
use super::pins::Pins;
use super::trace::Tracer;
use super::{L4Error, interfaces, kernel_log, object};
use crate::config::limits;
use crate::config::snapshot::{AttachMode, Dataplane};

/// A program in the kernel, with its maps.
pub struct Loaded {
    /// What user space writes.
    pub maps: Maps,
    /// Lists of prefixes, and bounds.
    pub lists: Lists,
    /// By what others read it.
    pub reader: Arc<Reader>,
    /// By what packets are told of.
    pub tracer: Arc<Tracer>,
    /// Holds the program and whatever is not pinned.
    pub object: Ebpf,
    /// What is to be done before the program takes the place of one that steers; `None`: nothing.
    pub takeover: Option<Takeover>,
}

/// Loads the program, over pinned maps where those fit the configuration.
///
/// # Errors
/// No object, no rights, no BTF, or the kernel refuses the program.
pub fn load(config: &Dataplane, pins: &Pins) -> Result<(Loaded, Counters), L4Error> {
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(L4Error::NoBtf);
    }
    let limits = FlowLimits {
        tcp: config.flow_table_entries,
        udp: config.udp_flow_table_entries,
    };
    let sizes = [
        (abi::SLOT_WORDS, abi::slot_words(config.tables)),
        (abi::HALVES, abi::table_half(config.tables)),
        // Those below are constants of this version; another one may have pinned others.
        (abi::VIPS, 2 * CELLS),
        (abi::NODES, abi::NODES_MAX + 1),
        (abi::FRAGMENTS, abi::FRAGMENTS_MAX),
        (abi::HEARD, abi::NODES_MAX + 1),
        (abi::REASON_COUNTS, REASONS),
        (abi::VIP_COUNTS, abi::VIP_COUNTS_MAX),
        (abi::NODE_COUNTS, abi::NODES_MAX + 1),
        // What the configuration lists must leave room for orders.
        (abi::DENIED, config.prefixes_max + limits::DENIED_SET_MAX as u32),
        (abi::ALLOWED, config.prefixes_max),
        (abi::PROTECTION, abi::VIPS_MAX + 1),
        (abi::SOURCES, SOURCE_SETS),
        (abi::VIP_BUCKETS, abi::VIPS_MAX + 1),
        (abi::NOTED_COUNTS, Noted::ALL.len() as u32),
    ];
    let sizes: Vec<_> = sizes.into_iter().chain(limits.sets()).collect();
    let kept = Kept::look(pins, &sizes)?;
    // A program that steers goes on until the new maps are filled. Without one nothing waits.
    let has_links = !pins.linked_interfaces()?.is_empty();
    let is_held_back = has_links && !kept.is_all();
    let paths: Vec<_> = if is_held_back {
        kept.tell();
        kept.taken_up().map(|name| (name, pins.map(name))).collect()
    } else {
        if kept.is_all() {
            tracing::info!("steering goes on over the maps that an earlier life pinned");
        } else {
            pins.forget_maps()?;
        }
        abi::PINNED_MAPS
            .iter()
            .map(|name| (*name, pins.map(name)))
            .collect()
    };
    let level = kernel_log::level();
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, &level, false);
    for (name, entries) in sizes {
        loader.map_max_entries(name, entries);
    }
    limits.apply(&mut loader);
    for (name, path) in &paths {
        loader.map_pin_path(name, path);
    }
    let mut object = loader.load(object::bytes()?).map_err(refused)?;
    kernel_log::follow(&mut object);
    // The programs first: their instructions name the maps by descriptors, which must be open until then.
    load_programs(&mut object)?;
    let takeover = match is_held_back {
        true => Some(Takeover::of(kept, &object)?),
        false => None,
    };
    let reader = Arc::new(Reader::new(Descriptors::of(&object)?, config));
    let maps = Maps::take(&mut object, config.tables)?;
    let counters = Counters::take(&mut object)?;
    let lists = Lists::start(&mut object, config.prefixes_max)?;
    let tracer = Tracer::take(&mut object)?;
    let loaded = Loaded {
        maps,
        lists,
        reader,
        tracer,
        object,
        takeover,
    };
    Ok((loaded, counters))
}

/// Attaches the program to one interface and pins the link. `attached` is what is there now.
///
/// # Errors
/// Another program is attached, or the driver refuses this one.
pub fn attach(
    object: &mut Ebpf,
    pins: &Pins,
    interface: &str,
    mode: AttachMode,
    attached: Option<Attached>,
) -> Result<(), L4Error> {
    let index = interfaces::index(interface)?;
    let path = pins.link(interface);
    let program = program(object, abi::PROGRAM)?;
    let link_error = |error: Box<dyn std::error::Error + Send + Sync>| L4Error::Link {
        interface: interface.to_owned(),
        source: error,
    };
    if path.exists() {
        let is_as_wanted = match (mode, attached.map(|attached| attached.mode)) {
            (_, None) => false,
            (AttachMode::Native, Some(mode)) => mode == Mode::Native,
            (AttachMode::Generic, Some(mode)) => mode == Mode::Generic,
            (AttachMode::Auto, Some(_)) => true,
        };
        if is_as_wanted && swap(program, &path).map_err(|error| link_error(error.into()))? {
            return Ok(());
        }
        // Another mode is wanted, or the interface was removed and made again: the link is of no use.
        std::fs::remove_file(&path).map_err(|source| L4Error::File {
            action: "remove",
            path: path.clone(),
            source,
        })?;
    }
    let modes: &[(XdpMode, &'static str)] = match mode {
        AttachMode::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
        AttachMode::Native => &[(XdpMode::Driver, "native")],
        AttachMode::Generic => &[(XdpMode::Skb, "generic")],
    };
    let mut refusal = None;
    for (kernel_mode, name) in modes {
        match program.attach_to_if_index(index, *kernel_mode) {
            Ok(id) => {
                if let Some(error) = &refusal {
                    tracing::warn!(
                        interface,
                        error = error as &dyn std::error::Error,
                        "attached in generic mode, which is several times slower: the driver refuses native mode"
                    );
                }
                let link = program.take_link(id).map_err(|error| link_error(error.into()))?;
                let link = FdLink::try_from(link).map_err(|error| link_error(error.into()))?;
                let pinned = link.pin(&path).map_err(|error| link_error(error.into()))?;
                tracing::debug!(interface, mode = name, link = ?pinned, "attached");
                return Ok(());
            }
            Err(error) if is_busy(&error) => {
                return Err(another(interface, pins, attached));
            }
            Err(source) => {
                refusal = Some(L4Error::Attach {
                    interface: interface.to_owned(),
                    mode: name,
                    source,
                });
            }
        }
    }
    Err(refusal.unwrap_or(L4Error::NoInterface {
        name: interface.to_owned(),
        present: Vec::new(),
    }))
}

/// The error that another program is on an interface.
pub(super) fn another(interface: &str, pins: &Pins, attached: Option<Attached>) -> L4Error {
    let other = match attached {
        Some(attached) => Other::find(interface, attached, pins.directory()),
        // It came this moment.
        None => Other {
            interface: interface.to_owned(),
            ..Other::default()
        },
    };
    L4Error::AnotherProgram {
        interface: interface.to_owned(),
        program: other.to_string(),
        remedy: other.remedy(),
    }
}

/// Puts the program into a pinned link, at once; `false` where the link leads nowhere any more.
///
/// # Errors
/// It is no link of XDP.
pub fn swap(program: &mut Xdp, path: &std::path::Path) -> Result<bool, LinkError> {
    let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))?;
    Ok(program.attach_to_link(link).is_ok())
}

/// Has the verifier take both programs that steer.
///
/// # Errors
/// It does not, or the object is not what this program expects.
pub fn load_programs(object: &mut Ebpf) -> Result<(), L4Error> {
    for name in abi::PROGRAMS {
        program(object, name)?.load().map_err(refused)?;
    }
    Ok(())
}

/// Puts the program of the long way into its slot of the chain, where the short way goes on, and an operator's own that sees
/// frames first.
///
/// # Errors
/// The object is not what this program expects, or the slot holds to programs of another kind.
pub fn join_chain(object: &mut Ebpf) -> Result<(), L4Error> {
    let failed = |source| L4Error::Map {
        action: "write",
        map: abi::CHAIN,
        source,
    };
    let steer = program(object, abi::STEER_PROGRAM)?;
    let steer = steer
        .fd()
        .and_then(|fd| Ok(fd.try_clone()?))
        .map_err(|error| L4Error::Load(error.into()))?;
    let missing = L4Error::Missing {
        kind: "map",
        name: abi::CHAIN,
    };
    let mut chain: ProgramArray<_> = object
        .map_mut(abi::CHAIN)
        .ok_or(missing)?
        .try_into()
        .map_err(failed)?;
    chain.set(abi::STEER, &steer, 0).map_err(failed)
}

fn program<'o>(object: &'o mut Ebpf, name: &'static str) -> Result<&'o mut Xdp, L4Error> {
    let missing = || L4Error::Missing {
        kind: "program",
        name,
    };
    object
        .program_mut(name)
        .ok_or_else(missing)?
        .try_into()
        .map_err(|_| missing())
}

fn is_busy(error: &ProgramError) -> bool {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    matches!(code, Some(libc::EBUSY | libc::EEXIST))
}

/// Tells a lack of rights (EPERM) from what the verifier says (EACCES).
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> L4Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.raw_os_error() == Some(libc::EPERM)
        {
            return L4Error::NotPermitted;
        }
        cause = error.source();
    }
    L4Error::Load(error.into())
}
