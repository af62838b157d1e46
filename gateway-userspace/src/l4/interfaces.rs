//! Interfaces and the XDP programs on them, as the kernel tells by netlink.

use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};
use nix::net::if_::{if_nameindex, if_nametoindex};
use rtnetlink::Handle;
use serde::Serialize;

use super::L4Error;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
    /// In the card, or in several places.
    Other,
}

/// The XDP program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// How it is attached.
    pub mode: Mode,
    /// The kernel's number of the program, as `bpftool prog` lists it; 0 where it does not say.
    pub program: u32,
}

/// The index of an interface.
///
/// # Errors
/// There is none of that name; the error lists those that there are.
pub fn index(name: &str) -> Result<u32, L4Error> {
    if_nametoindex(name).map_err(|_| {
        let present = if_nameindex().map(|list| {
            list.iter()
                .map(|interface| interface.name().to_string_lossy().into_owned())
                .collect()
        });
        L4Error::NoInterface {
            name: name.to_owned(),
            present: present.unwrap_or_default(),
        }
    })
}

/// The XDP program of an interface, if it has one.
///
/// # Errors
/// Netlink does not answer.
pub async fn attached(netlink: &Handle, name: &str, index: u32) -> Result<Option<Attached>, L4Error> {
    let failed = |source: rtnetlink::Error| L4Error::Netlink {
        action: format!("ask for the XDP program of `{name}`"),
        source: source.into(),
    };
    let link = netlink
        .link()
        .get()
        .match_index(index)
        .execute()
        .try_next()
        .await
        .map_err(failed)?;
    let attributes = link.map(|link| link.attributes).unwrap_or_default();
    let xdp = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    let mut mode = None;
    let mut program = 0;
    for item in xdp.into_iter().flatten() {
        match item {
            LinkXdp::Attached(XdpAttached::Driver) => mode = Some(Mode::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(Mode::Generic),
            LinkXdp::Attached(XdpAttached::None) => {}
            LinkXdp::Attached(_) => mode = Some(Mode::Other),
            LinkXdp::ProgId(id) => program = *id,
            _ => {}
        }
    }
    Ok(mode.map(|mode| Attached { mode, program }))
}
