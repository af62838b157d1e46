//! The real program as a process on a loopback address of its own.
//!
//! The address is one of 127.0.0.0/8 by chance, so that no other socket of the machine competes for its ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gateway_tests::lab::gateway_program;
use gateway_tests::lab::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::log::Log;

/// From the start of the program to its readiness.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// From SIGTERM to the end, which waits for requests that run.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// How long requests may take to end once nobody wants them any more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// `protocol = "http1"`.
    Http1,
    /// `protocol = "http2"`.
    Http2,
}

/// What a gateway is to do.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Worker threads.
    pub workers: usize,
    /// Lines for the `[[listener]]` table.
    pub listener: String,
    /// Lines for the `[defaults]` table.
    pub defaults: String,
    /// Routes and upstreams.
    pub tables: String,
}

impl Setup {
    /// One worker, and every request to one upstream at `address`.
    pub fn to(address: SocketAddr, speaks: Speaks) -> Self {
        Self {
            workers: 1,
            listener: String::new(),
            defaults: String::new(),
            tables: route("all", "path_prefix = \"/\"", "pool", "") + &upstream("pool", address, speaks),
        }
    }

    /// With that many workers.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// With one more line in the `[[listener]]` table.
    pub fn listener(self, line: &str) -> Self {
        Self {
            listener: format!("{}{line}\n", self.listener),
            ..self
        }
    }

    /// With one more line in the `[defaults]` table.
    pub fn defaults(self, line: &str) -> Self {
        Self {
            defaults: format!("{}{line}\n", self.defaults),
            ..self
        }
    }

    /// With more routes and upstreams.
    pub fn tables(self, tables: &str) -> Self {
        Self {
            tables: format!("{}{tables}", self.tables),
            ..self
        }
    }
}

/// A route to an upstream; `matching` is the inside of its `match` table, `more` are further lines.
pub fn route(name: &str, matching: &str, upstream: &str, more: &str) -> String {
    format!(
        "\n[[route]]\nname = \"{name}\"\nlisteners = [\"web\"]\nmatch = {{ {matching} }}\n\
         upstream = \"{upstream}\"\n{more}\n"
    )
}

/// An upstream with one endpoint.
pub fn upstream(name: &str, address: SocketAddr, speaks: Speaks) -> String {
    let protocol = match speaks {
        Speaks::Http1 => "http1",
        Speaks::Http2 => "http2",
    };
    format!(
        "\n[[upstream]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nendpoints = [{{ address = \"{address}\" }}]\n"
    )
}

