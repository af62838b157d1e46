//! `gateway trace`: packets of the running node's data plane as they pass, on the terminal and into a file.

mod pcapng;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueHint};
use gateway::config::{limits, validate};
use gateway::trace::{Counts, End, Packet, Progress};
use serde::Deserialize;

use super::{Connection, Form};
use pcapng::Pcapng;
use text::Lines;

/// Which packets.
#[derive(Debug, Args)]
pub struct Order {
    /// Only packets with an address of this network, or with this one: as sender, receiver or client.
    #[arg(long, value_name = "CIDR", value_parser = address)]
    address: Option<String>,
    /// Only packets for the VIP of this name.
    #[arg(long, value_name = "NAME", value_parser = name)]
    vip: Option<String>,
    /// Only one of so many packets, drawn by chance.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::TRACE_SAMPLE_MAX)))]
    sample: u32,
    /// So many packets a second at most, on each core of the node.
    #[arg(long, value_name = "N", default_value_t = limits::TRACE_RATE, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::TRACE_RATE_MAX)))]
    rate: u32,
    /// End after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=limits::TRACE_SECONDS_MAX))]
    seconds: Option<u64>,
    /// Write the frames' first bytes, as they came in, into this file, each with its verdict (pcapng, as tcpdump and Wireshark
    /// read it).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pcap: Option<PathBuf>,
    /// Of each frame so many bytes [default: 128 with --pcap].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=limits::TRACE_SNAP_MAX as u64))]
    snap: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

fn address(text: &str) -> Result<String, String> {
    let is_one = validate::prefix(text).is_some();
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "write a network or an address, as in 198.51.100.0/24 or 2001:db8::1".to_owned())
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = !text.is_empty() && text.chars().all(is_plain);
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "names of VIPs have letters, digits, '.', '_' and '-'".to_owned())
}

impl Order {
    fn path(&self) -> String {
        let mut path = format!("/v1/trace?sample={}&rate={}", self.sample, self.rate);
        let snap = self
            .snap
            .or(self.pcap.as_ref().map(|_| limits::TRACE_SNAP as u64));
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={value}"));
            }
        };
        add("address", self.address.clone());
        add("vip", self.vip.clone());
        add("count", self.count.map(|count| count.to_string()));
        add("seconds", self.seconds.map(|seconds| seconds.to_string()));
        add("snap", snap.map(|snap| snap.to_string()));
        path
    }
}

/// A line of the stream.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Packet(Box<Packet>),
    End(End),
    Progress(Progress),
}

/// `gateway trace`.
pub fn trace(order: &Order) -> anyhow::Result<()> {
    let (client, form) = (order.connection.client(), order.connection.form());
    let file = match &order.pcap {
        None => None,
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Some(
                Pcapng::new(BufWriter::new(file))
                    .with_context(|| format!("cannot write {}", path.display()))?,
            )
        }
    };
    let mut writing = Writing {
        form,
        lines: Lines::new(order.address.as_deref().and_then(family)),
        file,
        counts: Counts::default(),
    };
    let mut failed = None;
    let interrupted = async {
        // Where no signal can be awaited, the default ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let read = client.lines_until(
        &order.path(),
        &mut |line| {
            writing.line(line).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        },
        interrupted,
    );
    let ended = writing.end();
    read?;
    if let Some(error) = failed {
        return Err(error);
    }
    ended
}

/// An address of a network, by which its family is known.
fn family(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

/// What the stream is written to.
struct Writing {
    form: Form,
    lines: Lines,
    file: Option<Pcapng<BufWriter<File>>>,
    counts: Counts,
}

impl Writing {
    fn line(&mut self, line: &str) -> anyhow::Result<ControlFlow<()>> {
        let read: Line = serde_json::from_str(line)
            .with_context(|| format!("the node wrote a line of no kind: {line}"))?;
        match &read {
            Line::End(End { counts, .. }) | Line::Progress(Progress { counts }) => self.counts = *counts,
            Line::Packet(packet) => {
                if let Some(file) = &mut self.file {
                    file.packet(packet).context("cannot write the file of packets")?;
                }
            }
        }
        let text = match (self.form, &read) {
            (Form::Json, _) => format!("{line}\n"),
            (Form::Text(style), Line::Packet(packet)) => self.lines.packet(packet, style),
            (Form::Text(_), _) => String::new(),
        };
        put(&text)
    }

    /// Writes what is left, and for people how many packets there were.
    fn end(&mut self) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush().context("cannot write the file of packets")?;
        }
        if let Form::Text(_) = self.form {
            put(&text::counts(&self.counts)).map(drop)?;
        }
        Ok(())
    }
}

/// Writes; a reader that went away, as `head` does, wants no more.
fn put(text: &str) -> anyhow::Result<ControlFlow<()>> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        order: Order,
    }

    fn path(arguments: &[&str]) -> Result<String, String> {
        let arguments = ["trace"].iter().chain(arguments);
        let parsed = Alone::try_parse_from(arguments).map_err(|error| error.to_string())?;
        Ok(parsed.order.path())
    }

    #[test]
    fn arguments_become_a_query_or_are_refused() {
        assert_eq!(path(&[]).unwrap(), "/v1/trace?sample=1&rate=1000");
        let all = [
            "--address",
            "2001:db8::/32",
            "--vip",
            "public",
            "--sample",
            "10",
            "--rate",
            "5",
            "--count",
            "7",
            "--seconds",
            "9",
            "--pcap",
            "/x",
        ];
        assert_eq!(
            path(&all).unwrap(),
            "/v1/trace?sample=10&rate=5&address=2001:db8::/32&vip=public&count=7&seconds=9&snap=128"
        );
        assert!(
            path(&["--pcap", "/x", "--snap", "64"])
                .unwrap()
                .ends_with("&snap=64")
        );
        for (arguments, text) in [
            (["--address", "10.0.0.0/33"], "as in 198.51.100.0/24"),
            (["--vip", "a&b=c"], "letters, digits"),
            (["--sample", "0"], "1..="),
            (["--rate", "10001"], "1..=10000"),
            (["--snap", "257"], "1..=256"),
        ] {
            let refused = path(&arguments).unwrap_err();
            assert!(refused.contains(text), "{arguments:?}: {refused}");
        }
    }

    #[test]
    fn lines_of_a_stream_are_told_apart() {
        let kind = |line: &str| match serde_json::from_str(line).unwrap() {
            Line::Packet(packet) => format!("{} bytes", packet.bytes),
            Line::End(end) => end.end,
            Line::Progress(progress) => format!("{} seen", progress.counts.seen),
        };
        let counts = r#""counts":{"seen":3,"sampled":2,"limited":1,"lost":0}"#;
        let packet = r#"{"time":"t","verdict":"send","reason":"r","protocol":"tcp","source":"a","destination":"b",
                         "bytes":74,"interface":"eth0","hops":0,"node":"gw-1","later":true}"#;
        assert_eq!(kind(&packet.replace('\n', "")), "74 bytes");
        assert_eq!(kind(&format!("{{{counts}}}")), "3 seen");
        assert_eq!(kind(&format!("{{\"end\":\"over\",{counts}}}")), "over");
    }
}
