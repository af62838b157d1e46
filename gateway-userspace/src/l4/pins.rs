//! Where maps and links are pinned, so that steering outlives user space; and the lock that makes one process their
//! only writer.

mod lock;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use gateway_common::abi::{ABI_VERSION, PINNED_MAPS};

use super::L4Error;

pub use lock::Lock;

/// The pin directory of one node, for who holds its [`Lock`].
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Where a map is pinned. The version is part of the name: other layouts are never taken for this one.
    pub fn map(&self, name: &str) -> PathBuf {
        self.map_of(ABI_VERSION, name)
    }

    /// Where a gateway of another version pinned a map.
    pub fn map_of(&self, version: u32, name: &str) -> PathBuf {
        self.directory.join(format!("v{version}_{name}"))
    }

    /// The versions of the maps that are pinned: this one first, then the newest.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn versions(&self) -> Result<Vec<u32>, L4Error> {
        let names = self.names()?;
        let version = |name: &String| name.strip_prefix('v')?.split_once('_')?.0.parse().ok();
        let mut versions: Vec<u32> = names.iter().filter_map(version).collect();
        versions.sort_unstable_by_key(|version| (*version != ABI_VERSION, std::cmp::Reverse(*version)));
        versions.dedup();
        Ok(versions)
    }

    /// Pins a map in the place of the one that has its name.
    ///
    /// # Errors
    /// It cannot be pinned.
    pub fn replace(&self, name: &'static str, map: &MapData) -> Result<(), L4Error> {
        // Beside it first: at every moment one of the two is pinned.
        let aside = self.directory.join(format!("new_{name}"));
        remove_file(&aside)?;
        let failed = |source| L4Error::File {
            action: "pin a map at",
            path: aside.clone(),
            source,
        };
        map.pin(&aside).map_err(|error| failed(io::Error::other(error)))?;
        fs::rename(&aside, self.map(name)).map_err(failed)
    }

    /// Where the link of an interface is pinned.
    pub fn link(&self, interface: &str) -> PathBuf {
        Self::link_of(&self.directory, interface)
    }

    /// Where a node with that directory pins the link of an interface.
    pub(super) fn link_of(directory: &Path, interface: &str) -> PathBuf {
        directory.join(format!("link_{interface}"))
    }

    /// The node's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Interfaces whose links are pinned.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, L4Error> {
        let names = self.names()?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix("link_"))
            .map(str::to_owned)
            .collect())
    }

    /// Unpins the links of all other interfaces, which detaches what was attached there.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget_links_but(&self, interfaces: &[String]) -> Result<(), L4Error> {
        for interface in self
            .linked_interfaces()?
            .iter()
            .filter(|name| !interfaces.contains(name))
        {
            remove_file(&self.link(interface))?;
        }
        Ok(())
    }

    /// Forgets the maps, so that the next load makes new ones. A program that is attached keeps its own.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget_maps(&self) -> Result<(), L4Error> {
        PINNED_MAPS
            .iter()
            .try_for_each(|name| remove_file(&self.map(name)))
    }

    /// Removes every pin. What only the pins kept is gone with them.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self) -> Result<(), L4Error> {
        self.names()?
            .iter()
            .try_for_each(|name| remove_file(&self.directory.join(name)))
    }

    /// Removes what is neither a map of this version nor a link: what others left, once nothing of it is needed.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget_others(&self) -> Result<(), L4Error> {
        for name in self.names()? {
            let is_current = PINNED_MAPS.iter().any(|map| self.map(map).ends_with(&name));
            if !is_current && !name.starts_with("link_") {
                remove_file(&self.directory.join(name))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, L4Error> {
        let failed = |source| L4Error::File {
            action: "read",
            path: self.directory.clone(),
            source,
        };
        let entries = fs::read_dir(&self.directory).map_err(failed)?;
        let names: io::Result<Vec<String>> = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect();
        names.map_err(failed)
    }
}

fn remove_file(path: &Path) -> Result<(), L4Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(L4Error::File {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
