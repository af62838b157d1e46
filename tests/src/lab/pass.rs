//! An XDP program that passes everything, on the switch's side of a node's cable.
//!
//! A frame that a native program on one end of a veth pair sends back with `XDP_TX` reaches the other end only
//! where that has an XDP program as well (linux/drivers/net/veth.c: without one, the peer has no receive queue for
//! XDP frames). On a real network card nothing of the kind is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::programs::Xdp;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::{Ebpf, EbpfLoader};

pub use aya::programs::xdp::XdpMode;

/// Name of the passing program in the kernel object.
const PROGRAM: &str = "pass";

/// The program on one or more interfaces; dropping it takes it off.
#[derive(Debug)]
pub struct Passing {
    id: u32,
    links: Vec<XdpLink>,
}

impl Passing {
    /// The kernel's number of the program.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Pins the link of the first interface, so that it stays when this goes.
    ///
    /// # Errors
    /// Where there is none, or it cannot be pinned.
    pub fn pin(mut self, path: &Path) -> Result<()> {
        let link = self.links.pop().context("there is a link")?;
        let link = FdLink::try_from(link).context("it is a link with a descriptor")?;
        link.pin(path)
            .with_context(|| format!("pin the link at {}", path.display()))?;
        Ok(())
    }
}

/// The program, attached to nothing.
#[derive(Debug)]
pub struct Loaded(Ebpf);

impl Loaded {
    /// Loads it.
    ///
    /// # Errors
    /// Where the kernel object is not built, or the kernel refuses it.
    pub fn new() -> Result<Self> {
        let path = object_path();
        let object = std::fs::read(&path).with_context(|| {
            format!(
                "read the kernel object {}; `cargo xtask build-ebpf` makes it",
                path.display()
            )
        })?;
        let loaded = EbpfLoader::new()
            .load(&object)
            .with_context(|| format!("load {}", path.display()))?;
        let mut loaded = Self(loaded);
        loaded
            .program()?
            .load()
            .with_context(|| format!("load the XDP program {PROGRAM:?}"))?;
        Ok(loaded)
    }

    /// The program.
    ///
    /// # Errors
    /// Where the object has none of its name.
    pub fn program(&mut self) -> Result<&mut Xdp> {
        self.0
            .program_mut(PROGRAM)
            .with_context(|| format!("the kernel object has no program {PROGRAM:?}"))?
            .try_into()
            .with_context(|| format!("{PROGRAM:?} is no XDP program"))
    }

    /// The kernel's number of the program.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn id(&mut self) -> Result<u32> {
        Ok(self.program()?.info().context("ask for the program")?.id())
    }
}

/// Attaches the program natively to interfaces of the calling thread's namespace.
///
/// # Errors
/// Where the kernel object is not built, or the kernel refuses it.
pub fn attach(interfaces: &[String]) -> Result<Passing> {
    attach_in(interfaces, XdpMode::Driver)
}

/// As [`attach`], in that mode.
///
/// # Errors
/// As [`attach`].
pub fn attach_in(interfaces: &[String], mode: XdpMode) -> Result<Passing> {
    let mut loaded = Loaded::new()?;
    let id = loaded.id()?;
    let program = loaded.program()?;
    let mut links = Vec::new();
    for interface in interfaces {
        let link = program
            .attach(interface, mode)
            .and_then(|id| program.take_link(id))
            .with_context(|| format!("attach the XDP program {PROGRAM:?} to {interface}"))?;
        links.push(link);
    }
    Ok(Passing { id, links })
}

/// Where `cargo xtask build-ebpf` puts the kernel object, unless `GATEWAY_EBPF_OBJECT` says otherwise.
pub fn object_path() -> PathBuf {
    match std::env::var_os("GATEWAY_EBPF_OBJECT") {
        Some(path) => path.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf/gateway.o")),
    }
}
