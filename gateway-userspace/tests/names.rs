//! A node whose endpoints are host names: the program, a DNS server and two servers of the test's own, on loopback.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the DNS server knows, and how often it was asked; a name without addresses fails.
#[derive(Default)]
struct Zone {
    names: HashMap<&'static str, Vec<IpAddr>>,
    asked: HashMap<String, usize>,
}

impl Zone {
    /// Answers with a TTL of zero.
    fn answer(&mut self, question: &[u8]) -> Vec<u8> {
        let mut message = Message::from_vec(question).unwrap();
        message.metadata.message_type = MessageType::Response;
        let query = message.queries[0].clone();
        let host = query.name().to_ascii().trim_end_matches('.').to_owned();
        match self.names.get(host.as_str()) {
            None => message.metadata.response_code = ResponseCode::NXDomain,
            Some(addresses) if addresses.is_empty() => {
                message.metadata.response_code = ResponseCode::ServFail;
            }
            Some(addresses) => {
                let v4 = addresses.iter().filter_map(|address| match address {
                    IpAddr::V4(v4) if query.query_type() == RecordType::A => Some(RData::A((*v4).into())),
                    _ => None,
                });
                let records: Vec<Record> = v4
                    .map(|data| Record::from_rdata(query.name().clone(), 0, data))
                    .collect();
                message.add_answers(records);
            }
        }
        *self.asked.entry(host).or_default() += 1;
        message.to_vec().unwrap()
    }
}

/// Its threads end with the process of the test.
fn dns_server(zone: Arc<Mutex<Zone>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            let answer = zone.lock().unwrap().answer(&buffer[..length]);
            socket.send_to(&answer, client).unwrap();
        }
    });
    address
}

/// Answers every request with its name.
fn serve(listener: TcpListener, name: &'static str) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            // A peer that went away needs no answer.
            if stream.read(&mut head).is_ok_and(|length| length > 0) {
                let length = name.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}");
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
}

/// Two servers that differ in the address alone.
fn servers() -> u16 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        if let Ok(two) = TcpListener::bind(("127.0.0.2", port)) {
            serve(one, "one");
            serve(two, "two");
            return port;
        }
        assert!(
            Instant::now() < deadline,
            "no port that is free on both addresses"
        );
    }
}

/// The running program, with a directory of its own; both end with it.
struct Gateway {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    fn start(name: &str, dns: SocketAddr, port: u16) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-{name}-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let here = directory.display();
        let own = address.port();
        let config = format!(
            "[node]\nname = 'names'\nworkers = 2\n\
             [admin]\nlisten = 'unix:{here}/admin.sock'\ntoken_file = '{here}/token'\n\
             [dns]\nservers = ['{dns}']\n\
             [[listener]]\nname = 'web'\naddress = '{address}'\n\
             [[route]]\nname = 'users'\nlisteners = ['web']\nupstream = 'users'\nmatch = {{ path_prefix = '/' }}\n\
             [[route]]\nname = 'loop'\nlisteners = ['web']\nupstream = 'loop'\nmatch = {{ path = '/loop' }}\n\
             [[route]]\nname = 'absent'\nlisteners = ['web']\nupstream = 'absent'\nmatch = {{ path = '/absent' }}\n\
             [[upstream]]\nname = 'users'\nendpoints = [{{ address = 'users.internal:{port}' }}]\n\
             health = {{ readiness = {{ http = '/', interval = '100ms' }} }}\n\
             [[upstream]]\nname = 'loop'\nendpoints = [{{ address = 'self.internal:{own}' }}]\n\
             [[upstream]]\nname = 'absent'\nendpoints = [{{ address = 'absent.internal:{port}' }}]\n"
        );
        let file = directory.join("gateway.toml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            directory,
            address,
        }
    }

    /// The answer, head and all; `None`: there is none.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What the program says as a client of this node.
    fn ask(&self, command: &str) -> (Option<i32>, String) {
        let here = self.directory.display();
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args([command, "--admin", &format!("unix:{here}/admin.sock")])
            .args(["--token-file", &format!("{here}/token")])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// Changes the configuration and has it read anew.
    fn reload(&self, old: &str, new: &str) -> (Option<i32>, String) {
        let file = self.directory.join("gateway.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{old:?} is not in:\n{text}");
        std::fs::write(&file, text.replace(old, new)).unwrap();
        self.ask("reload")
    }

    fn wait_for(&self, path: &str, end: &str) {
        wait_until(&format!("{path}: {end}"), || {
            self.get(path).is_some_and(|answer| answer.ends_with(end))
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn endpoints_follow_their_names_while_the_node_runs() {
    let zone = Arc::new(Mutex::new(Zone::default()));
    let set = |host, addresses: &[[u8; 4]]| {
        let addresses = addresses.iter().map(|address| IpAddr::from(*address)).collect();
        zone.lock().unwrap().names.insert(host, addresses);
    };
    let asked = |host: &str| zone.lock().unwrap().asked.get(host).copied().unwrap_or_default();
    set("users.internal", &[[127, 0, 0, 1]]);
    set("self.internal", &[[127, 0, 0, 1]]);
    let gateway = Gateway::start("names", dns_server(Arc::clone(&zone)), servers());

    gateway.wait_for("/", "\r\n\r\none");
    let status = |path: &str| gateway.get(path).unwrap_or_default();
    for (path, expected) in [("/loop", "HTTP/1.1 508 "), ("/absent", "HTTP/1.1 503 ")] {
        let answer = status(path);
        assert!(answer.starts_with(expected), "{path}: {answer}");
    }
    set("users.internal", &[[127, 0, 0, 2]]);
    gateway.wait_for("/", "\r\n\r\ntwo");

    set("users.internal", &[]);
    let before = asked("users.internal");
    wait_until("a failure", || asked("users.internal") >= before + 2);
    assert!(status("/").ends_with("\r\n\r\ntwo"), "what was good stays");

    set("absent.internal", &[[127, 0, 0, 1]]);
    gateway.wait_for("/absent", "\r\n\r\none");
    assert!(status("/").ends_with("\r\n\r\ntwo"), "what was good stays");
}

#[test]
fn a_reload_waits_for_its_new_names_and_a_refused_one_changes_nothing() {
    let zone = Arc::new(Mutex::new(Zone::default()));
    let set = |host| {
        zone.lock()
            .unwrap()
            .names
            .insert(host, vec![[127, 0, 0, 1].into()])
    };
    let asked = |host: &str| zone.lock().unwrap().asked.contains_key(host);
    set("users.internal");
    set("new.internal");
    let gateway = Gateway::start("reload", dns_server(Arc::clone(&zone)), servers());
    gateway.wait_for("/", "\r\n\r\none");
    assert!(!asked("new.internal"));

    let (code, text) = gateway.reload("absent.internal", "new.internal");
    assert_eq!(code, Some(0), "{text}");
    let answer = gateway.get("/absent").unwrap_or_default();
    assert!(answer.ends_with("\r\n\r\none"), "at once: {answer}");
    let (_, status) = gateway.ask("status");
    assert!(status.contains("(new.internal)"), "{status}");

    // An address that nobody here has: its socket cannot be opened.
    let other = "[[listener]]\nname = 'other'\naddress = '192.0.2.1:1'\n[[upstream]]\nname = 'users'\n";
    let (code, text) = gateway.reload("[[upstream]]\nname = 'users'\n", other);
    assert_ne!(code, Some(0), "{text}");
    let answer = gateway.get("/absent").unwrap_or_default();
    assert!(answer.ends_with("\r\n\r\none"), "the old one stays: {answer}");
}