/// A running gateway. Dropping it kills the process and removes its files.
#[derive(Debug)]
pub struct Gateway {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
    /// What it logs of requests.
    pub log: Log,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Starts the program and waits until it is ready.
    pub fn start(setup: &Setup) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-http-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let address = free_address();
        let config = directory.join("gateway.toml");
        std::fs::write(&config, toml(setup, address, &directory)).expect("a configuration");
        let (process, log, complaints) = launch(&config);
        let mut gateway = Self {
            process,
            directory,
            address,
            log,
            complaints,
        };
        gateway.wait_ready(setup);
        gateway
    }

    /// Ends it, and starts it anew with another configuration at the same place.
    pub fn restart(&mut self, setup: &Setup) {
        self.terminate();
        self.wait_end();
        let config = self.configure(setup);
        (self.process, self.log, self.complaints) = launch(&config);
        self.wait_ready(setup);
    }

    /// Writes another configuration, of which it is not told.
    pub fn configure(&self, setup: &Setup) -> PathBuf {
        let config = self.directory.join("gateway.toml");
        std::fs::write(&config, toml(setup, self.address, &self.directory)).expect("a configuration");
        config
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it wrote to its standard error, for messages.
    pub fn said(&self) -> String {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// What `GET /v1/status` says.
    pub fn status(&self) -> Value {
        let token = std::fs::read_to_string(self.directory.join("token")).expect("a token");
        let (status, body) = self.ask("GET", "/v1/status", token.trim()).expect("an answer");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Sum of all counters whose labels contain `label`, such as `reason="timeout"`.
    pub fn counted(&self, label: &str) -> u64 {
        sum(&self.metrics(), label)
    }

    /// What `GET /metrics` says.
    pub fn metrics(&self) -> String {
        let token = std::fs::read_to_string(self.directory.join("token")).expect("a token");
        let (status, text) = self.ask("GET", "/metrics", token.trim()).expect("an answer");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Gives it another configuration, which it must take.
    pub fn reload(&self, setup: &Setup) {
        self.configure(setup);
        let (status, body) = self.admin("POST", "/v1/reload", "", "");
        assert_eq!(status, 200, "{body}");
    }

    /// Requests under way at all endpoints together.
    pub fn active(&self) -> u64 {
        self.endpoints("active")
    }

    /// Attempts at all endpoints together.
    pub fn attempts(&self) -> u64 {
        self.endpoints("requests")
    }

    fn endpoints(&self, member: &str) -> u64 {
        let status = self.status();
        let upstreams = status["upstreams"].as_array().cloned().unwrap_or_default();
        upstreams
            .iter()
            .filter_map(|upstream| upstream["endpoints"].as_array())
            .flatten()
            .filter_map(|endpoint| endpoint[member].as_u64())
            .sum()
    }

    /// Waits until no request is under way, neither on the client's side nor at an endpoint: nothing leaked.
    pub fn check_idle(&self) {
        let idle = wait_until(Instant::now() + IDLE_TIMEOUT, || {
            let requests = self.status()["active_requests"].as_u64();
            (self.active() == 0 && requests == Some(0)).then_some(())
        });
        assert!(idle.is_some(), "requests stay open: {}", self.status());
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a signal");
    }

    /// Waits until its standard error holds `text`.
    pub fn wait_said(&self, text: &str, limit: Duration) {
        let said = wait_until(Instant::now() + limit, || {
            self.said().contains(text).then_some(())
        });
        assert!(said.is_some(), "nothing about {text:?} in: {}", self.said());
    }

    /// Waits for the end of the program.
    pub fn wait_end(&mut self) -> ExitStatus {
        let process = &mut self.process;
        let ended = wait_until(Instant::now() + STOP_TIMEOUT, || {
            process.try_wait().expect("a look at the process")
        });
        assert!(ended.is_some(), "it does not end: {}", self.said());
        ended.expect("checked above")
    }

    fn wait_ready(&mut self, setup: &Setup) {
        let ready = wait_until(Instant::now() + READY_TIMEOUT, || {
            if let Some(ended) = self.process.try_wait().expect("a look at the process") {
                return Some(Err(ended));
            }
            let answer = self.ask("GET", "/readyz", "");
            matches!(answer, Ok((200, _))).then_some(Ok(()))
        });
        assert!(
            matches!(ready, Some(Ok(()))),
            "the gateway is not ready ({ready:?}): {}\nwith:\n{setup:?}",
            self.said()
        );
    }

    /// A command of the program that asks this gateway: its arguments, then how to reach it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(gateway_program().expect("the gateway's program"));
        command.args(arguments);
        command
            .arg("--admin")
            .arg(format!("unix:{}", self.directory.join("admin").display()));
        command.arg("--token-file").arg(self.directory.join("token"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: `die_with_parent` makes one system call and touches no memory: that is allowed after a fork.
        unsafe { command.pre_exec(die_with_parent) };
        command
    }

    /// One exchange with the admin API, with lines for the head: status, and the answer with its head.
    pub fn admin(&self, method: &str, path: &str, fields: &str, body: &str) -> (u16, String) {
        let token = std::fs::read_to_string(self.directory.join("token")).expect("a token");
        let fields = format!("authorization: Bearer {}\r\n{fields}", token.trim());
        self.exchange(method, path, &fields, body).expect("an answer")
    }

    /// One exchange with the admin API: status and body.
    fn ask(&self, method: &str, path: &str, token: &str) -> std::io::Result<(u16, String)> {
        let fields = format!("authorization: Bearer {token}\r\n");
        let (status, answer) = self.exchange(method, path, &fields, "")?;
        let body = answer
            .split_once("\r\n\r\n")
            .map_or(answer.as_str(), |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    fn exchange(&self, method: &str, path: &str, fields: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.directory.join("admin"))?;
        stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\n{fields}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
        Ok((status.unwrap_or(0), answer))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only where the process has ended; what it left is then waited for all the same.
        drop(self.process.kill());
        if let Err(error) = self.process.wait() {
            eprintln!("the gateway: {error}");
        }
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.said());
            for entry in self.log.all().iter().rev().take(12).rev() {
                eprintln!("the gateway logged: {entry:?}");
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// Starts the program with that configuration: what it logs, and what it complains of.
fn launch(config: &Path) -> (Child, Log, Arc<Mutex<Vec<String>>>) {
    let mut command = Command::new(gateway_program().expect("the gateway's program"));
    command.arg("run").arg("--config").arg(config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: `die_with_parent` makes one system call and touches no memory: that is allowed after a fork.
    unsafe { command.pre_exec(die_with_parent) };
    let mut process = command.spawn().expect("a process");
    let log = Log::read(process.stdout.take().expect("its output"));
    let complaints = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&complaints);
    let errors = process.stderr.take().expect("its errors");
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            theirs.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    (process, log, complaints)
}

/// Sum of all samples of metrics that contain `label` and are whole numbers above 0.
pub fn sum(metrics: &str, label: &str) -> u64 {
    let samples = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(label));
    let value = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse::<u64>().ok())
    };
    samples.filter_map(value).sum()
}

/// An address and port on which nobody listens.
pub fn free_address() -> SocketAddr {
    let [a, b, c] = rand::random::<[u8; 3]>();
    let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
    let listener = TcpListener::bind((host, 0)).expect("a socket");
    listener.local_addr().expect("its address")
}

fn toml(setup: &Setup, address: SocketAddr, directory: &std::path::Path) -> String {
    format!(
        "[node]\nname = \"edge\"\nworkers = {}\n\n[admin]\nlisten = \"unix:{directory}/admin\"\n\
         token_file = \"{directory}/token\"\n\
         routes_file = \"{directory}/routes.toml\"\n\n[defaults]\n{}\n[[listener]]\nname = \"web\"\n\
         address = \"{address}\"\n{}{}",
        setup.workers,
        setup.defaults,
        setup.listener,
        setup.tables,
        directory = directory.display(),
    )
}

/// For a child between fork and exec: it is not to outlive the thread that started it.
pub fn die_with_parent() -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}
