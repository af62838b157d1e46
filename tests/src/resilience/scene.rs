//! Where a turn happens: proxy and clients in one network namespace, three servers in another, a cable between.
//!
//! The namespaces have no names: whatever ends this process, nothing of them is left.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tokio::sync::mpsc;

use super::fault::Deed;
use crate::lab::netns::{Namespace, block_on};
use crate::lab::wire::{Plug, Power, add_address, add_cable, remove_address, set_power};
use crate::servers::sick::{Health, Sick};

/// Port of every server.
const SERVER_PORT: u16 = 8080;

/// Both ends of the cable are in one network of this length.
const BITS: u8 = 24;

/// The proxy's end.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The servers' end has this first, so that taking a server's address away takes no other with it.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The servers, as the files in `tests/bench/resilience` name them. The first gets the fault.
pub const SERVERS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 77, 0, 11),
    Ipv4Addr::new(10, 77, 0, 12),
    Ipv4Addr::new(10, 77, 0, 13),
];

/// The interface of either end.
const INTERFACE: &str = "eth0";

/// Two namespaces, and servers in the far one.
#[derive(Debug)]
pub struct Scene {
    near: Namespace,
    far: Namespace,
    orders: Option<mpsc::UnboundedSender<Deed>>,
    servers: Option<JoinHandle<Result<()>>>,
}

impl Scene {
    /// Makes all of it; the servers are as said.
    ///
    /// # Errors
    /// Without the rights of root.
    pub fn set(well: Health) -> Result<Self> {
        let near = Namespace::create_nameless("near")?;
        let far = Namespace::create_nameless("far")?;
        let path = far.path();
        near.run(move || {
            set_power("lo", Power::Up)?;
            add_cable(Plug::Own, INTERFACE, &path, INTERFACE)?;
            add_address(INTERFACE, NEAR.into(), BITS)
        })??;
        far.run(|| {
            set_power("lo", Power::Up)?;
            set_power(INTERFACE, Power::Up)?;
            for address in std::iter::once(FAR).chain(SERVERS) {
                add_address(INTERFACE, address.into(), BITS)?;
            }
            Ok::<_, anyhow::Error>(())
        })??;
        let (orders, taken) = mpsc::unbounded_channel();
        let (tell, ready) = std_mpsc::sync_channel(1);
        let servers = far.spawn("servers", move || block_on(serve(well, taken, tell)))?;
        let mut scene = Self {
            near,
            far,
            orders: Some(orders),
            servers: Some(servers),
        };
        if ready.recv().is_err() {
            scene.end()?;
            return Err(anyhow!("the servers ended"));
        }
        Ok(scene)
    }

    /// Where proxy and clients are.
    pub fn near(&self) -> &Namespace {
        &self.near
    }

    /// Does that to the first server.
    ///
    /// # Errors
    /// When the servers have ended, or the kernel refuses.
    pub fn act(&self, deed: Deed) -> Result<()> {
        let [first, ..] = SERVERS;
        let change: fn(&str, IpAddr, u8) -> Result<()> = match deed {
            Deed::TakeAddress => remove_address,
            Deed::GiveAddress => add_address,
            Deed::Health(_) | Deed::Die | Deed::Revive => {
                let orders = self.orders.as_ref().context("the servers have ended")?;
                return orders.send(deed).map_err(|_| anyhow!("the servers have ended"));
            }
        };
        self.far.run(move || change(INTERFACE, first.into(), BITS))?
    }

    /// Ends the servers.
    ///
    /// # Errors
    /// Theirs: one could not listen again.
    pub fn end(&mut self) -> Result<()> {
        drop(self.orders.take());
        match self.servers.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(anyhow!("the servers' thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("servers: {error:#}");
        }
    }
}

/// Serves until nobody can give orders any more.
async fn serve(
    well: Health,
    mut orders: mpsc::UnboundedReceiver<Deed>,
    ready: std_mpsc::SyncSender<()>,
) -> Result<()> {
    let [first, second, third] = SERVERS.map(|host| start(host, well));
    let (mut first, _second, _third) = (first.await?, second.await?, third.await?);
    ready.send(())?;
    while let Some(deed) = orders.recv().await {
        match deed {
            Deed::Health(health) => first.set(health),
            Deed::Die => first.die(),
            Deed::Revive => first.revive().await.context("listen again")?,
            Deed::TakeAddress | Deed::GiveAddress => {}
        }
    }
    Ok(())
}

async fn start(host: Ipv4Addr, well: Health) -> Result<Sick> {
    let address = SocketAddr::new(host.into(), SERVER_PORT);
    let server = Sick::start_at(address, well)
        .await
        .with_context(|| format!("listen at {address}"))?;
    server.pass_checks();
    Ok(server)
}
