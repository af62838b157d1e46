//! How the program gets to its interfaces: at the start; or, where one of an earlier life steers by maps that do not fit any
//! more, once the new ones are filled.

use std::time::Instant;

use aya::Ebpf;
use rtnetlink::Handle;

use super::DataPlane;
use super::attachments::Numbers;
use crate::config::snapshot::{AttachMode, Dataplane};
use crate::l4::counters::Counters;
use crate::l4::desired::Desired;
use crate::l4::interfaces::{Link, Mode};
use crate::l4::loader::{self, Loaded};
use crate::l4::pins::Pins;
use crate::l4::{L4Error, interfaces, others};

/// Loads the program, and attaches it where nothing needs to be done before. With what stands in its maps.
pub(super) async fn load(
    config: &Dataplane,
    pins: &Pins,
    netlink: &Handle,
) -> Result<(Loaded, Counters, Desired), L4Error> {
    let links = links(config, pins, netlink).await?;
    for (name, link) in &links {
        // Before anything is touched: whoever is there stays there.
        if let Some(attached) = link.attached
            && !others::is_own(attached, &pins.link(name))
        {
            return Err(loader::another(name, pins, Some(attached)));
        }
    }
    let (mut loaded, counters) = loader::load(config, pins)?;
    let now = loaded.maps.contents()?;
    Numbers::of(config, netlink, &links)
        .await?
        .tell(&mut loaded.maps)?;
    if loaded.takeover.is_none() {
        attach(&mut loaded, config, pins, netlink).await?;
    }
    Ok((loaded, counters, now))
}

/// The interfaces that are there. One of them is, at least; one that an earlier life had may be missing now.
async fn links<'c>(
    config: &'c Dataplane,
    pins: &Pins,
    netlink: &Handle,
) -> Result<Vec<(&'c str, Link)>, L4Error> {
    let mut links = Vec::new();
    for name in &config.interfaces {
        match interfaces::look(netlink, name).await? {
            Some(link) => links.push((name.as_str(), link)),
            None if pins.link(name).exists() => tracing::warn!(
                interface = name,
                "there is no such interface now, as there was before: the program is attached once there is"
            ),
            None => drop(interfaces::index(name)?),
        }
    }
    if let ([], Some(name)) = (links.as_slice(), config.interfaces.first()) {
        interfaces::index(name)?;
    }
    Ok(links)
}

/// Attaches the program to each interface that is there, in the place of what an earlier life attached.
async fn attach(
    loaded: &mut Loaded,
    config: &Dataplane,
    pins: &Pins,
    netlink: &Handle,
) -> Result<(), L4Error> {
    loader::join_chain(&mut loaded.object)?;
    for name in &config.interfaces {
        if let Some(link) = interfaces::look(netlink, name).await? {
            loader::attach(&mut loaded.object, pins, name, config.mode, link.attached)?;
        }
    }
    even_out(&mut loaded.object, config, pins, netlink).await?;
    // An earlier life may have had other interfaces: there the old program would steer by tables nobody writes.
    pins.forget_links_but(&config.interfaces)?;
    pins.forget_others()
}

/// Sees to it that frames can leave by the interfaces that nodes are reached by: from native mode the kernel hands them to no
/// interface whose driver has none, and drops them without a word.
pub(super) async fn even_out(
    object: &mut Ebpf,
    config: &Dataplane,
    pins: &Pins,
    netlink: &Handle,
) -> Result<(), L4Error> {
    let mut modes = Vec::new();
    for name in &config.interfaces {
        let link = interfaces::look(netlink, name).await?;
        if let Some(attached) = link.and_then(|link| link.attached) {
            modes.push((name.as_str(), attached.mode));
        }
    }
    for name in uneven(&modes, &config.cluster_interfaces) {
        tracing::warn!(
            interface = name,
            "attached in generic mode, which is several times slower: nodes are reached by an interface without native mode, \
             which takes no frames from one in native mode"
        );
        let attached = interfaces::look(netlink, name)
            .await?
            .and_then(|link| link.attached);
        loader::attach(object, pins, name, AttachMode::Generic, attached)?;
    }
    Ok(())
}

/// The interfaces that must do without native mode, as one that nodes are reached by has none.
fn uneven<'n>(modes: &[(&'n str, Mode)], of_cluster: &[String]) -> Vec<&'n str> {
    let is_of_cluster = |name: &str| of_cluster.iter().any(|of_cluster| of_cluster == name);
    let is_slow = |(name, mode): &(&str, Mode)| *mode == Mode::Generic && is_of_cluster(name);
    if !modes.iter().any(is_slow) {
        return Vec::new();
    }
    let native = modes.iter().filter(|(_, mode)| *mode == Mode::Native);
    native.map(|(name, _)| *name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_mode_gives_way_where_nodes_are_reached_by_an_interface_without() {
        use Mode::{Generic, Native};
        type Row = (
            &'static str,
            [Mode; 2],
            &'static [&'static str],
            &'static [&'static str],
        );
        let rows: [Row; 5] = [
            ("both are native", [Native, Native], &["eth0", "eth1"], &[]),
            ("clients' is slow", [Generic, Native], &["eth1"], &[]),
            ("nodes' is slow", [Native, Generic], &["eth1"], &["eth0"]),
            (
                "one of the nodes' is slow",
                [Generic, Native],
                &["eth0", "eth1"],
                &["eth1"],
            ),
            ("both are slow", [Generic, Generic], &["eth0", "eth1"], &[]),
        ];
        for (what, [first, second], of_cluster, expected) in rows {
            let of_cluster: Vec<String> = of_cluster.iter().map(|name| (*name).to_owned()).collect();
            let modes = [("eth0", first), ("eth1", second)];
            assert_eq!(uneven(&modes, &of_cluster), expected, "{what}");
        }
    }
}
