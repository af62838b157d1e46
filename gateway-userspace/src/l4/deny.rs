//! Lists of prefixes in the kernel: who is denied, and who never is; and the bounds of new connections beside them.
//!
//! A thread of its own writes them, for a million prefixes take seconds: who must be denied now goes before what the
//! configuration lists (`filler`). What has to be written for a change is decided purely (`book`).

mod book;
mod filler;
mod list;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use aya::Ebpf;
use aya::maps::Map;
use gateway_common::abi;
use gateway_common::prefix::Prefix;
use gateway_common::protection::{Lists as Flags, Protection as Words, Rate, SHARE_ALL};
use gateway_common::vip::VipId;
use tokio::sync::oneshot;

use super::maps::{take, typed};
use super::{DataPlane, L4Error};
use crate::config::snapshot::{Bounds, Protection, VipProtection};
use filler::{Filler, Order};
use list::Trie;

/// The lists, as the rest of user space has them.
#[derive(Debug)]
pub struct Lists {
    /// `None` once they are to end.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// What the kernel was last told of the configuration.
    configured: Option<Configured>,
    told: Arc<Told>,
}

/// How far the lists are.
#[derive(Debug, Default)]
pub struct Told {
    /// Prefixes that are denied in the kernel.
    pub denied: AtomicU64,
    /// Those that never are.
    pub allowed: AtomicU64,
    /// Changes that wait to be written.
    pub waiting: AtomicU64,
    /// Prefixes for which there was no room.
    pub refused: AtomicU64,
}

impl Lists {
    /// Takes the maps of the lists, and starts the thread that writes them; it begins with what an earlier life left.
    ///
    /// # Errors
    /// The object is not what this program expects, or there is no thread to be had.
    pub fn start(object: &mut Ebpf, prefixes_max: u32) -> Result<Self, L4Error> {
        let told = Arc::new(Told::default());
        let filler = Filler::new(
            trie(object, abi::DENIED)?,
            trie(object, abi::ALLOWED)?,
            typed(take(object, abi::PROTECTION)?, abi::PROTECTION)?,
            prefixes_max,
            Arc::clone(&told),
        );
        let (sender, orders) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("lists".to_owned())
            .spawn(move || filler.run(&orders))
            .map_err(|source| L4Error::File {
                action: "start the thread of",
                path: "lists".into(),
                source,
            })?;
        Ok(Self {
            orders: Some(sender),
            thread: Some(thread),
            configured: None,
            told,
        })
    }

    /// Has the kernel follow the configuration, with the VIPs by the numbers of their counters; returns at once.
    pub fn configure(&mut self, protection: &Arc<Protection>, mut vips: Vec<(VipId, VipProtection)>) {
        vips.sort_unstable_by_key(|(id, _)| *id);
        let is_known = |known: &Configured| {
            let is_same = Arc::ptr_eq(&known.protection, protection) || known.protection == *protection;
            is_same && known.vips == vips
        };
        if self.configured.as_ref().is_some_and(is_known) {
            return;
        }
        let configured = Configured {
            protection: Arc::clone(protection),
            vips,
        };
        self.configured = Some(configured.clone());
        self.send(Order::Configure(configured));
    }

    /// Denies prefixes until a time on the kernel's clock, or (`None`) no longer beside what the configuration says. Done, in
    /// the kernel, once it is answered; before whatever else waits.
    ///
    /// # Errors
    /// The kernel has no room for them, or the thread has ended.
    pub fn deny(
        &self,
        changes: Vec<(Prefix, Option<u64>)>,
    ) -> impl Future<Output = Result<(), L4Error>> + use<> {
        let (done, answer) = oneshot::channel();
        self.send(Order::Deny { changes, done });
        async move { answer.await.unwrap_or(Err(L4Error::ListsEnded)) }
    }

    /// How far they are.
    pub fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders
            && orders.send(order).is_err()
        {
            tracing::error!("the thread of the lists has ended: they stay as they are; restart the node");
        }
    }
}

impl DataPlane {
    /// The lists of prefixes.
    pub fn lists(&self) -> &Lists {
        &self.loaded.lists
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        // Without senders the thread ends, after a few milliseconds at most.
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the lists has panicked");
        }
    }
}

