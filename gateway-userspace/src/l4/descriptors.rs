//! Descriptors of the kernel's maps beside those of whoever writes them, so that another thread can read them: what takes its
//! time to read (a table has 65,537 slots) holds up nobody who must write.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use gateway_common::abi;

use super::L4Error;

/// What is read: all that `forward::decide` asks for.
const READ: [&str; 19] = [
    abi::SETTINGS,
    abi::VIPS,
    abi::NODES,
    abi::NODE_ADDRESSES,
    abi::NODE_MACS,
    abi::CLUSTER_INTERFACES,
    abi::SLOT_WORDS,
    abi::HALVES,
    abi::LEASE,
    abi::FLOWS,
    abi::FLOWS_V6,
    abi::UDP_FLOWS,
    abi::UDP_FLOWS_V6,
    abi::HEARD,
    abi::PROTECTION,
    abi::DENIED,
    abi::ALLOWED,
    abi::SOURCES,
    abi::VIP_BUCKETS,
];

/// One descriptor for each map.
#[derive(Debug)]
pub(super) struct Descriptors(BTreeMap<&'static str, OwnedFd>);

impl Descriptors {
    /// Of a loaded object none of whose maps was taken yet.
    ///
    /// # Errors
    /// The object is not what this program expects, or there are no descriptors left.
    pub(super) fn of(object: &Ebpf) -> Result<Self, L4Error> {
        let all = READ.map(|name| {
            let data = match object.map(name) {
                Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data)) => {
                    data
                }
                _ => return Err(L4Error::Missing { kind: "map", name }),
            };
            let descriptor = data.fd().as_fd().try_clone_to_owned();
            Ok((name, descriptor.map_err(failed("copy the descriptor of", name))?))
        });
        all.into_iter().collect::<Result<_, _>>().map(Self)
    }

    /// A map.
    ///
    /// # Errors
    /// It is none of those that are read, or there is no descriptor left.
    pub(super) fn map(&self, name: &'static str) -> Result<Map, L4Error> {
        let held = self.0.get(name).ok_or(L4Error::Missing { kind: "map", name })?;
        let descriptor = held.try_clone().map_err(failed("copy the descriptor of", name))?;
        let unread = |source: MapError| L4Error::Map {
            action: "open",
            map: name,
            source,
        };
        MapData::from_fd(descriptor)
            .and_then(Map::from_map_data)
            .map_err(unread)
    }
}

fn failed(action: &'static str, name: &'static str) -> impl Fn(std::io::Error) -> L4Error {
    move |source| L4Error::File {
        action,
        path: name.into(),
        source,
    }
}
