//! Endpoints that want a certificate, nginx here, while everything about it is renewed under load: ours, theirs, and the
//! authority of both.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::gateway::{Gateway, Setup, Speaks, free_address};
use super::super::within::run;
use super::authority::Authority;
use super::told;

/// The name of the service.
const SERVICE: &str = "users.internal";
/// From a change of files until the gateway or nginx goes by it.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

/// nginx with TLS, that answers with the issuer of the certificate that it was shown.
struct Nginx {
    address: std::net::SocketAddr,
    process: Child,
    directory: PathBuf,
}

impl Nginx {
    /// Its certificate is `service`'s of the authority; clients must have one that `trusted.pem` vouches for.
    fn start(authority: &Authority) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-nginx-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let address = free_address();
        let place = directory.display();
        let [certificate, key, trusted] =
            ["service.pem", "service.key", "trusted.pem"].map(|name| authority.path(name));
        let config = format!(
            "daemon off;\nworker_processes 1;\npid {place}/pid;\nerror_log {place}/errors warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  access_log off;\n\
             client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  scgi_temp_path {place}/scgi;\n\
             server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             ssl_verify_client on; ssl_client_certificate {trusted};\n\
             location / {{ return 200 '$ssl_client_i_dn'; }} }}\n}}\n"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, config).expect("a configuration");
        let mut command = Command::new("nginx");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .arg("-e")
            .arg(directory.join("errors"))
            .arg("-c")
            .arg(file)
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: it makes one system call and touches no memory: that is allowed after a fork.
        unsafe { command.pre_exec(end_with_parent) };
        let started = command.spawn();
        assert!(started.is_ok(), "nginx: {:?}; install it", started.err());
        let process = started.expect("checked above");
        let nginx = Self {
            address,
            process,
            directory,
        };
        let accepts = wait_until(Instant::now() + RENEWAL_LIMIT, || {
            std::net::TcpStream::connect(address).ok()
        });
        assert!(accepts.is_some(), "nginx does not accept: {}", nginx.said());
        nginx
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.directory.join("errors")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("a signal");
    }

    /// Reads its files anew: its workers answer what they have, and others take their place.
    fn reload(&self) {
        let before = self.workers();
        self.signal(Signal::SIGHUP);
        let others = wait_until(Instant::now() + RENEWAL_LIMIT, || {
            let now = self.workers();
            let are_others = !now.is_empty() && now.iter().all(|worker| !before.contains(worker));
            are_others.then_some(())
        });
        assert!(others.is_some(), "nginx keeps its old workers: {}", self.said());
    }

    fn workers(&self) -> Vec<String> {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not by SIGKILL: its workers would stay.
        self.signal(Signal::SIGTERM);
        if let Err(error) = self.process.wait() {
            eprintln!("nginx: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// For a child between fork and exec: it ends in order when the thread has that started it.
fn end_with_parent() -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    Ok(())
}

/// What a metric of the upstream is.
fn expiry(gateway: &Gateway) -> u64 {
    let text = gateway.metrics();
    let line = text
        .lines()
        .find(|line| line.starts_with("gateway_upstream_certificate_expiry_seconds{upstream=\"pool\""));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
        .unwrap_or(0)
}

/// Events of the kind `file` that say so of that file.
fn events(gateway: &Gateway, file: &str, to: &str) -> usize {
    let output = gateway.command(&["events", "--json"]).output().expect("events");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let is_of_it = |line: &&str| {
        line.contains("\"file\"")
            && line.contains(&format!("/{file}\""))
            && line.contains(&format!("\"{to}\""))
    };
    text.lines().filter(is_of_it).count()
}

fn wait_for(what: &str, gateway: &Gateway, mut holds: impl FnMut() -> bool) {
    let held = wait_until(Instant::now() + RENEWAL_LIMIT, || holds().then_some(()));
    assert!(held.is_some(), "{what}: {}", gateway.said());
}

#[test]
fn an_authority_and_its_certificates_are_rotated_under_load_and_no_request_fails() {
    run(async {
        let mut authority = Authority::new();
        authority.issue("service", SERVICE, 90);
        authority.issue("own", "gateway.internal", 90);
        let old_root = std::fs::read_to_string(authority.folder.join("ca.pem")).expect("a root");
        authority.put("trusted.pem", &old_root);
        let nginx = Nginx::start(&authority);
        let mut setup = Setup::to(nginx.address, Speaks::Http1).workers(2);
        setup.tables += &format!(
            "tls = {{ ca_file = \"{}\", server_name = \"{SERVICE}\", cert_file = \"{}\", key_file = \"{}\" }}\n\
             health = {{ readiness = {{ http = \"/\", interval = \"200ms\" }} }}\n",
            authority.path("ca.pem"),
            authority.path("own.pem"),
            authority.path("own.key"),
        );
        let gateway = Gateway::start(&setup);
        let url = format!("http://{}/", gateway.address());
        let shown = told("curl", &["--silent", &url]).await;
        assert!(shown.contains("test root"), "{shown}");
        let stop = Arc::new(AtomicBool::new(false));
        let load = {
            let (url, stop) = (url.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut runs, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let text = told("wrk", &["-t1", "-c8", "-d2s", &url]).await;
                    if text.contains("Socket errors") || text.contains("Non-2xx") {
                        failed.push(text);
                    }
                    runs += 1;
                }
                (runs, failed)
            })
        };
        tokio::task::block_in_place(|| {
            // Both are trusted by both sides, before anybody shows what the new one has issued.
            let [old_root, new_root] = authority.turn();
            let both = format!("{old_root}{new_root}");
            authority.put("trusted.pem", &both);
            nginx.reload();
            authority.put("ca.pem", &both);
            wait_for("both authorities are trusted", &gateway, || {
                events(&gateway, "ca.pem", "renewed") == 1
            });
            // Our certificate, half of it first.
            let before = expiry(&gateway);
            assert!(before > 0, "{}", gateway.metrics());
            authority.issue("later", "gateway.internal", 120);
            let read = |name: &str| std::fs::read_to_string(authority.folder.join(name)).expect("a file");
            authority.put("own.pem", &read("later.pem"));
            wait_for("half of a pair is told", &gateway, || {
                events(&gateway, "own.pem", "kept") == 1
            });
            assert_eq!(expiry(&gateway), before);
            authority.put("own.key", &read("later.key"));
            wait_for("our certificate is taken over", &gateway, || {
                expiry(&gateway) > before
            });
            // Theirs; then nobody trusts the old authority any more.
            authority.issue("service", SERVICE, 90);
            authority.put("trusted.pem", &new_root);
            nginx.reload();
            authority.put("ca.pem", &new_root);
            wait_for("the old authority is trusted no more", &gateway, || {
                events(&gateway, "ca.pem", "renewed") == 2
            });
        });
        let shown = told("curl", &["--silent", &url]).await;
        assert!(shown.contains("next root"), "{shown}");
        stop.store(true, Ordering::Relaxed);
        let (runs, failed) = load.await.expect("the load");
        assert!(
            runs > 0 && failed.is_empty(),
            "of {runs} runs these failed:\n{}",
            failed.join("\n")
        );
        // Checks went by the same files: none has failed.
        let output = gateway.command(&["events", "--json"]).output().expect("events");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("\"failing\""), "{text}");
        assert_eq!(
            gateway.counted("reason=\"upstream-tls-failed\""),
            0,
            "{}",
            gateway.metrics()
        );
    });
}
