//! `[protection]`, with the prefixes that its files hold.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_common::prefix::Prefix;
use ipnet::IpNet;

use super::node::existing_name;
use crate::config::given::{self, Given, Network};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::{Problem, Problems};
use crate::config::snapshot::{Bounds, Prefixes, Protection, VipProtection};

/// Lines of one file that are told to be wrong; it is hardly a list of prefixes if there are more.
const FAULTY_LINES_MAX: usize = 5;

/// `[protection]`; what holds without it, where there is none.
pub fn protection(given: &Given, problems: &mut Problems<'_>) -> Protection {
    let path = KeyPath::top("protection");
    let Some(protection) = &given.protection else {
        return Protection::default();
    };
    if given.dataplane.is_none() {
        let fault = "it holds in the data plane, and there is no [dataplane]";
        problems.add(
            &path,
            fault,
            "add [dataplane] with its interfaces, or remove the table",
        );
    }
    let allow = prefixes(
        protection.allow.as_ref(),
        protection.allow_files.as_ref(),
        [&path.key("allow"), &path.key("allow_files")],
        problems,
    );
    let deny = prefixes(
        protection.deny.as_ref(),
        protection.deny_files.as_ref(),
        [&path.key("deny"), &path.key("deny_files")],
        problems,
    );
    never_denied(given, protection, &allow, &path.key("deny"), problems);
    let most = given
        .dataplane
        .as_ref()
        .and_then(|dataplane| dataplane.prefixes_max);
    let most = most.unwrap_or(limits::PREFIXES_MAX) as usize;
    for (key, list) in [("allow", &allow), ("deny", &deny)] {
        if list.all.len() > most {
            let fault = format!(
                "{} prefixes are more than dataplane.prefixes_max, which is {most}",
                list.all.len()
            );
            problems.add(&path.key(key), fault, "raise that, or list fewer");
        }
    }
    let (source, vip) = bounds(given);
    Protection {
        scope: protection.scope.unwrap_or_default(),
        allow,
        deny,
        hot_source_share: protection.hot_source_share,
        source,
        vip,
    }
}

/// The bounds of all sources and of all VIPs.
fn bounds(given: &Given) -> (Bounds, Bounds) {
    let protection = given.protection.as_ref();
    let source = protection.and_then(|protection| protection.source.as_ref());
    let vip = protection.and_then(|protection| protection.vip.as_ref());
    let source = source.map_or(Bounds::OF_SOURCE, |given| Bounds {
        connections_per_second: given
            .connections_per_second
            .unwrap_or(limits::SOURCE_CONNECTIONS_PER_SECOND),
        connections_burst: given
            .connections_burst
            .unwrap_or(limits::SOURCE_CONNECTIONS_BURST),
        flows_per_second: given.flows_per_second.unwrap_or(limits::SOURCE_FLOWS_PER_SECOND),
        flows_burst: given.flows_burst.unwrap_or(limits::SOURCE_FLOWS_BURST),
    });
    let vip = vip.map_or(Bounds::OF_VIP, |given| Bounds {
        connections_per_second: given
            .connections_per_second
            .unwrap_or(limits::VIP_CONNECTIONS_PER_SECOND),
        connections_burst: given.connections_burst.unwrap_or(limits::VIP_CONNECTIONS_BURST),
        flows_per_second: given.flows_per_second.unwrap_or(limits::VIP_FLOWS_PER_SECOND),
        flows_burst: given.flows_burst.unwrap_or(limits::VIP_FLOWS_BURST),
    });
    (source, vip)
}

/// What a VIP has of its own: what it does not say is as `[protection]` has it.
pub fn of_vip(given: &Given, own: &given::VipProtection) -> VipProtection {
    let (source, vip) = bounds(given);
    let merged = |own: &given::OwnBounds, of_all: Bounds| Bounds {
        connections_per_second: own
            .connections_per_second
            .unwrap_or(of_all.connections_per_second),
        connections_burst: own.connections_burst.unwrap_or(of_all.connections_burst),
        flows_per_second: own.flows_per_second.unwrap_or(of_all.flows_per_second),
        flows_burst: own.flows_burst.unwrap_or(of_all.flows_burst),
    };
    VipProtection {
        source: own.source.as_ref().map(|own| merged(own, source)),
        vip: own.vip.as_ref().map(|own| merged(own, vip)),
    }
}

