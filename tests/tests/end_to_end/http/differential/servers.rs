//! nginx and Python's `http.server` as processes, and what they logged.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;

use super::super::gateway::{die_with_parent, free_address};

/// From start to the first accepted connection.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Where Debian keeps what users rarely call; nginx is there.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's nginx, with connections that are used again.
    Nginx,
    /// `python3 -m http.server`, one connection for each request.
    Python,
}

/// A running server in a directory of its own.
#[derive(Debug)]
pub struct RealServer {
    /// Where it listens.
    pub address: SocketAddr,
    kind: Kind,
    process: Child,
    directory: PathBuf,
}

impl RealServer {
    /// Starts it and waits until it accepts.
    pub async fn start(kind: Kind) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-peer-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(directory.join("empty")).expect("a directory");
        let address = free_address();
        let mut command = match kind {
            Kind::Nginx => nginx(address, &directory),
            Kind::Python => python(address, &directory),
        };
        let said = File::create(directory.join("said")).expect("a file");
        command
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        // SAFETY: `die_with_parent` makes one system call and touches no memory: that is allowed after a fork.
        unsafe { command.pre_exec(die_with_parent) };
        let started = command.spawn();
        assert!(started.is_ok(), "{kind:?}: {:?}; install it", started.err());
        let server = Self {
            address,
            kind,
            process: started.expect("checked above"),
            directory,
        };
        let accepts = wait_until(Instant::now() + START_LIMIT, || TcpStream::connect(address).ok());
        assert!(accepts.is_some(), "{kind:?} does not accept: {}", server.said());
        server
    }

    /// What it wrote to its standard error and its log.
    pub fn said(&self) -> String {
        let read = |name: &str| std::fs::read(self.directory.join(name)).unwrap_or_default();
        let all = [read("said"), read("log")].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Requests that it logged, by path.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for target in self.lines().iter().filter_map(|(line, _)| target(line)) {
            *counts.entry(target).or_default() += 1;
        }
        counts
    }

    /// Lines of what it could not read, or refused for its form.
    pub fn malformed(&self) -> Vec<String> {
        let lines = self.lines();
        let bad = lines
            .iter()
            .filter(|(line, status)| *status == 400 || target(line).is_none());
        bad.map(|(line, status)| format!("{status} {line:?}")).collect()
    }

    /// Request line and status of each logged request.
    fn lines(&self) -> Vec<(String, u16)> {
        // Both end in: "REQUEST LINE" STATUS, nginx then with a dot, Python with a dash.
        let parse = |line: &str| {
            let (_, rest) = line.split_once('"')?;
            let (request, rest) = rest.rsplit_once('"')?;
            let status = rest.trim().split(' ').next()?.parse().ok()?;
            Some((request.to_owned(), status))
        };
        self.said().lines().filter_map(parse).collect()
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        // Fails only where it has ended.
        drop(self.process.kill());
        if let Err(error) = self.process.wait() {
            eprintln!("{:?}: {error}", self.kind);
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// The path in a request line.
fn target(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_whole = words.next().is_none() && !method.is_empty() && version.starts_with("HTTP/1.");
    is_whole.then(|| target.split('?').next().unwrap_or_default().to_owned())
}

fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:{SYSTEM_PATH}")
}

fn nginx(address: SocketAddr, directory: &Path) -> Command {
    let place = directory.display();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/errors warn;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n  log_format line '\"$request\" $status .';\n  access_log {place}/log line;\n\
         client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n\
         fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  scgi_temp_path {place}/scgi;\n\
         server {{ listen {address}; location / {{ return 200 'ok'; }} }}\n}}\n"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, config).expect("a configuration");
    let mut command = Command::new("nginx");
    command
        .arg("-e")
        .arg(directory.join("errors"))
        .arg("-c")
        .arg(file);
    command
}

fn python(address: SocketAddr, directory: &Path) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-u", "-m", "http.server", "--bind"])
        .arg(address.ip().to_string())
        .arg("--directory")
        .arg(directory.join("empty"))
        .arg(address.port().to_string());
    command
}
