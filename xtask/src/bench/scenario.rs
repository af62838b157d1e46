//! What is measured: the kinds of load, and the command lines that make them.
//!
//! Running them is left to `load`, reading what the generators print to `generator`.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use super::backend::LARGE_PATH;
use super::subject::{Ports, Subject};
use super::template::{CALLS_PATH, Setup, last_path};

/// Connections of the HTTP/1.1 scenarios.
const CONNECTIONS: &str = "64";
/// Connections that upload at once: each has a megabyte under way.
const UPLOADING: &str = "16";
/// Streams at once, on the one connection of the HTTP/2 scenario.
const STREAMS: &str = "100";
/// Connections of the gRPC scenario, and calls at once on each.
const CALLERS: (&str, &str) = ("4", "25");
/// Clients that shake hands at once, each of them one after the other.
const SHAKING: usize = 8;
/// Routes of the scenario of many, and of the one that it is held against.
pub const ROUTES: usize = 10_000;
pub const ROUTES_FEW: usize = 10;

/// A scenario, as `--only` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Scenario {
    /// HTTP/1.1 keep-alive, 64 connections, an answer of 13 bytes
    H1Small,
    /// HTTP/1.1 keep-alive, 64 connections, an answer of 64 kB
    #[value(name = "h1-64k")]
    H1Large,
    /// HTTP/1.1, a new connection for each request, 64 at once
    H1NewConnection,
    /// HTTP/1.1 keep-alive, 16 connections, uploads of 1 MB
    #[value(name = "h1-upload-1m")]
    Upload,
    /// HTTP/2 with prior knowledge, 100 streams on one connection, an answer of 13 bytes
    #[value(name = "h2-100-streams")]
    H2Streams,
    /// gRPC calls of 13 bytes both ways, over HTTP/2 on both sides, 4 connections with 25 streams each
    GrpcUnary,
    /// As h1-small, over TLS 1.3
    TlsSmall,
    /// A full TLS 1.3 handshake for each request, 8 at once
    TlsHandshakeFull,
    /// A resumed TLS 1.3 handshake for each request, 8 at once
    TlsHandshakeResumed,
    /// The last of 10,000 routes, beside memory and reloads with that many
    #[value(name = "routes-10000")]
    Routes,
    /// Latency at a constant rate, half of what the slowest peer answers at most
    LatencyHalfLoad,
    /// Resident memory: started, with 8,000 silent connections, with 8,000 idle ones after one request each
    Memory,
    /// Resident memory over minutes of load
    Soak,
    /// Instructions of the gateway for each request, by phase
    Instructions,
}

/// Which program makes the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Generator {
    /// HTTP/1.1, as fast as it is answered.
    Wrk,
    /// HTTP/2, as fast as it is answered.
    H2load,
    /// `openssl s_time`: a handshake and a request on each connection, as fast as it is answered.
    Openssl,
    /// xtask's own: HTTP/1.1 at a constant rate.
    OpenLoop,
}

/// What a command line depends on.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// Whom it asks.
    pub ports: Ports,
    /// `tests/bench`, where generators find their settings.
    pub settings: &'a Path,
    /// Where the stage has the files that it made.
    pub files: &'a Path,
    /// The program that has [`Generator::OpenLoop`] as a command.
    pub tools: &'a Path,
    /// Requests a second, where the rate is constant.
    pub rate: u32,
}

impl Scenario {
    /// Those that measure CPU time for each request, in the order in which they are measured.
    pub const LOADS: [Self; 10] = [
        Self::H1Small,
        Self::H1Large,
        Self::H1NewConnection,
        Self::Upload,
        Self::H2Streams,
        Self::GrpcUnary,
        Self::TlsSmall,
        Self::TlsHandshakeFull,
        Self::TlsHandshakeResumed,
        Self::Routes,
    ];
    /// Those that a release is trained with, too.
    pub const TRAINED: [Self; 8] = [
        Self::H1Small,
        Self::H1Large,
        Self::H1NewConnection,
        Self::H2Streams,
        Self::GrpcUnary,
        Self::TlsSmall,
        Self::TlsHandshakeFull,
        Self::TlsHandshakeResumed,
    ];

