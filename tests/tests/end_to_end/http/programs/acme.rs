//! Certificates by ACME, of Pebble: Let's Encrypt's own server for tests, which refuses nonces now and then on purpose.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;

use super::super::gateway::{Gateway, Setup, Speaks, die_with_parent, free_address, upstream};
use super::super::within::run;
use super::authority::Authority;
use super::{echo, output, told};

/// An order takes a second or two, and some tries where the authority is not there yet.
const SOON: Duration = Duration::from_secs(120);
/// How often certificates are renewed under load.
const RENEWALS: u64 = 4;
/// Of a hundred nonces, those that Pebble refuses though they are good: clients must ask for another.
const NONCES_REFUSED: &str = "30";
/// What Pebble's account is bound to, from its example.
const BINDING: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);

/// Where an authority is, before it runs.
struct Place {
    directory: SocketAddr,
    management: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
            listener.local_addr().expect("its address")
        };
        Self {
            directory: free(),
            management: free(),
        }
    }
}

/// A running authority, with the DNS server that it asks.
struct Pebble {
    processes: Vec<Child>,
}

impl Pebble {
    /// Every name leads to the gateway, whose plain listener stands for port 80. Accounts are bound, or not.
    fn start(place: &Place, authority: &Authority, gateway: &Gateway, bound: Option<(&str, &str)>) -> Self {
        Self::start_to(place, authority, gateway.address(), bound)
    }

    /// The same where names lead elsewhere.
    fn start_to(
        place: &Place,
        authority: &Authority,
        plain: SocketAddr,
        bound: Option<(&str, &str)>,
    ) -> Self {
        let dns = free_address();
        let management = free_address();
        let mut servers = Command::new("pebble-challtestsrv");
        servers
            .args(["-defaultIPv4", &plain.ip().to_string(), "-defaultIPv6", ""])
            .args(["-dns01", &dns.to_string(), "-management", &management.to_string()])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        let keys = match bound {
            Some((id, key)) => format!("\"externalAccountMACKeys\": {{ \"{id}\": \"{key}\" }},"),
            None => String::new(),
        };
        let config = format!(
            "{{ \"pebble\": {{ \"listenAddress\": \"{}\", \"managementListenAddress\": \"{}\", \
             \"certificate\": \"{}\", \"privateKey\": \"{}\", \"httpPort\": {}, \"tlsPort\": 1, {keys} \
             \"ocspResponderURL\": \"\", \"externalAccountBindingRequired\": {} }} }}",
            place.directory,
            place.management,
            authority.path("pebble.pem"),
            authority.path("pebble.key"),
            plain.port(),
            bound.is_some(),
        );
        authority.put("pebble.json", &config);
        let mut pebble = Command::new("pebble");
        pebble
            .args([
                "-config",
                &authority.path("pebble.json"),
                "-dnsserver",
                &dns.to_string(),
            ])
            .env("PEBBLE_WFE_NONCEREJECT", NONCES_REFUSED)
            .env("PEBBLE_VA_NOSLEEP", "1");
        let processes = [("challtestsrv", servers), ("pebble", pebble)].map(|(name, command)| {
            let said = File::create(authority.folder.join(format!("{name}.said"))).expect("a file");
            launch(command, said)
        });
        let up = wait_until(Instant::now() + SOON, || {
            [place.directory, place.management, management]
                .iter()
                .all(|address| TcpStream::connect(address).is_ok())
                .then_some(())
        });
        assert!(up.is_some(), "pebble does not start");
        Self {
            processes: processes.into(),
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Fails only where it has ended.
            drop(process.kill());
            if let Err(error) = process.wait() {
                eprintln!("pebble: {error}");
            }
        }
    }
}

fn launch(mut command: Command, said: File) -> Child {
    let also = said.try_clone().expect("a file");
    command.stdin(Stdio::null()).stdout(said).stderr(also);
    // SAFETY: `die_with_parent` makes one system call and touches no memory: that is allowed after a fork.
    unsafe { command.pre_exec(die_with_parent) };
    let started = command.spawn();
    assert!(started.is_ok(), "{command:?}: {:?}; install it", started.err());
    started.expect("checked above")
}

/// All that comes over plain HTTP is sent to https; over TLS the upstream answers, by a certificate of that authority.
fn setup(server: SocketAddr, secure: SocketAddr, place: &Place, authority: &Authority, more: &str) -> Setup {
    let folder = authority.folder.display();
    let tables = format!(
        "{}\n[[listener]]\nname = \"secure\"\naddress = \"{secure}\"\nprotocol = \"https\"\n\
         certificates = [{{ cert_file = \"{folder}/had/a.pem\", key_file = \"{folder}/had/a.key\", \
         acme_names = [\"a.example\", \"www.a.example\"] }}]\n\
         [[route]]\nname = \"moved\"\nlisteners = [\"web\"]\nmatch = {{ path_prefix = \"/\" }}\n\
         redirect = {{ scheme = \"https\", status = 308 }}\n\
         [[route]]\nname = \"all\"\nlisteners = [\"secure\"]\nmatch = {{ path_prefix = \"/\" }}\nupstream = \"pool\"\n\
         [acme]\ndirectory = \"https://{}/dir\"\nterms_of_service_agreed = true\n\
         contact = [\"mailto:ops@a.example\"]\nca_file = \"{folder}/ca.pem\"\n\
         account_key_file = \"{folder}/account/key.pem\"\nretry = \"1s\"\n{more}",
        upstream("pool", server, Speaks::Http1),
        place.directory,
    );
    Setup {
        workers: 2,
        listener: String::new(),
        defaults: String::new(),
        tables,
    }
}

