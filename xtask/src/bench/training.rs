//! The load by which a release is trained: what a gateway does in the field, in some proportion.
//!
//! A profile moves what it saw to the front, and what it did not see out of the way: it is laid out for size, is not
//! inlined, and gets slower than in a build without any profile. So this is not the benchmark once more. It has
//! most of its loads, and beside them what they lack: uploads of several sizes by length and in chunks, answers in
//! chunks, HTTP/2 on the upstream's side, refusals, an answer of the gateway's own, heads as browsers send them, routes
//! by host, parameter and prefix. What is still missing (WebSocket, event streams, failing upstreams) costs what
//! code costs that nobody expected. How the profile is made a program is `release`'s matter.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::backend::CHUNKED_PATH;
use super::generator::run_generators;
use super::process::Scratch;
use super::scenario::{Aim, Generator, Scenario};
use super::stage::Stage;
use super::subject::{Part, Ports, Running, Subject};
use super::template::Setup;
use crate::steps;

/// Configuration of the gateway that is under load, in `tests/bench`.
pub const TEMPLATE: &str = "training.toml";

/// Length of a load that is also measured, and of each other, in seconds. Counts matter, not times: the kinds beside
/// the benchmark's are many, and outweigh it together.
const BENCHMARK_SECONDS: u64 = 4;
const OTHER_SECONDS: u64 = 3;
/// Clients that come for one request are many in the field, and each takes longer than a request.
const NEW_CONNECTION_SECONDS: u64 = 8;
/// What needs no upstream is answered twice as fast, so that it would weigh twice as much.
const UNFORWARDED_SECONDS: u64 = 1;
/// Longest wait until a gateway has stopped and written its profile; it lets requests finish for 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Sizes of uploads, in bytes: below and above what is kept to be sent again, and many frames long.
const SMALL_UPLOAD_BYTES: usize = 1_024;
const LARGE_UPLOAD_BYTES: usize = 262_144;

/// The load that is refused.
const NO_ROUTE: &str = "h1, paths without a route";
/// The load that needs no upstream.
const OWN_ANSWER: &str = "h1, an answer of the gateway's own";

/// A head as browsers send it, and what an application adds.
const BROWSER: [&str; 12] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://www.example.com/pages/index.html?from=search",
    "Cookie: session=1f0c9e7a5b3d; theme=dark; consent=necessary%2Cstatistics; seen=1732430000",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
];

/// Gateways that are trained at once; each leaves a profile.
const GATEWAYS: usize = 3;

/// How a load's requests must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// Each with success.
    Answered,
    /// Each with a refusal.
    Refused,
}

/// One kind of load.
#[derive(Debug)]
struct Load {
    name: &'static str,
    generator: Generator,
    command: Command,
    /// How many of it run at once.
    copies: usize,
    seconds: u64,
    ending: Ending,
}

/// Where loads go: the gateway with many kinds of routes, its peer, and one that speaks TLS.
#[derive(Clone, Copy)]
struct Gateways {
    front: Ports,
    peer: Ports,
    tls: Ports,
}

/// Files that loads send.
struct Files<'f> {
    small: &'f Path,
    large: &'f Path,
    chunked: &'f Path,
}

/// Puts the instrumented `gateway` under every load; its profiles are then in the folder `profiles`, which is there.
///
/// # Errors
/// When a load fails, or a gateway does not stop or leaves no profile.
pub fn train(root: &Path, gateway: &Path, profiles: &Path) -> Result<()> {
    let stage = Stage::for_training(root, gateway)?;
    let profiles = std::path::absolute(profiles)?;
    let start =
        |part: Part| Running::start_part(&stage, &part, |command, _| instrumented(&command, &profiles));
    // The far side of HTTP/2 upstreams is a gateway, too, and learns from it.
    let mut peer = start(Part {
        name: "training-peer",
        subject: Subject::Gateway,
        template: Subject::Gateway.template(),
        setup: Setup::Grpc,
        peer: None,
    })?;
    let mut tls = start(Part {
        name: "training-tls",
        subject: Subject::Gateway,
        template: Subject::Gateway.template(),
        setup: Setup::Tls,
        peer: None,
    })?;
    let mut front = start(Part {
        name: "training",
        subject: Subject::Gateway,
        template: TEMPLATE,
        setup: Setup::Plain,
        peer: Some(peer.ports.http2),
    })?;
    let scratch = Scratch::new("training-loads")?;
    let [small, large] = ["small", "large"].map(|name| scratch.path().join(name));
    fs::write(&small, vec![b'x'; SMALL_UPLOAD_BYTES])?;
    fs::write(&large, vec![b'x'; LARGE_UPLOAD_BYTES])?;
    let files = Files {
        small: &small,
        large: &large,
        chunked: &root.join("tests/bench/chunked.lua"),
    };
    let gateways = Gateways {
        front: front.ports,
        peer: peer.ports,
        tls: tls.ports,
    };
    for load in loads(gateways, |ports| stage.aim(ports, 0), &files) {
        let requests = load
            .run(&stage, &scratch)
            .with_context(|| format!("training with {}", load.name))?;
        steps::note(&format!("{requests:>8} requests  {}", load.name));
        for gateway in [&front, &peer, &tls] {
            gateway.cut_logs(0)?;
        }
    }
    for gateway in [&mut front, &mut peer, &mut tls] {
        gateway.stop(STOP_LIMIT)?;
    }
    let written = fs::read_dir(&profiles)?.count();
    if written < GATEWAYS {
        bail!(
            "{GATEWAYS} gateways were trained and left {written} profiles: was one built without counters?"
        );
    }
    Ok(())
}