    /// Its name, in options and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1Small => "h1-small",
            Self::H1Large => "h1-64k",
            Self::H1NewConnection => "h1-new-connection",
            Self::Upload => "h1-upload-1m",
            Self::H2Streams => "h2-100-streams",
            Self::GrpcUnary => "grpc-unary",
            Self::TlsSmall => "tls-small",
            Self::TlsHandshakeFull => "tls-handshake-full",
            Self::TlsHandshakeResumed => "tls-handshake-resumed",
            Self::Routes => "routes-10000",
            Self::LatencyHalfLoad => "latency-half-load",
            Self::Memory => "memory",
            Self::Soak => "soak",
            Self::Instructions => "instructions",
        }
    }

    /// What makes its load.
    pub fn generator(self) -> Generator {
        match self {
            Self::H2Streams | Self::GrpcUnary => Generator::H2load,
            Self::TlsHandshakeFull | Self::TlsHandshakeResumed => Generator::Openssl,
            Self::LatencyHalfLoad => Generator::OpenLoop,
            _ => Generator::Wrk,
        }
    }

    /// How many generators run at once.
    pub fn copies(self) -> usize {
        match self.generator() {
            Generator::Openssl => SHAKING,
            _ => 1,
        }
    }

    /// What it wants of the subjects' files.
    pub fn setup(self) -> Setup {
        match self {
            Self::GrpcUnary => Setup::Grpc,
            Self::TlsSmall | Self::TlsHandshakeFull | Self::TlsHandshakeResumed => Setup::Tls,
            Self::Routes => Setup::Routes(ROUTES),
            _ => Setup::Plain,
        }
    }

    /// Whether that program is measured in it.
    pub fn has(self, subject: Subject) -> bool {
        match self {
            Self::Soak | Self::Instructions => subject == Subject::Gateway,
            // The program that pingora is made into speaks plain HTTP/1.1 and knows one upstream.
            Self::H1Small
            | Self::H1Large
            | Self::H1NewConnection
            | Self::Upload
            | Self::LatencyHalfLoad
            | Self::Memory => true,
            _ => subject != Subject::Pingora,
        }
    }

    /// The generator's command line, for this many seconds.
    pub fn command(self, aim: &Aim<'_>, seconds: u64) -> Command {
        match self {
            Self::H1Large => wrk(aim, CONNECTIONS, seconds, LARGE_PATH, &[]),
            Self::H1NewConnection => wrk(aim, CONNECTIONS, seconds, "/", &["--header", "Connection: close"]),
            Self::Upload => {
                let script = aim.settings.join("upload.lua");
                let more = ["--script", &script.to_string_lossy()];
                wrk(aim, UPLOADING, seconds, "/upload", &more)
            }
            Self::Routes => wrk(aim, CONNECTIONS, seconds, &last_path(ROUTES), &[]),
            Self::H2Streams => h2load(aim, ("1", STREAMS), seconds, "/", &[]),
            Self::GrpcUnary => {
                let call = aim.files.join("call");
                let more = [
                    "--data",
                    &call.to_string_lossy(),
                    "--header",
                    "content-type: application/grpc",
                    "--header",
                    "te: trailers",
                ];
                h2load(aim, CALLERS, seconds, CALLS_PATH, &more)
            }
            Self::TlsSmall => wrk_tls(aim, seconds, &[]),
            Self::TlsHandshakeFull => handshakes(aim, seconds, "-new"),
            Self::TlsHandshakeResumed => handshakes(aim, seconds, "-reuse"),
            Self::LatencyHalfLoad => open_loop(aim, aim.rate, seconds, "/"),
            Self::H1Small | Self::Memory | Self::Soak | Self::Instructions => {
                wrk(aim, CONNECTIONS, seconds, "/", &[])
            }
        }
    }

    /// What comes before the load that counts, and which program makes it.
    ///
    /// s_time does not look at what it is answered, so that wrk does before it.
    pub fn warm_up(self, aim: &Aim<'_>, seconds: u64) -> (Generator, Command) {
        match self.generator() {
            Generator::Openssl => {
                let more = ["--header", "Connection: close"];
                (Generator::Wrk, wrk_tls(aim, seconds, &more))
            }
            other => (other, self.command(aim, seconds)),
        }
    }
}

