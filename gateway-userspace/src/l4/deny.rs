//! Lists of prefixes in the kernel: who is denied, and who never is; and the bounds of new connections beside them.
//!
//! A thread of its own writes them, for a million prefixes take seconds: who must be denied now goes before what the
//! configuration lists (`filler`). What has to be written for a change is decided purely (`book`).

mod book;
mod filler;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use aya::Ebpf;
use gateway_common::abi;
use gateway_common::prefix::Prefix;
use gateway_common::protection::{Protection as Words, Rate, SHARE_ALL};
use tokio::sync::oneshot;

use super::maps::{take, typed};
use super::{DataPlane, L4Error};
use crate::config::snapshot::Protection;
use filler::{Filler, Order};

/// The lists, as the rest of user space has them.
#[derive(Debug)]
pub struct Lists {
    /// `None` once they are to end.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// What the kernel was last told of the configuration.
    configured: Option<Arc<Protection>>,
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
            typed(take(object, abi::DENIED)?, abi::DENIED)?,
            typed(take(object, abi::ALLOWED)?, abi::ALLOWED)?,
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

    /// Has the kernel follow the configuration; returns at once.
    pub fn configure(&mut self, protection: &Arc<Protection>) {
        let is_known = |known: &Arc<Protection>| Arc::ptr_eq(known, protection) || known == protection;
        if self.configured.as_ref().is_some_and(is_known) {
            return;
        }
        self.configured = Some(Arc::clone(protection));
        self.send(Order::Configure(Arc::clone(protection)));
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

/// What the kernel is told of the configuration, without the lists that hold.
fn words(protection: &Protection) -> Words {
    let rate = |per_second, burst| Rate::new(per_second, burst);
    let (source, vip) = (protection.source, protection.vip);
    let hot_share = protection.hot_source_share.unwrap_or_default() * SHARE_ALL as f64;
    Words {
        source_connections: rate(source.connections_per_second, source.connections_burst),
        source_flows: rate(source.flows_per_second, source.flows_burst),
        vip_connections: rate(vip.connections_per_second, vip.connections_burst),
        vip_flows: rate(vip.flows_per_second, vip.flows_burst),
        hot_share: hot_share as u64,
        ..Words::default()
    }
}
