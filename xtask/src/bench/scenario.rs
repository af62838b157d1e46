//! What is measured: the kinds of load, and the command lines that make them.
//!
//! Running them is left to `load`, reading what the generators print to `generator`.

use std::process::Command;

use clap::ValueEnum;

use super::backend::LARGE_PATH;
use super::subject::Ports;

/// Connections of the HTTP/1.1 scenarios.
const CONNECTIONS: &str = "64";
/// Streams at once, on the one connection of the HTTP/2 scenario.
const STREAMS: &str = "100";

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
    /// HTTP/2 with prior knowledge, 100 streams on one connection, an answer of 13 bytes
    #[value(name = "h2-100-streams")]
    H2Streams,
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
    /// HTTP/1.1.
    Wrk,
    /// HTTP/2.
    H2load,
}

impl Scenario {
    /// Those that measure CPU time for each request.
    pub const LOADS: [Self; 4] = [
        Self::H1Small,
        Self::H1Large,
        Self::H1NewConnection,
        Self::H2Streams,
    ];

    /// Its name, in options and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1Small => "h1-small",
            Self::H1Large => "h1-64k",
            Self::H1NewConnection => "h1-new-connection",
            Self::H2Streams => "h2-100-streams",
            Self::Memory => "memory",
            Self::Soak => "soak",
            Self::Instructions => "instructions",
        }
    }

    /// What makes its load.
    pub fn generator(self) -> Generator {
        match self {
            Self::H2Streams => Generator::H2load,
            _ => Generator::Wrk,
        }
    }

    /// The generator's command line against `ports`, for this many seconds.
    pub fn command(self, ports: Ports, seconds: u64) -> Command {
        let path = match self {
            Self::H1Large => LARGE_PATH,
            _ => "/",
        };
        match self.generator() {
            Generator::H2load => {
                let mut command = Command::new("h2load");
                command
                    .args([
                        "--clients",
                        "1",
                        "--threads",
                        "1",
                        "--max-concurrent-streams",
                        STREAMS,
                    ])
                    .args(["--duration", &seconds.to_string()])
                    .arg(format!("http://127.0.0.1:{}{path}", ports.http2));
                command
            }
            Generator::Wrk => {
                let mut command = Command::new("wrk");
                command
                    .args(["--threads", "1", "--connections", CONNECTIONS, "--latency"])
                    .args(["--duration", &format!("{seconds}s")]);
                if self == Self::H1NewConnection {
                    command.args(["--header", "Connection: close"]);
                }
                command.arg(format!("http://127.0.0.1:{}{path}", ports.http1));
                command
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

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
                Scenario::H2Streams,
                "h2load --clients 1 --threads 1 --max-concurrent-streams 100 --duration 10 http://127.0.0.1:2/",
            ),
        ];
        for (scenario, expected) in rows {
            let command = scenario.command(Ports { http1: 1, http2: 2 }, 10);
            assert_eq!(steps::shown(&command), expected);
        }
    }
}
