//! The interfaces of the configuration while the node runs: one that comes back gets the program again, and one that goes
//! takes nothing else along.

use rtnetlink::Handle;

use super::DataPlane;
use super::start::even_out;
use crate::config::snapshot::Dataplane;
use crate::l4::interfaces::{self, Carrier, Link, Mode};
use crate::l4::maps::Maps;
use crate::l4::{L4Error, loader, others};

/// An interface of the configuration, as it was when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// What there is of it; `None`: it is not there.
    pub link: Option<Link>,
    /// What it comes to.
    pub state: State,
}

/// What an interface is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The program is on it, in that mode, and frames get through.
    Attached(Mode),
    /// The program is on it, and it is down, or its other end is.
    Down(Mode),
    /// There is no such interface now.
    Gone,
    /// It is there, and this node's program is not on it.
    Refused(String),
}

impl Attachment {
    /// One that was not looked at yet.
    pub(super) fn unseen(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            link: None,
            state: State::Gone,
        }
    }
}

impl State {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Attached(_) => "attached",
            Self::Down(_) => "down",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
        }
    }

    /// How the program is on it, if it is.
    pub fn mode(&self) -> Option<Mode> {
        match self {
            Self::Attached(mode) | Self::Down(mode) => Some(*mode),
            Self::Gone | Self::Refused(_) => None,
        }
    }

    /// For people, what is the matter.
    pub fn why(&self) -> String {
        match self {
            Self::Attached(Mode::Generic) => "the program is on it, in generic mode".to_owned(),
            Self::Attached(_) => "the program is on it".to_owned(),
            Self::Down(_) => "it is down, or has no carrier".to_owned(),
            Self::Gone => "there is no such interface; the program is attached once there is".to_owned(),
            Self::Refused(why) => why.clone(),
        }
    }
}

/// What changed at an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub interface: String,
    /// What it was.
    pub from: &'static str,
    /// What it is.
    pub to: &'static str,
    /// The reason, for people.
    pub why: String,
}

impl DataPlane {
    /// Looks at the interfaces, and attaches the program again where it is missing. What changed since the last look.
    ///
    /// # Errors
    /// Netlink does not answer, or the kernel cannot be told which interfaces there are.
    pub async fn look_after_interfaces(&mut self) -> Result<Vec<Change>, L4Error> {
        let names = self.config.interfaces.clone();
        let mut next = Vec::new();
        for name in names {
            next.push(self.look_after(name).await?);
        }
        let links: Vec<_> = next
            .iter()
            .filter_map(|one| Some((one.name.as_str(), one.link?)))
            .collect();
        let numbers = Numbers::of(&self.config, &self.netlink, &links).await?;
        if self.numbers != numbers {
            numbers.tell(&mut self.loaded.maps)?;
            self.numbers = numbers;
        }
        let before = std::mem::replace(&mut self.attachments, next);
        self.counted.tell_interfaces(&self.attachments);
        let changes = self.attachments.iter().filter_map(|now| {
            let was = before.iter().find(|was| was.name == now.name)?;
            (was.state.word() != now.state.word()).then(|| Change {
                interface: now.name.clone(),
                from: was.state.word(),
                to: now.state.word(),
                why: now.state.why(),
            })
        });
        Ok(changes.collect())
    }

    async fn look_after(&mut self, name: String) -> Result<Attachment, L4Error> {
        let link = interfaces::look(&self.netlink, &name).await?;
        let Some(mut link) = link else {
            return Ok(Attachment::unseen(&name));
        };
        let before = self.attachments.iter().find(|one| one.name == name);
        let known = before.filter(|one| one.link.is_some_and(|known| known.attached == link.attached));
        let mut refusal = None;
        match link.attached {
            Some(attached) if others::is_own(attached, &self.pins.link(&name)) => {}
            Some(attached) => {
                refusal = Some(match known.map(|one| &one.state) {
                    // Who it is was found out already.
                    Some(State::Refused(why)) => why.clone(),
                    _ => told(loader::another(&name, &self.pins, Some(attached))),
                });
            }
            None if self.loaded.takeover.is_some() => {
                refusal = Some("the program is attached once the tables are written".to_owned());
            }
            None => {
                let (object, config) = (&mut self.loaded.object, &self.config);
                let attached = loader::attach(object, &self.pins, &name, config.mode, None);
                let attached = match attached {
                    Ok(()) => even_out(object, config, &self.pins, &self.netlink).await,
                    Err(error) => Err(error),
                };
                refusal = attached.err().map(told);
                if let Some(again) = interfaces::look(&self.netlink, &name).await? {
                    link = again;
                }
            }
        }
        let mode = link.attached.map(|attached| attached.mode);
        let state = match (refusal, mode, link.carrier) {
            (Some(why), ..) => State::Refused(why),
            (None, Some(mode), Carrier::Up) => State::Attached(mode),
            (None, Some(mode), Carrier::Down) => State::Down(mode),
            (None, None, _) => State::Refused("the program was taken off a moment ago".to_owned()),
        };
        Ok(Attachment {
            name,
            link: Some(link),
            state,
        })
    }

    /// What keeps the node from taking any packet at all; nothing, while the program is on one interface.
    pub fn interface_faults(&self) -> Vec<String> {
        if self.attachments.iter().any(|one| one.state.mode().is_some()) {
            return Vec::new();
        }
        let faults = self.attachments.iter();
        faults
            .map(|one| {
                format!(
                    "the XDP program is not attached to {}: {}",
                    one.name,
                    one.state.why()
                )
            })
            .collect()
    }

    /// Whether clients reach this node, and the others, by all interfaces that they should: of one interface alone it is not
    /// asked, for whoever has lost that is out of the cluster anyway.
    pub fn is_reached_by_all(&self) -> bool {
        let is_fine = |one: &Attachment| matches!(one.state, State::Attached(_));
        self.attachments.len() < 2 || self.attachments.iter().all(is_fine)
    }

    /// The interfaces, as they were when they were last looked at.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }
}

/// The kernel's numbers of the interfaces that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Of all: what came in by another may leave by them.
    exits: Vec<u32>,
    /// Of those that nodes are reached by; of a bond, of its members, too.
    of_cluster: Vec<u32>,
}

impl Numbers {
    /// Those of these interfaces.
    pub(super) async fn of(
        config: &Dataplane,
        netlink: &Handle,
        links: &[(&str, Link)],
    ) -> Result<Self, L4Error> {
        let mut numbers = Self::default();
        for (name, link) in links {
            numbers.exits.push(link.index);
            if config
                .cluster_interfaces
                .iter()
                .any(|of_cluster| of_cluster == name)
            {
                numbers.of_cluster.push(link.index);
                numbers
                    .of_cluster
                    .extend(interfaces::members(netlink, link).await?);
            }
        }
        Ok(numbers)
    }

    /// Tells them to the kernel program.
    pub(super) fn tell(&self, maps: &mut Maps) -> Result<(), L4Error> {
        maps.set_exits(&self.exits)?;
        maps.set_cluster_interfaces(&self.of_cluster)
    }
}

fn told(error: L4Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