/// The gateway's command line, told where to write its counts: a file for each process.
fn instrumented(command: &Command, profiles: &Path) -> Command {
    let mut wrapped = Command::new("env");
    wrapped
        .arg(format!("LLVM_PROFILE_FILE={}/%p-%m.profraw", profiles.display()))
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

impl Load {
    fn run(&self, stage: &Stage, scratch: &Scratch) -> Result<u64> {
        let (figures, text) = run_generators(
            stage,
            scratch,
            self.generator,
            &self.command,
            self.seconds,
            self.copies,
        )?;
        // wrk counts a refusal among the requests, h2load does not.
        let refused = match self.generator {
            Generator::Wrk => figures.failed == figures.requests,
            _ => figures.requests == 0,
        };
        let (all, as_wanted) = match self.ending {
            Ending::Answered => (figures.requests, figures.failed == 0),
            Ending::Refused => (figures.failed, refused),
        };
        if all == 0 || !as_wanted {
            bail!("requests did not all end as they should: {}", text.trim());
        }
        Ok(all)
    }
}

fn loads<'a>(gateways: Gateways, aim: impl Fn(Ports) -> Aim<'a>, files: &Files<'_>) -> Vec<Load> {
    let ports = gateways.front;
    let mut loads: Vec<Load> = Scenario::TRAINED
        .iter()
        .map(|scenario| {
            let seconds = match scenario {
                Scenario::H1NewConnection => NEW_CONNECTION_SECONDS,
                Scenario::TlsHandshakeFull | Scenario::TlsHandshakeResumed => OTHER_SECONDS,
                _ => BENCHMARK_SECONDS,
            };
            let ports = match scenario.setup() {
                Setup::Tls => gateways.tls,
                Setup::Grpc => gateways.peer,
                Setup::Plain | Setup::Routes(_) => gateways.front,
            };
            Load {
                name: scenario.name(),
                generator: scenario.generator(),
                command: scenario.command(&aim(ports), seconds),
                copies: scenario.copies(),
                seconds,
                ending: Ending::Answered,
            }
        })
        .collect();
    let chunked = files.chunked.to_string_lossy();
    let small = files.small.to_string_lossy();
    let large = files.large.to_string_lossy();
    let browser = |host| {
        let fields = [host].into_iter().chain(BROWSER);
        fields.flat_map(|field| ["--header", field]).collect::<Vec<_>>()
    };
    let pages = browser("Host: www.example.com");
    let items = browser("Host: shop.example.org:8080");
    let pages_http2 = browser(":authority: www.example.com");
    let http1: [(&str, &str, &[&str]); 8] = [
        ("h1, answers in chunks", CHUNKED_PATH, &[]),
        ("h1, a browser's head", "/pages/search?q=a%20word&page=2", &pages),
        ("h1, and path parameters", "/items/4711/parts/left%2Dhand", &items),
        (OWN_ANSWER, "/robots.txt", &[]),
        ("h1, uploads in chunks", "/", &["--script", &chunked]),
        ("h1 to an h2 upstream", "/peer/start", &[]),
        ("h1 to an h2 upstream, 64 kB", "/peer/64k", &[]),
        (NO_ROUTE, "/nothing/here", &[]),
    ];
    loads.extend(http1.map(|(name, path, more)| wrk(ports, name, path, more)));
    // The number of connections, and on each at most ten streams.
    let other: [(&str, &str, &str, &[&str]); 9] = [
        (
            "h1, uploads of 1 kB",
            "32",
            "/uploads/form",
            &["--h1", "--data", &small],
        ),
        (
            "h1, uploads of 256 kB",
            "8",
            "/uploads/file",
            &["--h1", "--data", &large],
        ),
        ("h2, uploads of 1 kB", "4", "/uploads/form", &["--data", &small]),
        ("h2, uploads of 256 kB", "4", "/uploads/file", &["--data", &large]),
        (
            "h2, a browser's head",
            "16",
            "/pages/search?q=a%20word",
            &pages_http2,
        ),
        ("h2, 64 kB", "8", "/64k", &[]),
        ("h2, answers in chunks", "8", CHUNKED_PATH, &[]),
        ("h2 to an h2 upstream", "4", "/peer/start", &[]),
        (
            "h2 to an h2 upstream, uploads",
            "4",
            "/peer/file",
            &["--data", &large],
        ),
    ];
    loads.extend(other.map(|(name, clients, path, more)| h2load(ports, name, clients, path, more)));
    loads
}

