//! The maps of the filter: lists, bounds, and what is used up.

use anyhow::{Context, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, Map, MapData};
use gateway_common::abi;
use gateway_common::prefix::Prefix;
use gateway_common::protection::{
    FOREVER_NS, Protection, SOURCE_SET_WORDS, VIP_BUCKETS_WORDS, source_set, source_tag,
};
use gateway_common::vip::Address;

use crate::packets::cases::{Case, Spent};
use crate::packets::world::{self, HOT_VIP, SITUATION_VIPS, Version};

/// The maps.
pub struct Filter {
    protection: Array<MapData, Protection>,
    /// What all VIPs have; `None`: some have another.
    written: Option<Protection>,
    denied: LpmTrie<MapData, Address, u64>,
    allowed: LpmTrie<MapData, Address, u64>,
    sources: Array<MapData, [u64; SOURCE_SET_WORDS]>,
    vip_buckets: Array<MapData, [u64; VIP_BUCKETS_WORDS]>,
    /// What is used up; none before the first case.
    spent: Option<Spent>,
}

impl Filter {
    /// Takes them.
    ///
    /// # Errors
    /// The object has other ones.
    pub fn take(take: &mut impl FnMut(&'static str) -> Result<Map>) -> Result<Self> {
        Ok(Self {
            protection: take(abi::PROTECTION)?.try_into().context("no bounds")?,
            written: None,
            denied: take(abi::DENIED)?.try_into()?,
            allowed: take(abi::ALLOWED)?.try_into()?,
            sources: take(abi::SOURCES)?.try_into()?,
            vip_buckets: take(abi::VIP_BUCKETS)?.try_into()?,
            spent: None,
        })
    }

    /// Puts into the maps what protects the VIPs.
    pub fn prepare(&mut self, case: &Case, now_ns: u64) -> Result<()> {
        let before = &case.before;
        if self.written != Some(before.protection) {
            for place in (0..=HOT_VIP).map(u32::from) {
                self.protection.set(place, before.protection, 0)?;
            }
        }
        for (vip, bounds) in &before.bounds {
            self.protection.set(u32::from(vip.0), *bounds, 0)?;
        }
        self.written = before.bounds.is_empty().then_some(before.protection);
        let denied = before.denied.iter();
        let denied = denied.map(|(prefix, lasts)| (*prefix, lasts.until_ns(now_ns)));
        list(&mut self.denied, denied.collect())?;
        list(
            &mut self.allowed,
            before
                .allowed
                .iter()
                .map(|prefix| (*prefix, FOREVER_NS))
                .collect(),
        )?;
        // Without bounds nobody asks what is used up.
        let spent = before.spent.unwrap_or(Spent::Nothing);
        if before.spent.is_none() && self.spent == Some(Spent::Nothing) {
            return Ok(());
        }
        for version in Version::BOTH {
            for host in [version.host(201), version.client()] {
                let tag = source_tag(world::settings().hash_key, &host.into());
                let words = match host == version.client() {
                    true => spent.source(tag, now_ns),
                    false => [0; SOURCE_SET_WORDS],
                };
                self.sources.set(source_set(tag), words, 0)?;
            }
        }
        for vip in SITUATION_VIPS.chain([HOT_VIP]) {
            self.vip_buckets.set(u32::from(vip), spent.vip(now_ns), 0)?;
        }
        self.spent = before.spent.map_or(Some(Spent::Nothing), |_| None);
        Ok(())
    }
}

/// Makes a list have these prefixes and no others.
fn list(trie: &mut LpmTrie<MapData, Address, u64>, entries: Vec<(Prefix, u64)>) -> Result<()> {
    let old: Vec<Key<Address>> = trie.keys().collect::<Result<_, _>>()?;
    for key in old {
        trie.remove(&key)?;
    }
    for (prefix, until_ns) in entries {
        trie.insert(&Key::new(prefix.bits().into(), prefix.address()), until_ns, 0)?;
    }
    Ok(())
}