/// HTTP/1.1 at a constant rate.
pub fn open_loop(aim: &Aim<'_>, rate: u32, seconds: u64, path: &str) -> Command {
    let mut command = Command::new(aim.tools);
    command
        .arg("bench-open-loop")
        .args(["--port", &aim.ports.http1.to_string()])
        .args(["--rate", &rate.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .args(["--path", path]);
    command
}

fn wrk(aim: &Aim<'_>, connections: &str, seconds: u64, path: &str, more: &[&str]) -> Command {
    let mut command = Command::new("wrk");
    wrk_options(&mut command, connections, seconds, more);
    command.arg(format!("http://127.0.0.1:{}{path}", aim.ports.http1));
    command
}

fn wrk_tls(aim: &Aim<'_>, seconds: u64, more: &[&str]) -> Command {
    let mut command = by_openssl(aim);
    command.arg("wrk");
    wrk_options(&mut command, CONNECTIONS, seconds, more);
    command.arg(format!("https://127.0.0.1:{}/", aim.ports.http1));
    command
}

fn wrk_options(command: &mut Command, connections: &str, seconds: u64, more: &[&str]) {
    command
        .args(["--threads", "1", "--connections", connections, "--latency"])
        .args(["--duration", &format!("{seconds}s")])
        .args(more);
}

/// On so many connections, so many streams.
fn h2load(aim: &Aim<'_>, load: (&str, &str), seconds: u64, path: &str, more: &[&str]) -> Command {
    let (clients, streams) = load;
    let mut command = Command::new("h2load");
    command
        .args([
            "--clients",
            clients,
            "--threads",
            "1",
            "--max-concurrent-streams",
            streams,
        ])
        .args(["--duration", &seconds.to_string()])
        .args(more)
        .arg(format!("http://127.0.0.1:{}{path}", aim.ports.http2));
    command
}

/// Handshakes one after the other, each with one request, of a connection that the subject ends.
fn handshakes(aim: &Aim<'_>, seconds: u64, kind: &str) -> Command {
    let mut command = by_openssl(aim);
    command
        .args(["openssl", "s_time", "-connect"])
        .arg(format!("127.0.0.1:{}", aim.ports.http1))
        .args(["-tls1_3", kind, "-time", &seconds.to_string(), "-www"])
        // s_time asks for this "path" by HTTP/1.0, which becomes the value of a field here.
        .arg("/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Rest:");
    command
}

/// A program that takes its cipher and group from the file in `tests/bench`.
fn by_openssl(aim: &Aim<'_>) -> Command {
    let mut command = Command::new("env");
    command.arg(format!(
        "OPENSSL_CONF={}",
        aim.settings.join("openssl.cnf").display()
    ));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    /// An aim at ports 1 and 2.
    fn aim() -> Aim<'static> {
        Aim {
            ports: Ports { http1: 1, http2: 2 },
            settings: Path::new("/bench"),
            files: Path::new("/files"),
            tools: Path::new("/xtask"),
            rate: 500,
        }
    }

    #[test]
    fn options_and_output_call_a_scenario_by_one_name() {
        for scenario in Scenario::value_variants() {
            let value = scenario.to_possible_value().unwrap();
            assert_eq!(value.get_name(), scenario.name());
        }
    }

    #[test]
    fn each_load_asks_for_what_its_name_says() {
        let rows = [
            (
                Scenario::H1Small,
                "wrk --threads 1 --connections 64 --latency --duration 10s http://127.0.0.1:1/",
            ),
            (
                Scenario::H1Large,
                "wrk --threads 1 --connections 64 --latency --duration 10s http://127.0.0.1:1/64k",
            ),
            (
                Scenario::H1NewConnection,
                "wrk --threads 1 --connections 64 --latency --duration 10s --header Connection: close \
                 http://127.0.0.1:1/",
            ),
            (
                Scenario::Upload,
                "wrk --threads 1 --connections 16 --latency --duration 10s --script /bench/upload.lua \
                 http://127.0.0.1:1/upload",
            ),
            (
                Scenario::Routes,
                "wrk --threads 1 --connections 64 --latency --duration 10s http://127.0.0.1:1/r/9999/x",
            ),
            (
                Scenario::H2Streams,
                "h2load --clients 1 --threads 1 --max-concurrent-streams 100 --duration 10 http://127.0.0.1:2/",
            ),
            (
                Scenario::GrpcUnary,
                "h2load --clients 4 --threads 1 --max-concurrent-streams 25 --duration 10 --data /files/call \
                 --header content-type: application/grpc --header te: trailers \
                 http://127.0.0.1:2/bench.Calls/Hello",
            ),
            (
                Scenario::TlsSmall,
                "env OPENSSL_CONF=/bench/openssl.cnf wrk --threads 1 --connections 64 --latency --duration 10s \
                 https://127.0.0.1:1/",
            ),
            (
                Scenario::TlsHandshakeResumed,
                "env OPENSSL_CONF=/bench/openssl.cnf openssl s_time -connect 127.0.0.1:1 -tls1_3 -reuse -time 10 \
                 -www / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Rest:",
            ),
            (
                Scenario::LatencyHalfLoad,
                "/xtask bench-open-loop --port 1 --rate 500 --seconds 10 --path /",
            ),
        ];
        for (scenario, expected) in rows {
            assert_eq!(steps::shown(&scenario.command(&aim(), 10)), expected);
        }
    }

    #[test]
    fn what_the_generator_does_not_look_at_is_looked_at_before() {
        let (generator, command) = Scenario::TlsHandshakeFull.warm_up(&aim(), 2);
        assert_eq!(generator, Generator::Wrk);
        assert!(steps::shown(&command).contains("--header Connection: close https://"));
        let (generator, _) = Scenario::GrpcUnary.warm_up(&aim(), 2);
        assert_eq!(generator, Generator::H2load);
    }
}
