//! What callgrind writes, summed up by where in the source the instructions belong.
//!
//! Source: Callgrind Format Specification, version 1, without compression of names and positions. Optimised code is
//! inlined far and wide; so the file that a line belongs to (`fl`, `fi`, `fe`) says more than the function (`fn`).

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Folder names below `gateway-userspace/src` that a group shows.
const OWN_DEPTH: usize = 2;

/// Instructions by group.
#[derive(Debug, Default, PartialEq)]
pub struct Profile {
    groups: BTreeMap<String, u64>,
}

impl Profile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it holds no counts.
    pub fn read(text: &str) -> Result<Self> {
        let mut profile = Self::default();
        let mut object = "";
        let mut file = "";
        // What a call took in its callee follows the call, and is counted there.
        let mut skip = Skip::No;
        for line in text.lines() {
            if let Some((key, value)) = line.split_once('=').filter(|(key, _)| is_key(key)) {
                match key {
                    "ob" => object = value,
                    "fl" | "fi" | "fe" => file = value,
                    "calls" => skip = Skip::NextCost,
                    _ => {}
                }
            } else if line.starts_with(|first: char| first.is_ascii_digit()) {
                if skip == Skip::NextCost {
                    skip = Skip::No;
                    continue;
                }
                let count = line.split_whitespace().nth(1);
                if let Some(count) = count.and_then(|count| count.parse::<u64>().ok()) {
                    *profile.groups.entry(group(file, object)).or_default() += count;
                }
            }
        }
        if profile.groups.is_empty() {
            bail!("callgrind wrote no counts");
        }
        Ok(profile)
    }

    /// What this has more than `other`, the most first.
    pub fn less(&self, other: &Self) -> Vec<(String, f64)> {
        let mut names: Vec<&String> = self.groups.keys().chain(other.groups.keys()).collect();
        names.sort();
        names.dedup();
        let count = |profile: &Self, name: &String| {
            super::statistics::real(profile.groups.get(name).copied().unwrap_or(0))
        };
        let mut differences: Vec<(String, f64)> = names
            .into_iter()
            .map(|name| (name.clone(), count(self, name) - count(other, name)))
            .collect();
        differences.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        differences
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Skip {
    No,
    NextCost,
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|letter| letter.is_ascii_lowercase())
}

/// The group of a source file: our own modules, else the crate, else the library that the code lies in.
fn group(file: &str, object: &str) -> String {
    if let Some((_, module)) = file.split_once("gateway-userspace/src/") {
        let parts: Vec<&str> = module
            .trim_end_matches(".rs")
            .split('/')
            .take(OWN_DEPTH)
            .collect();
        return format!("gateway {}", parts.join("/"));
    }
    if let Some((_, path)) = file.split_once("/registry/src/") {
        // HOST-HASH/CRATE-VERSION/…
        let folder = path.split('/').nth(1).unwrap_or(path);
        let name = folder
            .rsplit_once('-')
            .filter(|(_, version)| version.starts_with(|first: char| first.is_ascii_digit()))
            .map_or(folder, |(name, _)| name);
        return format!("crate {name}");
    }
    if file.contains("/library/") && !file.contains("gateway") {
        return "Rust's standard library".into();
    }
    let object = object.rsplit('/').next().unwrap_or(object);
    if object.contains(".so") {
        return format!("library {}", object.split(".so").next().unwrap_or(object));
    }
    format!("{object}, without a source line")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir
summary: 1000

ob=/x/gateway
fl=/src/gateway-userspace/src/l7/serve.rs
fn=gateway::l7::serve::serve
16 100
fi=/rustc/abc/library/core/src/option.rs
900 7
fe=/src/gateway-userspace/src/l7/serve.rs
17 3
cob=/usr/lib/libc.so.6
cfi=./string/memcpy.S
cfn=memcpy
calls=2 0
18 5000
19 1
fl=/h/.cargo/registry/src/index-1a2b/http-body-util-0.1.5/src/lib.rs
fn=poll_frame
3 40
fl=/src/gateway-userspace/src/l7/pool/http2.rs
fn=x
3 2
fl=???
fn=start
0 9

ob=/usr/lib/libc.so.6
fl=./string/memcpy.S
fn=memcpy
1 50

totals: 212
";

    #[test]
    fn instructions_belong_to_their_source_and_calls_are_not_counted_twice() {
        let profile = Profile::read(OUT).unwrap();
        let expected = [
            ("Rust's standard library", 7),
            ("crate http-body-util", 40),
            ("gateway l7/pool", 2),
            ("gateway l7/serve", 104),
            ("gateway, without a source line", 9),
            ("library libc", 50),
        ];
        let found: Vec<(&str, u64)> = profile
            .groups
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 212);
    }

    #[test]
    fn two_runs_are_subtracted_group_by_group() {
        let profile = |groups: &[(&str, u64)]| Profile {
            groups: groups.iter().map(|(name, count)| ((*name).into(), *count)).collect(),
        };
        let many = profile(&[("a", 10), ("b", 100), ("c", 5)]);
        let few = profile(&[("a", 10), ("b", 30), ("d", 1)]);
        let expected = [("b", 70.0), ("c", 5.0), ("a", 0.0), ("d", -1.0)];
        let found = many.less(&few);
        assert_eq!(
            found.iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_file_without_counts_is_an_error() {
        assert!(Profile::read("version: 1\nevents: Ir\n").is_err());
    }
}
