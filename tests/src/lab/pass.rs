//! An XDP program that passes everything, on the switch's side of a node's cable.
//!
//! A frame that a native program on one end of a veth pair sends back with `XDP_TX` reaches the other end only
//! where that has an XDP program as well (linux/drivers/net/veth.c: without one, the peer has no receive queue for
//! XDP frames). On a real network card nothing of the kind is needed.

use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::EbpfLoader;
use aya::programs::Xdp;
use aya::programs::xdp::{XdpLink, XdpMode};

/// Name of the passing program in the kernel object.
const PROGRAM: &str = "pass";

/// The program on one or more interfaces; dropping it takes it off.
#[derive(Debug)]
pub struct Passing {
    _links: Vec<XdpLink>,
}

/// Attaches the program natively to interfaces of the calling thread's namespace.
///
/// # Errors
/// Where the kernel object is not built, or the kernel refuses it.
pub fn attach(interfaces: &[String]) -> Result<Passing> {
    let path = object_path();
    let object = std::fs::read(&path).with_context(|| {
        format!(
            "read the kernel object {}; `cargo xtask build-ebpf` makes it",
            path.display()
        )
    })?;
    let mut loaded = EbpfLoader::new()
        .load(&object)
        .with_context(|| format!("load {}", path.display()))?;
    let program: &mut Xdp = loaded
        .program_mut(PROGRAM)
        .with_context(|| format!("{} has no program {PROGRAM:?}", path.display()))?
        .try_into()
        .with_context(|| format!("{PROGRAM:?} is no XDP program"))?;
    program
        .load()
        .with_context(|| format!("load the XDP program {PROGRAM:?}"))?;
    let mut links = Vec::new();
    for interface in interfaces {
        let link = program
            .attach(interface, XdpMode::Driver)
            .and_then(|id| program.take_link(id))
            .with_context(|| format!("attach the XDP program {PROGRAM:?} to {interface}"))?;
        links.push(link);
    }
    Ok(Passing { _links: links })
}

/// Where `cargo xtask build-ebpf` puts the kernel object, unless `GATEWAY_EBPF_OBJECT` says otherwise.
pub fn object_path() -> PathBuf {
    match std::env::var_os("GATEWAY_EBPF_OBJECT") {
        Some(path) => path.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf/gateway.o")),
    }
}
