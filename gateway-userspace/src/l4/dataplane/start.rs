//! How the program gets to its interfaces: at the start; or, where one of an earlier life steers by maps that do not fit any
//! more, once the new ones are filled.

use std::time::Instant;

use rtnetlink::Handle;

use super::{DataPlane, indices};
use crate::config::snapshot::Dataplane;
use crate::l4::counters::Counters;
use crate::l4::desired::Desired;
use crate::l4::loader::{self, Loaded};
use crate::l4::pins::Pins;
use crate::l4::{L4Error, interfaces, others};

/// Loads the program, and attaches it where nothing needs to be done before. With what stands in its maps.
pub(super) async fn load(
    config: &Dataplane,
    pins: &Pins,
    netlink: &Handle,
) -> Result<(Loaded, Counters, Desired), L4Error> {
    for interface in &config.interfaces {
        let attached = interfaces::attached(netlink, interface, interfaces::index(interface)?).await?;
        // Before anything is touched: whoever is there stays there.
        if let Some(attached) = attached
            && !others::is_own(attached, &pins.link(interface))
        {
            return Err(loader::another(interface, pins, Some(attached)));
        }
    }
    let (mut loaded, counters) = loader::load(config, pins)?;
    let now = loaded.maps.contents()?;
    loaded
        .maps
        .set_cluster_interfaces(&indices(&config.cluster_interfaces)?)?;
    if loaded.takeover.is_none() {
        attach(&mut loaded, config, pins, netlink).await?;
    }
    Ok((loaded, counters, now))
}

/// Attaches the program to each interface, in the place of what an earlier life attached.
async fn attach(
    loaded: &mut Loaded,
    config: &Dataplane,
    pins: &Pins,
    netlink: &Handle,
) -> Result<(), L4Error> {
    loader::join_chain(&mut loaded.object)?;
    for interface in &config.interfaces {
        let attached = interfaces::attached(netlink, interface, interfaces::index(interface)?).await?;
        loader::attach(&mut loaded.object, pins, interface, config.mode, attached)?;
    }
    // An earlier life may have had other interfaces: there the old program would steer by tables nobody writes.
    pins.forget_links_but(&config.interfaces)?;
    pins.forget_others()
}

impl DataPlane {
    /// Has the program take over from the one that steers by other maps. The tables are written.
    ///
    /// # Errors
    /// A map cannot be copied or pinned, or the program not be attached; then the old one steers on, and the next `publish`
    /// tries again.
    pub(super) async fn take_over(&mut self) -> Result<(), L4Error> {
        let started = Instant::now();
        let Some(mut takeover) = self.loaded.takeover.take() else {
            return Ok(());
        };
        let hash_key = self.now.settings.hash_key;
        let result = async {
            let mut copied = takeover.copy(hash_key)?;
            takeover.pin(&self.pins)?;
            attach(&mut self.loaded, &self.config, &self.pins, &self.netlink).await?;
            // What the old program noted meanwhile.
            copied += takeover.copy(hash_key)?;
            tracing::info!(entries = copied, took = ?started.elapsed(), "the new maps have taken the place of the pinned ones");
            Ok(())
        }
        .await;
        if result.is_err() {
            self.loaded.takeover = Some(takeover);
        }
        result
    }
}
