//! The machine under a node: what is looked at before the program is attached, and what was found.
//!
//! [`look::look`] collects [`facts::Facts`], [`judge::judge`] says purely what they mean. `gateway check --host` shows all
//! of it, a start logs what is no good. What each finding is about: docs/hardware.md.

mod ethtool;
pub mod facts;
pub mod judge;
pub mod look;
mod netdev;

use std::net::IpAddr;

use serde::Serialize;

use crate::config::Settings;
use crate::config::snapshot::{Announce, Cluster, Dataplane, Snapshot, Vip};

/// What a configuration asks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `node.name`.
    pub node: &'a str,
    /// `[dataplane]`.
    pub dataplane: &'a Dataplane,
    /// `[[vip]]`.
    pub vips: &'a [Vip],
    /// Whether nodes answer for VIPs.
    pub announce: Announce,
}

impl<'a> Asked<'a> {
    /// By a configuration that was read; `None`: it has no data plane.
    pub fn by(settings: &'a Settings) -> Option<Self> {
        Self::made(
            &settings.node.name,
            settings.dataplane.as_ref(),
            &settings.vips,
            settings.cluster.as_ref(),
        )
    }

    /// By one that was compiled.
    pub fn by_snapshot(snapshot: &'a Snapshot) -> Option<Self> {
        Self::made(
            &snapshot.node.name,
            snapshot.dataplane.as_ref(),
            &snapshot.vips,
            snapshot.cluster.as_ref(),
        )
    }

    fn made(
        node: &'a str,
        dataplane: Option<&'a Dataplane>,
        vips: &'a [Vip],
        cluster: Option<&Cluster>,
    ) -> Option<Self> {
        Some(Self {
            node,
            dataplane: dataplane?,
            vips,
            announce: cluster.map_or(Announce::None, |cluster| cluster.announce),
        })
    }

    fn vip(&self, address: IpAddr) -> Option<&'a Vip> {
        self.vips.iter().find(|vip| vip.address == address)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, and something is slower, or lost in cases that the finding names.
    Warning,
    /// The node does not start, or loses packets.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a name that does not change.
    pub check: &'static str,
    /// The interface; `None`: it is the machine's.
    pub interface: Option<String>,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; `None`: nothing.
    pub remedy: Option<String>,
}

/// Logs what is no good, once, as a node starts.
pub fn log(findings: &[Finding]) {
    for finding in findings {
        let Finding {
            check,
            interface,
            found,
            remedy,
            ..
        } = finding;
        let interface = interface.as_deref().unwrap_or("-");
        let remedy = remedy.as_deref().unwrap_or("none");
        match finding.level {
            Level::Good => tracing::debug!(check, interface, "{found}"),
            Level::Warning => tracing::warn!(check, interface, remedy, "the host: {found}"),
            Level::Fault => tracing::error!(check, interface, remedy, "the host: {found}"),
        }
    }
}
