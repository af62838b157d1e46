//! Interfaces and the XDP programs on them, as the kernel tells by netlink.

use futures_util::TryStreamExt;
use gateway_common::headers::Mac;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};
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

/// An interface that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it; another one, once it was removed and made again.
    pub index: u32,
    /// Longest IP packet that it takes, in bytes.
    pub mtu: u32,
    /// Its hardware address; zeroes where it has none.
    pub mac: Mac,
    /// Whether frames get in and out.
    pub carrier: Carrier,
    /// Whether it is a bond.
    pub kind: Kind,
    /// The XDP program on it.
    pub attached: Option<Attached>,
}

/// What an interface is, as far as that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Several as one. In native mode the program runs at its members, and sees their numbers.
    Bond,
    /// Anything else.
    Other,
}

/// Whether frames get in and out of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// It is up, and so is its other end.
    Up,
    /// One of the two is not.
    Down,
}

/// Looks at an interface; `None`: there is none of that name.
///
/// # Errors
/// Netlink does not answer.
pub async fn look(netlink: &Handle, name: &str) -> Result<Option<Link>, L4Error> {
    let Ok(index) = index(name) else {
        return Ok(None);
    };
    let answer = netlink.link().get().match_index(index).execute().try_next().await;
    let message = match answer {
        Ok(message) => message,
        // It went while it was asked for.
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => None,
        Err(source) => {
            return Err(L4Error::Netlink {
                action: format!("look at the interface `{name}`"),
                source: source.into(),
            });
        }
    };
    Ok(message.map(|message| link(&message)))
}

/// The members of a bond; none of anything else.
///
/// # Errors
/// Netlink does not answer.
pub async fn members(netlink: &Handle, link: &Link) -> Result<Vec<u32>, L4Error> {
    if link.kind != Kind::Bond {
        return Ok(Vec::new());
    }
    let failed = |source: rtnetlink::Error| L4Error::Netlink {
        action: format!("list the members of interface {}", link.index),
        source: source.into(),
    };
    let mut found = Vec::new();
    let mut messages = netlink.link().get().execute();
    while let Some(message) = messages.try_next().await.map_err(failed)? {
        if message
            .attributes
            .contains(&LinkAttribute::Controller(link.index))
        {
            found.push(message.header.index);
        }
    }
    Ok(found)
}

/// What the kernel says of an interface.
pub fn link(message: &LinkMessage) -> Link {
    // Up, and with a carrier: what `ip link` shows as LOWER_UP.
    let is_up = [LinkFlags::Up, LinkFlags::LowerUp]
        .into_iter()
        .all(|flag| message.header.flags.contains(flag));
    let mut link = Link {
        index: message.header.index,
        mtu: 0,
        mac: Mac::default(),
        carrier: if is_up { Carrier::Up } else { Carrier::Down },
        kind: Kind::Other,
        attached: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Bond)) => {
                link.kind = Kind::Bond;
            }
            LinkAttribute::Xdp(facts) => link.attached = attached(facts),
            _ => {}
        }
    }
    link
}

fn attached(facts: &[LinkXdp]) -> Option<Attached> {
    let mut mode = None;
    let mut program = 0;
    for fact in facts {
        match fact {
            LinkXdp::Attached(XdpAttached::Driver) => mode = Some(Mode::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(Mode::Generic),
            LinkXdp::Attached(XdpAttached::None) => {}
            LinkXdp::Attached(_) => mode = Some(Mode::Other),
            LinkXdp::ProgId(id) => program = *id,
            _ => {}
        }
    }
    mode.map(|mode| Attached { mode, program })
}