/// Orders that ended so.
fn orders(gateway: &Gateway, outcome: &str) -> u64 {
    let label = format!("gateway_acme_orders_total{{name=\"a.example\",outcome=\"{outcome}\"}}");
    gateway.counted(&label)
}

/// Waits until so many certificates were issued, and the last of them is in force.
fn wait_issued(gateway: &Gateway, secure: SocketAddr, file: &Path, count: u64) {
    let issued = wait_until(Instant::now() + SOON, || {
        (orders(gateway, "issued") >= count && is_served(secure, file)).then_some(())
    });
    assert!(
        issued.is_some(),
        "order {count} comes to nothing: {}\n{}",
        gateway.status()["acme"],
        gateway.said()
    );
}

/// Whether clients are shown what is in the file.
fn is_served(secure: SocketAddr, file: &Path) -> bool {
    let Ok(kept) = std::fs::read_to_string(file) else {
        return false;
    };
    let mut command = Command::new("openssl");
    let address = secure.to_string();
    command.args(["s_client", "-connect", &address, "-servername", "a.example"]);
    let shown = command.stdin(Stdio::null()).output().expect("openssl");
    let first = |text: &str| {
        let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
        let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
        Some(body.split_whitespace().collect::<String>())
    };
    let shown = first(&String::from_utf8_lossy(&shown.stdout));
    shown.is_some() && shown == first(&kept)
}

/// The root of what Pebble issues, by its management API.
async fn root(place: &Place, authority: &Authority) -> PathBuf {
    let url = format!("https://{}/roots/0", place.management);
    let ca = authority.path("ca.pem");
    let root = told(
        "curl",
        &["--silent", "--show-error", "--fail", "--cacert", &ca, &url],
    )
    .await;
    authority.put("root.pem", &root);
    authority.folder.join("root.pem")
}

/// Whether a client that believes that root alone gets the upstream's answer.
async fn is_believed(secure: SocketAddr, root: &Path) -> bool {
    let resolve = format!("www.a.example:{}:{}", secure.port(), secure.ip());
    let url = format!("https://www.a.example:{}/some", secure.port());
    let root = root.display().to_string();
    let arguments = [
        "--silent",
        "--show-error",
        "--fail",
        "--cacert",
        &root,
        "--resolve",
        &resolve,
        &url,
    ];
    output("curl", &arguments).await.status.success()
}