impl Told {
    fn set(of: &AtomicU64, value: usize) {
        of.store(value as u64, Ordering::Relaxed);
    }
}

/// One of the lists, and a descriptor of its map beside.
fn trie(object: &mut Ebpf, name: &'static str) -> Result<(Trie, OwnedFd), L4Error> {
    let map = take(object, name)?;
    let Map::LpmTrie(data) = &map else {
        return Err(L4Error::Missing { kind: "trie", name });
    };
    let descriptor = data.fd().as_fd().try_clone_to_owned();
    let descriptor = descriptor.map_err(|source| L4Error::File {
        action: "copy the descriptor of",
        path: name.into(),
        source,
    })?;
    Ok((typed(map, name)?, descriptor))
}

/// What the kernel is to be told of the configuration.
#[derive(Clone, Debug)]
struct Configured {
    protection: Arc<Protection>,
    /// What VIPs have of their own, by the numbers of their counters.
    vips: Vec<(VipId, VipProtection)>,
}

impl Configured {
    /// What is to stand in the map, by the place there: that of all first, then that of each VIP.
    fn words(&self, lists: Flags) -> Vec<(u32, Words)> {
        let Protection {
            source,
            vip,
            hot_source_share,
            ..
        } = *self.protection;
        let hot_share = (hot_source_share.unwrap_or_default() * SHARE_ALL as f64) as u64;
        let of_all = Words {
            lists,
            hot_share,
            ..words(source, vip)
        };
        let of_vips = self.vips.iter().map(|(id, own)| {
            let words = words(own.source.unwrap_or(source), own.vip.unwrap_or(vip));
            let own_sources = match own.source {
                Some(_) => Words::sources_of(*id),
                None => 0,
            };
            (u32::from(id.0), Words { own_sources, ..words })
        });
        std::iter::once((0, of_all))
            .chain(of_vips.filter(|(index, _)| *index != 0))
            .collect()
    }
}

/// Bounds as the kernel has them.
fn words(source: Bounds, vip: Bounds) -> Words {
    Words {
        source_connections: Rate::new(source.connections_per_second, source.connections_burst),
        source_flows: Rate::new(source.flows_per_second, source.flows_burst),
        vip_connections: Rate::new(vip.connections_per_second, vip.connections_burst),
        vip_flows: Rate::new(vip.flows_per_second, vip.flows_burst),
        ..Words::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_has_its_own_bounds_and_tokens_where_it_says_so_and_those_of_all_else() {
        let strict = Bounds {
            connections_per_second: 5,
            ..Bounds::OF_SOURCE
        };
        let own = |source, vip| VipProtection { source, vip };
        let configured = Configured {
            protection: Arc::default(),
            vips: vec![
                (VipId(0), own(Some(strict), None)),
                (VipId(3), own(None, None)),
                (VipId(4), own(Some(strict), None)),
                (VipId(5), own(None, Some(strict))),
                (VipId(6), own(Some(strict), None)),
            ],
        };
        let words = configured.words(Flags::OF_HOST);
        let places: Vec<u32> = words.iter().map(|(index, _)| *index).collect();
        assert_eq!(
            places,
            [0, 3, 4, 5, 6],
            "a VIP without a number has none of its own"
        );
        let [all, plain, strict_source, strict_vip, another] = words.as_slice() else {
            panic!("{words:?}")
        };
        let rate = Rate::new(5, Bounds::OF_SOURCE.connections_burst);
        assert_eq!(all.1.lists, Flags::OF_HOST);
        assert_eq!(
            plain.1,
            Words {
                lists: Flags::default(),
                ..all.1
            }
        );
        assert_eq!(strict_source.1.source_connections, rate);
        assert_eq!(strict_source.1.vip_connections, all.1.vip_connections);
        assert_eq!(strict_vip.1.vip_connections, rate);
        assert_eq!(strict_vip.1.own_sources, 0, "its sources share with other VIPs");
        assert_ne!(strict_source.1.own_sources, another.1.own_sources);
    }
}