fn wrk(ports: Ports, name: &'static str, path: &str, more: &[&str]) -> Load {
    let seconds = match name {
        NO_ROUTE | OWN_ANSWER => UNFORWARDED_SECONDS,
        _ => OTHER_SECONDS,
    };
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--connections", "32", "--latency"])
        .args(["--duration", &format!("{seconds}s")])
        .args(more)
        .arg(format!("http://127.0.0.1:{}{path}", ports.http1));
    Load {
        name,
        generator: Generator::Wrk,
        command,
        copies: 1,
        seconds,
        ending: if name == NO_ROUTE {
            Ending::Refused
        } else {
            Ending::Answered
        },
    }
}

/// Over HTTP/2, unless `more` says otherwise.
fn h2load(ports: Ports, name: &'static str, clients: &str, path: &str, more: &[&str]) -> Load {
    let mut command = Command::new("h2load");
    command
        .args(["--threads", "1", "--clients", clients, "--max-concurrent-streams"])
        .arg(if more.contains(&"--h1") { "1" } else { "10" })
        .args(["--duration", &OTHER_SECONDS.to_string()])
        .args(more)
        .arg(format!("http://127.0.0.1:{}{path}", ports.http2));
    Load {
        name,
        generator: Generator::H2load,
        command,
        copies: 1,
        seconds: OTHER_SECONDS,
        ending: Ending::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_training_has_the_benchmarks_loads_and_many_more() {
        let files = Files {
            small: Path::new("/small"),
            large: Path::new("/large"),
            chunked: Path::new("/chunked.lua"),
        };
        let aim = |ports| Aim {
            ports,
            settings: Path::new("/bench"),
            files: Path::new("/files"),
            tools: Path::new("/xtask"),
            rate: 0,
        };
        let at = |http1| Ports { http1, http2: 9 };
        let gateways = Gateways {
            front: at(1),
            peer: at(2),
            tls: at(3),
        };
        let loads = loads(gateways, aim, &files);
        let encrypted = loads
            .iter()
            .filter(|load| steps::shown(&load.command).contains("127.0.0.1:3"));
        assert_eq!(
            encrypted.count(),
            3,
            "all loads by TLS go to the gateway that speaks it"
        );
        let refused = loads.iter().filter(|load| load.ending == Ending::Refused);
        assert_eq!(refused.count(), 1);
        let mut names: Vec<&str> = loads.iter().map(|load| load.name).collect();
        for scenario in Scenario::TRAINED {
            assert!(names.contains(&scenario.name()), "{}", scenario.name());
        }
        assert!(names.len() > 2 * Scenario::TRAINED.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), loads.len(), "each has a name of its own");
        for load in &loads {
            let shown = steps::shown(&load.command);
            let [duration, time] = ["--duration", "-time"].map(|word| format!("{word} {}", load.seconds));
            assert!(shown.contains(&duration) || shown.contains(&time), "{shown}");
        }
    }

    #[test]
    fn the_counts_of_each_process_go_to_a_file_of_its_own() {
        let mut command = Command::new("/x/gateway");
        command.args(["run", "--config", "a"]);
        assert_eq!(
            steps::shown(&instrumented(&command, Path::new("/p"))),
            "env LLVM_PROFILE_FILE=/p/%p-%m.profraw /x/gateway run --config a"
        );
    }
}
