//! The configuration of a run: this node, the other nodes, the VIPs. A format of its own, described in docs/packets.md.
//!
//! It says what the gateway's configuration leaves to the cluster (who is a member) and to the network (hardware
//! addresses), so that a file holds all that an answer depends on.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use gateway::config::document::Document;
use gateway::config::path::KeyPath;
use gateway::config::problem::Problems;
use gateway_common::node::EncapsulationCode;
use serde_json::Value;

use super::nodes::{self, NodeGiven};
use super::problems::Refused;
use super::reader::Table;
use super::vips::{self, VipGiven};

/// The key of the steering hash where the file says none.
const HASH_KEY_DEFAULT: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Bytes of a file that are read.
const FILE_BYTES_MAX: u64 = gateway::config::limits::FILE_BYTES_MAX;

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Config {
    /// How packets get to other nodes.
    pub encapsulation: EncapsulationCode,
    /// Secret of the steering hash.
    pub hash_key: [u64; 2],
    /// The port of the nodes' heartbeats; 0: there are none.
    pub heartbeat_port: u16,
    /// All nodes; the first is this one.
    pub nodes: Vec<NodeGiven>,
    /// All VIPs.
    pub vips: Vec<VipGiven>,
}

/// Reads a configuration file.
///
/// # Errors
/// All problems at once.
pub fn read(file: &Path) -> Result<Config, Refused> {
    let unreadable = |error| Refused::unreadable(file, &error);
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let fault = format!("has {bytes} bytes");
        let remedy = format!("at most {FILE_BYTES_MAX} are read");
        return Err(Refused::new(vec![super::problems::problem_of_file(
            file, fault, &remedy,
        )]));
    }
    parse(file, &std::fs::read_to_string(file).map_err(unreadable)?)
}

/// Reads the text of a configuration file.
///
/// # Errors
/// All problems at once.
pub fn parse(file: &Path, text: &str) -> Result<Config, Refused> {
    let (document, value, foreign) = Document::parse(file, text)?;
    let mut problems = Problems::new(&document);
    for value in foreign {
        problems.add(&value.path, value.fault, value.remedy);
    }
    let config = top(&value, &mut problems);
    problems.into_result()?;
    config.ok_or_else(|| Refused::new(Vec::new()))
}

fn top(value: &Value, problems: &mut Problems<'_>) -> Option<Config> {
    let known = [
        "encapsulation",
        "hash_key",
        "heartbeat_port",
        "node",
        "nodes",
        "vip",
    ];
    let table = Table::new(KeyPath::default(), value, &known, problems)?;
    let encapsulations = [
        ("gue", EncapsulationCode::GUE),
        ("ipip", EncapsulationCode::IPIP),
        ("l2", EncapsulationCode::L2),
    ];
    let encapsulation = table.choice("encapsulation", &encapsulations, problems);
    let hash_key = table
        .parsed(
            "hash_key",
            "32 hexadecimal digits that are not all zero",
            problems,
        )
        .map(|HashKey(key)| key);
    let heartbeat_port = table.number("heartbeat_port", 1, 65_535, problems);
    table.require(
        "node",
        "add a table [node] with name and address of this node",
        problems,
    );
    let nodes = nodes::read(&table, problems);
    table.require("vip", "add a table [[vip]] for each VIP", problems);
    let vips = vips::read(&table, &nodes, problems);
    Some(Config {
        encapsulation: encapsulation.unwrap_or(EncapsulationCode::GUE),
        hash_key: hash_key.unwrap_or(HASH_KEY_DEFAULT),
        heartbeat_port: heartbeat_port
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0),
        nodes,
        vips,
    })
}

/// A key of the steering hash, as 32 hexadecimal digits.
struct HashKey([u64; 2]);

impl FromStr for HashKey {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        let [first, second] = [text.get(..16), text.get(16..)].map(|half| hex_word(half.unwrap_or_default()));
        match (first?, second?) {
            // The program takes a key of zero for none.
            (0, 0) => Err(NotUnderstood),
            (first, second) => Ok(Self([first, second])),
        }
    }
}

/// Text that has not the form that it should have.
#[derive(Debug)]
pub struct NotUnderstood;

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not understood")
    }
}

/// A word of exactly 16 hexadecimal digits.
///
/// # Errors
/// It is none.
pub fn hex_word(text: &str) -> Result<u64, NotUnderstood> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    word.ok_or(NotUnderstood)
}
