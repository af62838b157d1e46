//! HAProxy on either side: it names clients by the PROXY protocol, and reads whom it is named; TLS that is passed on ends at it.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;

use super::super::gateway::{Gateway, Setup, Speaks, die_with_parent, free_address, upstream};
use super::super::within::run;
use super::authority::Authority;
use super::{echo, output, told};

/// From start to the first accepted connection, and for what must follow soon.
const SOON: Duration = Duration::from_secs(10);
/// Where Debian keeps it.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// Where clients connect from, so that they are told from proxies.
const CLIENT: &str = "127.9.9.9";
/// What trusts HAProxy.
const TRUSTED: &str = "proxy_protocol = { from = [\"127.0.0.1\"] }";

/// A running HAProxy in a directory of its own.
struct Haproxy {
    process: Child,
    directory: PathBuf,
}

impl Haproxy {
    /// Starts it with those sections, and waits until it accepts at each of the addresses.
    fn start(sections: &str, addresses: &[SocketAddr]) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-haproxy-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("haproxy.cfg");
        let defaults = "defaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n";
        std::fs::write(&file, format!("{defaults}{sections}")).expect("a configuration");
        let own = std::env::var("PATH").unwrap_or_default();
        let said = File::create(directory.join("said")).expect("a file");
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .env("PATH", format!("{own}:{SYSTEM_PATH}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        // SAFETY: `die_with_parent` makes one system call and touches no memory: that is allowed after a fork.
        unsafe { command.pre_exec(die_with_parent) };
        let started = command.spawn();
        assert!(started.is_ok(), "haproxy: {:?}; install it", started.err());
        let haproxy = Self {
            process: started.expect("checked above"),
            directory,
        };
        for address in addresses {
            let accepts = wait_until(Instant::now() + SOON, || TcpStream::connect(address).ok());
            let said = std::fs::read_to_string(haproxy.directory.join("said")).unwrap_or_default();
            assert!(
                accepts.is_some(),
                "it does not accept at {address}: {said}\n{sections}"
            );
        }
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Fails only where it has ended.
        drop(self.process.kill());
        if let Err(error) = self.process.wait() {
            eprintln!("haproxy: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// A section that passes connections on, and says for whom as `option` has it.
fn in_front(name: &str, address: SocketAddr, to: SocketAddr, option: &str) -> String {
    format!("listen {name}\n  mode tcp\n  bind {address}\n  server gateway {to} {option}\n")
}

/// A section that answers each request with `says`; `bind` are options of its socket.
fn behind(name: &str, address: SocketAddr, bind: &str, says: &str) -> String {
    format!(
        "frontend {name}\n  mode http\n  bind {address} {bind}\n  \
         http-request return status 200 content-type text/plain lf-string \"{says}\"\n"
    )
}

/// Whom and what HAProxy takes a connection to be between.
const ENDS: &str = "%[src]:%[src_port] %[dst]:%[dst_port]";

/// A listener of connections with its route to an upstream.
fn passes(name: &str, address: SocketAddr, keys: &str, to: &str) -> String {
    format!(
        "\n[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"tcp\"\n{keys}\n\
         [[route]]\nname = \"{name}\"\nlisteners = [\"{name}\"]\nupstream = \"{to}\"\n"
    )
}

/// Asks from [`CLIENT`].
async fn ask(url: &str, options: &[&str]) -> String {
    let fixed = ["--silent", "--show-error", "--interface", CLIENT, url];
    let arguments: Vec<&str> = fixed.iter().chain(options).copied().collect();
    told("curl", &arguments).await
}

fn wait_logged(gateway: &Gateway, what: &str, is_it: impl Fn(&super::super::log::Entry) -> bool) {
    let logged = wait_until(Instant::now() + SOON, || {
        gateway.log.all().iter().any(&is_it).then_some(())
    });
    assert!(logged.is_some(), "not logged: {what}");
}

#[test]
fn haproxy_in_front_names_the_clients_of_every_kind_of_listener() {
    run(async {
        let authority = Authority::new();
        authority.issue("web", "a.example", 30);
        let server = echo().await;
        let [https, tcp] = [free_address(), free_address()];
        let setup = Setup::to(server.address, Speaks::Http1)
            .listener(TRUSTED)
            .tables(&format!(
                "\n[[listener]]\nname = \"tls\"\naddress = \"{https}\"\nprotocol = \"https\"\n{TRUSTED}\n\
                 certificates = [{{ cert_file = \"{}\", key_file = \"{}\" }}]\n\
                 [[route]]\nname = \"tls\"\nlisteners = [\"tls\"]\nmatch = {{ path_prefix = \"/\" }}\nupstream = \"pool\"\n",
                authority.path("web.pem"),
                authority.path("web.key")
            ))
            .tables(&passes("any", tcp, TRUSTED, "pool"));
        let gateway = Gateway::start(&setup);
        for option in [
            "send-proxy",
            "send-proxy-v2",
            "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        ] {
            let fronts = [free_address(), free_address(), free_address()];
            let behind = [gateway.address(), https, tcp];
            let sections: Vec<String> = fronts
                .iter()
                .zip(behind)
                .enumerate()
                .map(|(index, (front, to))| in_front(&format!("f{index}"), *front, to, option))
                .collect();
            let _haproxy = Haproxy::start(&sections.concat(), &fronts);
            let text = ask(&format!("http://{}/some", fronts[0]), &[]).await;
            assert!(
                text.contains(&format!("x-forwarded-for: {CLIENT}\n")),
                "{option}: {text}"
            );
            let resolve = format!("a.example:{}:{}", fronts[1].port(), fronts[1].ip());
            let ca = authority.path("ca.pem");
            let url = format!("https://a.example:{}/some", fronts[1].port());
            let text = ask(&url, &["--cacert", &ca, "--resolve", &resolve]).await;
            assert!(
                text.contains(&format!("x-forwarded-for: {CLIENT}\n")),
                "{option}: {text}"
            );
            // Nobody adds anything to what is passed on.
            let text = ask(&format!("http://{}/some", fronts[2]), &[]).await;
            assert!(text.starts_with("GET /some HTTP/1.1\n"), "{option}: {text}");
            assert!(!text.contains("x-forwarded-for"), "{option}: {text}");
            for listener in ["web", "tls", "any"] {
                wait_logged(&gateway, listener, |entry| {
                    entry.get("listener") == Some(listener)
                        && entry.reason() == "ok"
                        && entry
                            .get("client")
                            .is_some_and(|client| client.starts_with(CLIENT))
                        && entry
                            .get("peer")
                            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
                });
            }
        }
        for reason in ["missing", "malformed", "checksum", "too-long"] {
            let counted = gateway.counted(&format!("reason=\"proxy-header-{reason}\""));
            assert_eq!(counted, 0, "{reason}");
        }
    });
}

#[test]
fn curl_names_its_client_to_a_gateway_that_trusts_it() {
    run(async {
        let server = echo().await;
        let trusted = "proxy_protocol = { from = [\"127.0.0.0/8\"] }";
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1).listener(trusted));
        let url = format!("http://{}/some", gateway.address());
        let text = ask(&url, &["--haproxy-protocol"]).await;
        assert!(text.contains(&format!("x-forwarded-for: {CLIENT}\n")), "{text}");
        let without = output("curl", &["--silent", &url]).await;
        assert!(!without.status.success(), "a proxy that names nobody is served");
        let counted = wait_until(Instant::now() + SOON, || {
            (gateway.counted("reason=\"proxy-header-missing\"") == 1).then_some(())
        });
        assert!(counted.is_some(), "{}", gateway.metrics());
    });
}

#[test]
fn haproxy_behind_is_told_whose_connection_it_is() {
    run(async {
        for version in ["v1", "v2"] {
            let [endpoint, chained] = [free_address(), free_address()];
            let _behind = Haproxy::start(&behind("b", endpoint, "accept-proxy", ENDS), &[endpoint]);
            let tables = format!(
                "{}[upstream.health]\nreadiness = {{ http = \"/\", interval = \"100ms\", rise = 1 }}\n\
                 \n[[route]]\nname = \"all\"\nlisteners = [\"web\"]\nupstream = \"told\"\n",
                upstream("told", endpoint, Speaks::Http1).trim_end().to_owned()
                    + &format!("\nproxy_protocol = \"{version}\"\n")
            );
            let mut setup = Setup::to(endpoint, Speaks::Http1).listener("protocol = \"tcp\"");
            setup.tables = tables + &passes("chained", chained, TRUSTED, "told");
            let gateway = Gateway::start(&setup);
            // A check that said nothing, or named somebody wrongly, would be refused.
            let ready = wait_until(Instant::now() + SOON, || {
                let ready = "kind=\"readiness\"} 1";
                gateway.metrics().contains(ready).then_some(())
            });
            assert!(ready.is_some(), "{version}: {}", gateway.metrics());
            let text = ask(&format!("http://{}/", gateway.address()), &[]).await;
            let own = gateway.address();
            assert!(text.starts_with(&format!("{CLIENT}:")), "{version}: {text}");
            assert!(text.ends_with(&format!(" {own}")), "{version}: {text}");
            // What HAProxy says in front reaches HAProxy behind, whatever the version of each.
            for option in ["send-proxy", "send-proxy-v2"] {
                let front = free_address();
                let _front = Haproxy::start(&in_front("f", front, chained, option), &[front]);
                let text = ask(&format!("http://{front}/"), &[]).await;
                assert!(
                    text.starts_with(&format!("{CLIENT}:")),
                    "{version} {option}: {text}"
                );
                assert!(text.ends_with(&format!(" {front}")), "{version} {option}: {text}");
            }
        }
    });
}

#[test]
fn tls_is_passed_on_by_its_name_to_who_has_the_certificate() {
    run(async {
        let authority = Authority::new();
        let endpoints = [free_address(), free_address()];
        let mut sections = String::new();
        for (index, host) in ["a.example", "*.wild.example"].into_iter().enumerate() {
            let name = format!("one{index}");
            authority.issue(&name, host, 30);
            let both = [format!("{name}.pem"), format!("{name}.key")]
                .map(|file| std::fs::read_to_string(authority.path(&file)).expect("a file"))
                .concat();
            authority.put(&format!("{name}.both"), &both);
            let bind = format!("ssl crt {}", authority.path(&format!("{name}.both")));
            let says = format!("{index} %[ssl_fc_sni] %[ssl_fc_protocol]");
            sections.push_str(&behind(&name, endpoints[index], &bind, &says));
        }
        let _behind = Haproxy::start(&sections, &endpoints);
        let mut setup = Setup::to(endpoints[0], Speaks::Http1).listener("protocol = \"tls_passthrough\"");
        setup.tables = String::new();
        for (index, host) in ["a.example", "*.wild.example"].into_iter().enumerate() {
            setup.tables.push_str(&format!(
                "\n[[route]]\nname = \"r{index}\"\nlisteners = [\"web\"]\nmatch = {{ hosts = [\"{host}\"] }}\n\
                 upstream = \"u{index}\"\n{}",
                upstream(&format!("u{index}"), endpoints[index], Speaks::Http1)
            ));
        }
        let gateway = Gateway::start(&setup);
        let (port, ip, ca) = (
            gateway.address().port(),
            gateway.address().ip(),
            authority.path("ca.pem"),
        );
        for (host, says) in [
            ("a.example", "0 a.example"),
            ("x.wild.example", "1 x.wild.example"),
        ] {
            for version in ["--tlsv1.3", "--tls-max=1.2"] {
                let resolve = format!("{host}:{port}:{ip}");
                let mut options = vec!["--cacert", ca.as_str(), "--resolve", resolve.as_str()];
                options.extend(version.split('='));
                let text = ask(&format!("https://{host}:{port}/"), &options).await;
                assert!(text.starts_with(says), "{host} {version}: {text}");
            }
            // curl closes at once: whether HAProxy's last word of TLS meets an open socket is a matter of luck.
            wait_logged(&gateway, host, |entry| {
                entry.get("host") == Some(host)
                    && entry
                        .get("upstream")
                        .is_some_and(|upstream| upstream.starts_with('u'))
                    && matches!(entry.reason(), "ok" | "client-closed")
            });
        }
        let resolve = format!("b.example:{port}:{ip}");
        let url = format!("https://b.example:{port}/");
        let arguments = [
            "--show-error",
            "--silent",
            "--cacert",
            &ca,
            "--resolve",
            &resolve,
            &url,
        ];
        let refused = output("curl", &arguments).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "an unknown name is served");
        assert!(said.contains("unrecognized name"), "{said}");
        wait_logged(&gateway, "the unknown name", |entry| {
            entry.get("host") == Some("b.example") && entry.reason() == "no-route"
        });
        let plain = output("curl", &["--silent", &format!("http://{ip}:{port}/")]).await;
        assert!(!plain.status.success());
        wait_logged(&gateway, "plain HTTP", |entry| entry.reason() == "tls-unreadable");
    });
}

#[test]
fn an_endpoint_that_is_killed_under_connections_is_left_for_the_others() {
    run(async {
        let endpoints = [free_address(), free_address()];
        let [one, two] = [0, 1].map(|index| {
            let says = format!("endpoint {index}");
            Haproxy::start(&behind("b", endpoints[index], "", &says), &[endpoints[index]])
        });
        let mut setup = Setup::to(endpoints[0], Speaks::Http1).listener("protocol = \"tcp\"");
        setup.tables = format!(
            "\n[[route]]\nname = \"all\"\nlisteners = [\"web\"]\nupstream = \"pool\"\n\
             [[upstream]]\nname = \"pool\"\nendpoints = [{{ address = \"{}\" }}, {{ address = \"{}\" }}]\n\
             outlier = {{ consecutive_failures = 2, base_ejection = \"60s\" }}\n",
            endpoints[0], endpoints[1]
        );
        let gateway = Gateway::start(&setup);
        let url = format!("http://{}/", gateway.address());
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..6 {
            seen.insert(ask(&url, &[]).await);
        }
        assert_eq!(seen.len(), 2, "{seen:?}");
        drop(one);
        for _ in 0..12 {
            assert_eq!(ask(&url, &[]).await, "endpoint 1");
        }
        let failed = gateway
            .log
            .all()
            .iter()
            .filter(|entry| entry.reason() != "ok")
            .count();
        assert_eq!(failed, 0, "{:?}", gateway.log.all());
        wait_logged(&gateway, "a second try", |entry| entry.get("tries") == Some("2"));
        drop(two);
        gateway.check_idle();
    });
}
