//! The VIPs on `lo`: with them the stack takes what XDP passes up, and never chooses one as a source by itself.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressProtocol, CacheInfo};
use nix::net::if_::if_nametoindex;
use rtnetlink::Handle;

use super::L4Error;

/// Seconds for ever.
const FOREVER: u32 = u32::MAX;

/// Marks the addresses that a gateway put on `lo` (`IFA_PROTO`, Linux 5.18), so that a later life knows them whatever
/// became of the maps. 1 to 3 are the kernel's; this is a `g`.
const MARK: AddressProtocol = AddressProtocol::Other(0x67);

/// The addresses that an earlier life left on `lo`.
///
/// # Errors
/// Netlink does not answer.
pub async fn left_behind(netlink: &Handle) -> Result<Vec<IpAddr>, L4Error> {
    let unlisted = |source: rtnetlink::Error| L4Error::Netlink {
        action: "list the addresses of lo".to_owned(),
        source: source.into(),
    };
    let mut left = Vec::new();
    let mut found = netlink
        .address()
        .get()
        .set_link_index_filter(loopback()?)
        .execute();
    while let Some(message) = found.try_next().await.map_err(unlisted)? {
        let is_ours = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Protocol(mark) if *mark == MARK);
        if !message.attributes.iter().any(is_ours) {
            continue;
        }
        let address = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        };
        left.extend(message.attributes.iter().find_map(address));
    }
    Ok(left)
}

/// Puts an address on `lo`, deprecated, so that source selection passes it over.
///
/// # Errors
/// Netlink refuses.
pub async fn add(netlink: &Handle, address: IpAddr) -> Result<(), L4Error> {
    let mut request = netlink
        .address()
        .add(loopback()?, address, prefix(address))
        .replace();
    // preferred_lft 0: deprecated for new connections of our own, valid for those that come in.
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_preferred = 0;
    lifetime.ifa_valid = FOREVER;
    let attributes = &mut request.message_mut().attributes;
    attributes.push(AddressAttribute::CacheInfo(lifetime));
    attributes.push(AddressAttribute::Protocol(MARK));
    request
        .execute()
        .await
        .map_err(|source| failed("put", address, source))
}

/// Takes an address from `lo`; one that is not there is fine.
///
/// # Errors
/// Netlink refuses.
pub async fn remove(netlink: &Handle, address: IpAddr) -> Result<(), L4Error> {
    let index = loopback()?;
    let mut found = netlink
        .address()
        .get()
        .set_link_index_filter(index)
        .set_prefix_length_filter(prefix(address))
        .set_address_filter(address)
        .execute();
    while let Some(message) = found
        .try_next()
        .await
        .map_err(|source| failed("look for", address, source))?
    {
        netlink
            .address()
            .del(message)
            .execute()
            .await
            .map_err(|source| failed("take", address, source))?;
    }
    Ok(())
}

fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn loopback() -> Result<u32, L4Error> {
    if_nametoindex("lo").map_err(|source| L4Error::Netlink {
        action: "find the interface lo".to_owned(),
        source: source.into(),
    })
}

fn failed(verb: &str, address: IpAddr, source: rtnetlink::Error) -> L4Error {
    let preposition = if verb == "take" { "from" } else { "on" };
    L4Error::Netlink {
        action: format!("{verb} {address} {preposition} lo"),
        source: source.into(),
    }
}