#[test]
fn a_certificate_is_had_from_nothing_renewed_under_load_and_stays_while_the_authority_is_down() {
    run(async {
        let authority = Authority::new();
        authority.issue("pebble", "127.0.0.1", 30);
        let (place, secure, server) = (Place::new(), free_address(), echo().await);
        let gateway = Gateway::start(&setup(server.address, secure, &place, &authority, ""));
        let file = authority.folder.join("had/a.pem");

        // Nobody is there to issue anything: the node runs, and the name is refused.
        let nothing = authority.folder.join("ca.pem");
        assert!(!is_believed(secure, &nothing).await);
        gateway
            .log
            .wait(1, |entry| entry.get("reason") == Some("tls-certificate-awaited"));
        gateway.wait_said("a certificate cannot be had", SOON);
        assert!(gateway.status()["acme"][0]["valid_until"].is_null());

        // From nothing to a certificate that clients verify, though all plain requests are sent elsewhere.
        let pebble = Pebble::start(&place, &authority, &gateway, None);
        tokio::task::block_in_place(|| wait_issued(&gateway, secure, &file, 1));
        let believed = root(&place, &authority).await;
        assert!(is_believed(secure, &believed).await, "{}", gateway.said());
        let challenges = gateway
            .log
            .wait(1, |entry| entry.get("reason") == Some("acme-challenge"));
        assert!(!challenges.is_empty());
        let status = gateway.command(&["status"]).output().expect("an answer");
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("a.example, www.a.example  2"), "{status}");
        let events = gateway.command(&["events"]).output().expect("an answer");
        let events = String::from_utf8_lossy(&events.stdout).into_owned();
        assert!(events.contains("acme  none -> issued: valid until 2"), "{events}");
        assert!(events.contains("acme  none -> failed: connecting to"), "{events}");

        // Another node with the account's key answers for this one's orders.
        other_node_answers(
            &gateway,
            &setup(server.address, free_address(), &place, &authority, ""),
        )
        .await;

        // Renewed under load.
        let stop = Arc::new(AtomicBool::new(false));
        let load = {
            let (url, stop) = (format!("https://{secure}/some"), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut runs, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let arguments = ["-t1", "-c4", "-d2s", "-H", "Connection: close", &url];
                    let text = told("wrk", &arguments).await;
                    if text.contains("Socket errors") || text.contains("Non-2xx") {
                        failed.push(text);
                    }
                    runs += 1;
                }
                (runs, failed)
            })
        };
        tokio::task::block_in_place(|| {
            for _ in 0..RENEWALS {
                let issued = orders(&gateway, "issued");
                let before = std::fs::read(&file).expect("a certificate");
                std::fs::remove_file(&file).expect("a file");
                wait_issued(&gateway, secure, &file, issued + 1);
                assert_ne!(std::fs::read(&file).expect("a certificate"), before);
            }
        });
        stop.store(true, Ordering::Relaxed);
        let (runs, failed) = load.await.expect("a load");
        assert!(
            runs > 0 && failed.is_empty(),
            "of {runs} runs these failed:\n{}",
            failed.join("\n")
        );

        // The authority goes, and the file with it: what was had is served on, and it is told.
        drop(pebble);
        let failures = orders(&gateway, "failed");
        std::fs::remove_file(&file).expect("a file");
        tokio::task::block_in_place(|| {
            let told = wait_until(Instant::now() + SOON, || {
                (orders(&gateway, "failed") > failures).then_some(())
            });
            assert!(told.is_some(), "{}", gateway.said());
        });
        assert!(
            is_believed(secure, &believed).await,
            "the old one is gone: {}",
            gateway.said()
        );
        assert_eq!(gateway.status()["acme"][0]["last_order"]["outcome"], "failed");
        assert_eq!(gateway.counted("gateway_acme_last_order_failed{"), 1);

        // Another takes its place, which knows neither the account nor its own root.
        let issued = orders(&gateway, "issued");
        let pebble = Pebble::start(&place, &authority, &gateway, None);
        tokio::task::block_in_place(|| wait_issued(&gateway, secure, &file, issued + 1));
        let believed = root(&place, &authority).await;
        assert!(is_believed(secure, &believed).await, "{}", gateway.said());
        drop(pebble);
    });
}

async fn other_node_answers(gateway: &Gateway, setup: &Setup) {
    let other = Gateway::start(setup);
    let path = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    let mut answers = Vec::new();
    for node in [gateway, &other] {
        let url = format!("http://{}{path}", node.address());
        answers.push(
            told(
                "curl",
                &["--silent", "--fail", "--header", "host: a.example", &url],
            )
            .await,
        );
    }
    assert!(
        answers[0].starts_with("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA."),
        "{answers:?}"
    );
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn an_account_that_is_bound_to_another_is_made_with_a_new_key_and_not_with_one_that_is_there() {
    run(async {
        let authority = Authority::new();
        authority.issue("pebble", "127.0.0.1", 30);
        authority.put("eab.key", BINDING.1);
        let (place, secure, server) = (Place::new(), free_address(), echo().await);
        let bound = format!(
            "external_account = {{ key_id = \"{}\", key_file = \"{}\" }}\n",
            BINDING.0,
            authority.path("eab.key")
        );
        let gateway = Gateway::start(&setup(server.address, secure, &place, &authority, &bound));
        let file = authority.folder.join("had/a.pem");
        let pebble = Pebble::start(&place, &authority, &gateway, Some(BINDING));
        tokio::task::block_in_place(|| wait_issued(&gateway, secure, &file, 1));
        let believed = root(&place, &authority).await;
        assert!(is_believed(secure, &believed).await, "{}", gateway.said());

        // Of one that does not know the account, nothing can be had with this key; with a new one it can.
        drop(pebble);
        let pebble = Pebble::start(&place, &authority, &gateway, Some(BINDING));
        std::fs::remove_file(&file).expect("a file");
        tokio::task::block_in_place(|| {
            gateway.wait_said("a binding is made with a new key only: remove the file", SOON);
            std::fs::remove_file(authority.folder.join("account/key.pem")).expect("a file");
            wait_issued(&gateway, secure, &file, 2);
        });
        drop(pebble);
    });
}

#[test]
fn a_name_that_does_not_lead_here_is_told_in_the_authoritys_words_and_holds_up_nothing() {
    run(async {
        let authority = Authority::new();
        authority.issue("pebble", "127.0.0.1", 30);
        let (place, secure, server) = (Place::new(), free_address(), echo().await);
        let gateway = Gateway::start(&setup(server.address, secure, &place, &authority, ""));
        let pebble = Pebble::start_to(&place, &authority, free_address(), None);
        gateway.wait_said("the authority says: a.example: ", SOON);
        gateway.wait_said("urn:ietf:params:acme:error:", SOON);
        // Nobody listens there; plain requests are served all the while.
        let url = format!("http://{}/some", gateway.address());
        let moved = told(
            "curl",
            &["--silent", "--head", "--header", "host: a.example", &url],
        )
        .await;
        assert!(moved.starts_with("HTTP/1.1 308 "), "{moved}");
        drop(pebble);
    });
}