/// What stands under `deny` and can never be denied. Files are left alone: lists that others keep name many networks.
fn never_denied(
    given: &Given,
    protection: &given::Protection,
    allow: &Prefixes,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) {
    let node = given.node.as_ref();
    let own = [
        node.and_then(|node| node.address).map(IpAddr::V4),
        node.and_then(|node| node.address_v6).map(IpAddr::V6),
    ];
    let own: Vec<IpNet> = own.into_iter().flatten().map(IpNet::from).collect();
    for (index, Network(network)) in protection.deny.iter().flatten().enumerate() {
        let path = path.index(index);
        if own.contains(network) {
            let fault = format!("{} is this node, and nodes are never denied", network.addr());
            problems.add(&path, fault, "remove it");
        } else if prefix(*network).is_some_and(|prefix| allow.cover(&prefix)) {
            let fault = format!("{network} is allowed by protection.allow or allow_files, which comes first");
            problems.add(&path, fault, "remove it here or there");
        }
    }
}

/// The prefixes of a list and its files.
fn prefixes(
    inline: Option<&Vec<Network>>,
    files: Option<&Vec<PathBuf>>,
    [inline_path, files_path]: [&KeyPath; 2],
    problems: &mut Problems<'_>,
) -> Prefixes {
    let mut sources = Vec::new();
    let listed = inline.into_iter().flatten();
    let mut all: Vec<Prefix> = listed.filter_map(|Network(network)| prefix(*network)).collect();
    if !all.is_empty() {
        sources.push((inline_path.to_string(), all.len()));
    }
    for (index, file) in files.into_iter().flatten().enumerate() {
        let path = files_path.index(index);
        let Some(file) = existing_name(file, &path, problems) else {
            continue;
        };
        match read(&file, &path, problems) {
            Ok(read) => {
                sources.push((file.display().to_string(), read.len()));
                all.extend(read);
            }
            Err(fault) => {
                let remedy = "name a file with one network or address a line";
                problems.add(&path, format!("{} {fault}", file.display()), remedy);
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    Prefixes {
        all: Arc::from(all),
        sources,
    }
}

/// Reads a file; what is wrong with its lines stands in `problems` then.
fn read(file: &Path, path: &KeyPath, problems: &mut Problems<'_>) -> Result<Vec<Prefix>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let opened = File::open(file).map_err(unreadable)?;
    if !opened.metadata().map_err(unreadable)?.is_file() {
        return Err("is not a file".to_owned());
    }
    if opened.metadata().map_err(unreadable)?.len() > limits::PREFIX_FILE_BYTES_MAX {
        return Err(format!("is larger than {} bytes", limits::PREFIX_FILE_BYTES_MAX));
    }
    let mut prefixes = Vec::new();
    let mut faulty = 0;
    let lines = BufReader::new(opened.take(limits::PREFIX_FILE_BYTES_MAX)).split(b'\n');
    for (index, line) in lines.enumerate() {
        let line = line.map_err(unreadable)?;
        let line = String::from_utf8_lossy(&line);
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        if let Some(prefix) = parse(text) {
            prefixes.push(prefix);
        } else if faulty < FAULTY_LINES_MAX {
            faulty += 1;
            let shown: String = text.chars().take(60).collect();
            problems.add_elsewhere(Problem {
                file: file.to_owned(),
                line: Some(index + 1),
                path: path.clone(),
                fault: format!("\"{shown}\" is neither a network nor an address"),
                remedy: "write one as in 198.51.100.0/24 or 2001:db8::1, or a # before it".to_owned(),
            });
        }
    }
    Ok(prefixes)
}

/// A network or an address, as a list or an order names it.
pub fn parse(text: &str) -> Option<Prefix> {
    let network = text.parse::<IpNet>();
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    network.or_else(|_| alone()).ok().and_then(prefix)
}

fn prefix(network: IpNet) -> Option<Prefix> {
    Prefix::new(network.addr(), network.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::super::super::load::load_text;
    use super::super::super::surroundings::{Invalid, Surroundings};
    use super::*;
    use crate::config::problem::Refused;

    const NODE: &str = "[node]\nname='a'\naddress='10.0.0.1'\n[dataplane]\ninterfaces=['eth0']\n\
                        [[listener]]\nname='web'\naddress='127.0.0.1:8080'\n[protection]\n";

    fn loaded(text: &str) -> Result<crate::config::Settings, Refused> {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        load_text(Path::new("t.toml"), text, &surroundings)
    }

    #[track_caller]
    fn check(text: &str, wanted: &[&str]) {
        Refused::expect(loaded(text), text, wanted);
    }

    #[test]
    fn lists_of_the_file_and_beside_it_become_one_each_in_order() {
        let directory = std::env::temp_dir().join(format!("gateway-prefixes-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("drop.txt");
        std::fs::write(
            &file,
            "# a list\n198.51.100.0/24 # them\r\n\n2001:db8::/32\n192.0.2.1\n",
        )
        .unwrap();
        let settings = loaded(&format!(
            "{NODE}deny=['192.0.2.0/24','198.51.100.0/24']\ndeny_files=['{}']\nallow=['10.0.0.0/8']\n\
             hot_source_share=0.5\n[protection.source]\nconnections_per_second=5\n",
            file.display()
        ))
        .unwrap();
        let protection = &settings.protection;
        let shown: Vec<String> = protection.deny.all.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["192.0.2.0/24", "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"]
        );
        assert_eq!(
            protection.deny.sources,
            [("protection.deny".to_owned(), 2), (file.display().to_string(), 3)]
        );
        assert_eq!(protection.source.connections_per_second, 5);
        assert_eq!(protection.vip, Bounds::OF_VIP);

        std::fs::write(&file, "10.0.0.0/8\n10.0.0.0/33\nx\n").unwrap();
        let text = format!("{NODE}deny_files=['{}','/nowhere/x']\n", file.display());
        check(
            &text,
            &[
                "drop.txt:2: protection.deny_files[0]: \"10.0.0.0/33\" is neither a network nor an address; write one as in",
                "drop.txt:3: protection.deny_files[0]: \"x\" is neither",
                "t.toml:10: protection.deny_files[1]: /nowhere/x cannot be read: No such file",
            ],
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_vip_has_of_its_own_what_it_says_and_the_rest_from_protection() {
        let vip = |protocol: &str| {
            format!(
                "[node]\nname='a'\naddress='10.0.0.1'\n[dataplane]\ninterfaces=['eth0']\n\
                 [[listener]]\nname='web'\naddress='0.0.0.0:80'\n\
                 [[vip]]\nname='login'\naddress='203.0.113.1'\nports=[80]\nprotocol='{protocol}'\n\
                 protection={{source={{connections_per_second=5}}}}\n\
                 [protection.source]\nconnections_burst=70\nflows_burst=7\n"
            )
        };
        let settings = loaded(&vip("tcp")).unwrap();
        let own = settings.vips[0].protection;
        let expected = Bounds {
            connections_per_second: 5,
            connections_burst: 70,
            flows_burst: 7,
            ..Bounds::OF_SOURCE
        };
        assert_eq!((own.source, own.vip), (Some(expected), None));
        check(
            &vip("udp"),
            &[
                "vip[0].protection: the bounds are of new TCP connections, and this VIP is UDP; remove it, or write",
            ],
        );
    }

    #[test]
    fn what_can_never_be_denied_is_refused_where_it_is_asked_for() {
        check(&format!("{NODE}deny=['10.0.0.0/8']\n"), &[]);
        check(
            &format!("{NODE}deny=['10.0.0.1','10.2.3.4','10.0.0.0/8']\nallow=['10.2.0.0/16']\n"),
            &[
                "protection.deny[0]: 10.0.0.1 is this node, and nodes are never denied; remove it",
                "protection.deny[1]: 10.2.3.4/32 is allowed by protection.allow",
            ],
        );
        check(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:8080'\n[protection]\n",
            &["protection: it holds in the data plane, and there is no [dataplane]"],
        );
    }
}
