//! What callgrind writes, summed up by where in the source the instructions belong.
//!
//! Source: Callgrind Format Specification, version 1, without compression of names and positions. Optimised code is
//! inlined far and wide; so the file that a line belongs to (`fi`, `fe`) says more than the function (`fn`). The
//! standard library's lines are the exception: they count where the function they were inlined into belongs.

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
        let mut place = Place::default();
        // What a call took in its callee follows the call, and is counted there.
        let mut skip = Skip::No;
        for line in text.lines() {
            if let Some((key, value)) = line.split_once('=').filter(|(key, _)| is_key(key)) {
                match key {
                    "ob" => place.object = value,
                    "fl" => (place.home, place.file) = (value, value),
                    "fn" => place.function = value,
                    "fi" | "fe" => place.file = value,
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
                    *profile.groups.entry(place.group()).or_default() += count;
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

/// Where the lines that are being read belong.
#[derive(Default)]
struct Place<'t> {
    object: &'t str,
    /// The file of the function, and the file of the lines, which may be inlined from elsewhere.
    home: &'t str,
    file: &'t str,
    function: &'t str,
}

impl Place<'_> {
    /// Our own module, else the crate, else the library.
    fn group(&self) -> String {
        let named = of_file(self.file).or_else(|| of_file(self.home));
        if let Some(group) = named.or_else(|| of_function(self.function)) {
            return group;
        }
        if is_standard(self.file) {
            return "Rust's standard library".into();
        }
        let object = self.object.rsplit('/').next().unwrap_or(self.object);
        match object.split_once(".so") {
            Some((library, _)) => format!("library {library}"),
            None => format!("{object}, without a source line"),
        }
    }
}

fn is_standard(file: &str) -> bool {
    file.starts_with("/rust")
}

fn of_file(file: &str) -> Option<String> {
    if let Some((_, module)) = file.split_once("gateway-userspace/src/") {
        return Some(own(module.trim_end_matches(".rs").split('/')));
    }
    // HOST-HASH/CRATE-VERSION/…
    let (_, path) = file.split_once("/registry/src/")?;
    let folder = path.split('/').nth(1)?;
    let name = folder
        .rsplit_once('-')
        .filter(|(_, version)| version.starts_with(|first: char| first.is_ascii_digit()))
        .map_or(folder, |(name, _)| name);
    Some(format!("crate {name}"))
}

/// By its path, such as `hyper::proto::h1::x`; a trait's function, `<T as Trait>::x`, by its type's.
fn of_function(function: &str) -> Option<String> {
    let mut parts = function.trim_start_matches(['<', '&']).split("::");
    let first = parts.next()?;
    let is_name = |text: &str| {
        text.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    if !is_name(first) || ["core", "alloc", "std", "hashbrown"].contains(&first) {
        return None;
    }
    // A plain name without a path is C's.
    let second = parts.next()?;
    if first == "gateway_userspace" {
        return Some(own(
            std::iter::once(second).chain(parts.filter(|part| is_name(part)))
        ));
    }
    Some(format!("crate {}", first.replace('_', "-")))
}

fn own<'p>(modules: impl Iterator<Item = &'p str>) -> String {
    format!(
        "gateway {}",
        modules.take(OWN_DEPTH).collect::<Vec<_>>().join("/")
    )
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
fi=/h/.cargo/registry/src/index-1a2b/bytes-1.2.3/src/bytes.rs
9 1
fe=/src/gateway-userspace/src/l7/serve.rs
17 4
cob=/usr/lib/libc.so.6
cfi=./string/memcpy.S
cfn=memcpy
calls=2 0
18 5000
fl=/h/.cargo/registry/src/index-1a2b/http-body-util-0.1.5/src/lib.rs
fn=poll_frame
3 40
fl=/src/gateway-userspace/src/l7/pool/http2.rs
fn=x
3 2
fl=/rustc/abc/library/core/src/ptr/mod.rs
fn=core::ptr::drop_in_place<http::request::Parts>
3 11
fl=/rustc/abc/library/core/src/ptr/mod.rs
fn=<http_body_util::full::Full as core::ops::drop::Drop>::drop
3 13
fl=???
fn=start
0 9

ob=/usr/lib/libc.so.6
fl=./string/memcpy.S
fn=memcpy
1 50

totals: 237
";

    #[test]
    fn instructions_belong_to_their_source_and_calls_are_not_counted_twice() {
        let profile = Profile::read(OUT).unwrap();
        let expected = [
            ("Rust's standard library", 11),
            ("crate bytes", 1),
            ("crate http-body-util", 53),
            ("gateway l7/pool", 2),
            ("gateway l7/serve", 111),
            ("gateway, without a source line", 9),
            ("library libc", 50),
        ];
        let found: Vec<(&str, u64)> = profile
            .groups
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 237);
    }

    #[test]
    fn two_runs_are_subtracted_group_by_group() {
        let profile = |groups: &[(&str, u64)]| Profile {
            groups: groups
                .iter()
                .map(|(name, count)| ((*name).into(), *count))
                .collect(),
        };
        let many = profile(&[("a", 10), ("b", 100), ("c", 5)]);
        let few = profile(&[("a", 10), ("b", 30), ("d", 1)]);
        let expected = [("b", 70.0), ("c", 5.0), ("a", 0.0), ("d", -1.0)];
        let found = many.less(&few);
        assert_eq!(
            found
                .iter()
                .map(|(name, count)| (name.as_str(), *count))
                .collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_file_without_counts_is_an_error() {
        assert!(Profile::read("version: 1\nevents: Ir\n").is_err());
    }
}
