//! TLS from outside: curl with and without a certificate of its own, and certificates that are renewed under load.

use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;
use rcgen::{KeyPair, SanType};

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::within::run;
use super::authority::{Authority, secured};
use super::{echo, output, told};

/// How often certificates are renewed under load.
const RENEWALS: u64 = 50;
/// From a renewal until it is in force: the gateway waits for a third of a second without a change.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn curl_speaks_every_version_over_tls_and_shows_a_certificate_where_it_must() {
    run(async {
        let authority = Authority::new();
        authority.issue("web", "a.example", 30);
        authority.issue("robot", "robot.example", 30);
        let server = echo().await;
        let ca = authority.path("ca.pem");
        let asking = format!("tls = {{ client_auth = \"required\", client_ca_file = \"{ca}\" }}");
        let setup = secured(
            Setup::to(server.address, Speaks::Http1),
            &authority.folder,
            &asking,
        );
        let gateway = Gateway::start(&setup);
        let address = gateway.address();
        let resolve = format!("a.example:{}:{}", address.port(), address.ip());
        let url = format!("https://a.example:{}/some", address.port());
        let (own, key) = (authority.path("robot.pem"), authority.path("robot.key"));
        for version in ["--http1.1", "--http2"] {
            for tls in ["--tls-max 1.2", "--tlsv1.3"] {
                let mut arguments = vec![
                    "--silent",
                    "--show-error",
                    "--cacert",
                    &ca,
                    "--resolve",
                    &resolve,
                    "--cert",
                    &own,
                    "--key",
                    &key,
                    version,
                ];
                arguments.extend(tls.split(' '));
                arguments.push(&url);
                let text = told("curl", &arguments).await;
                assert!(
                    text.contains("x-forwarded-proto: https"),
                    "{version} {tls}:\n{text}"
                );
            }
        }
        let nobody = [
            "--silent",
            "--show-error",
            "--cacert",
            &ca,
            "--resolve",
            &resolve,
            &url,
        ];
        let output = output("curl", &nobody).await;
        assert!(
            !output.status.success(),
            "a client without a certificate is let in"
        );
        let counted = wait_until(Instant::now() + RENEWAL_LIMIT, || {
            (gateway.counted("reason=\"tls-no-client-certificate\"") == 1).then_some(())
        });
        assert!(counted.is_some(), "{}", gateway.metrics());
    });
}

#[test]
fn curl_gets_to_the_upstream_that_its_certificate_is_for() {
    run(async {
        let authority = Authority::new();
        authority.issue("web", "a.example", 30);
        let uri = |text: &str| SanType::URI(text.try_into().expect("a URI"));
        let mail = |text: &str| SanType::Rfc822Name(text.try_into().expect("an address"));
        authority.issue_client("robot", "robot-7", Vec::new());
        authority.issue_client("job", "job", vec![uri("spiffe://example.org/jobs/1")]);
        authority.issue_client("writer", "writer", vec![mail("ann@example.org")]);
        authority.issue_client("liar", "robot-7,O=Other", Vec::new());
        authority.issue_client("other", "other", vec![uri("spiffe://example.org/other")]);
        let (rest, robots, jobs) = (echo().await, echo().await, echo().await);
        let ca = authority.path("ca.pem");
        let asking = format!("tls = {{ client_auth = \"optional\", client_ca_file = \"{ca}\" }}");
        let mut more = String::new();
        for (name, address, wanted) in [
            (
                "robots",
                robots.address,
                "subject = { regex = \"CN=robot-[0-9]+,O=Example\" }",
            ),
            (
                "jobs",
                jobs.address,
                "san = [{ type = \"uri\", prefix = \"spiffe://example.org/jobs/\" }, { type = \"email\", exact = \"ann@example.org\" }]",
            ),
        ] {
            more.push_str(&format!(
                "[[upstream]]\nname = \"{name}\"\nendpoints = [{{ address = \"{address}\" }}]\n\
                 [[route]]\nname = \"{name}\"\nlisteners = [\"web\"]\nupstream = \"{name}\"\n\
                 match = {{ path_prefix = \"/\", client_certificate = {{ {wanted} }} }}\n"
            ));
        }
        let setup = secured(Setup::to(rest.address, Speaks::Http1), &authority.folder, &asking).tables(&more);
        let gateway = Gateway::start(&setup);
        let address = gateway.address();
        let resolve = format!("a.example:{}:{}", address.port(), address.ip());
        let url = format!("https://a.example:{}/some", address.port());
        let rows = [
            (Some("robot"), "robots"),
            (Some("job"), "jobs"),
            (Some("writer"), "jobs"),
            (Some("liar"), "-"),
            (Some("other"), "-"),
            (None, "-"),
        ];
        for (index, (name, upstream)) in rows.into_iter().enumerate() {
            let files = name.map(|name| {
                let file = |ending| authority.path(&format!("{name}.{ending}"));
                (file("pem"), file("key"))
            });
            let mut arguments = vec!["--silent", "--show-error", "--cacert", &ca, "--resolve", &resolve];
            if let Some((own, key)) = &files {
                arguments.extend(["--cert", own, "--key", key]);
            }
            arguments.push(&url);
            let text = told("curl", &arguments).await;
            assert!(text.contains("x-forwarded-proto: https"), "{name:?}:\n{text}");
            let wanted = match upstream {
                "-" => rest.address,
                "robots" => robots.address,
                _ => jobs.address,
            };
            let lines = gateway.log.wait(index + 1, |_| true);
            let line = lines.last().expect("a line");
            assert_eq!(
                line.get("endpoint"),
                Some(wanted.to_string().as_str()),
                "{name:?} is for {upstream}: {line:?}"
            );
        }
    });
}

#[test]
fn certificates_that_are_renewed_fifty_times_under_load_fail_no_handshake_and_no_request() {
    run(async {
        let authority = Authority::new();
        authority.issue("web", "a.example", 100);
        let server = echo().await;
        let setup = secured(
            Setup::to(server.address, Speaks::Http1).workers(2),
            &authority.folder,
            "",
        );
        let gateway = Gateway::start(&setup);
        let url = format!("https://{}/some", gateway.address());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        // One after another: every request has a handshake of its own, or goes on over a connection from before.
        let loads = ["Connection: close", "X-Plain: yes"].map(|field| {
            let (url, stop) = (url.clone(), std::sync::Arc::clone(&stop));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                let mut runs = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let arguments = ["-t1", "-c4", "-d3s", "-H", field, &url];
                    let text = told("wrk", &arguments).await;
                    if text.contains("Socket errors") || text.contains("Non-2xx") {
                        failed.push(text);
                    }
                    runs += 1;
                }
                (runs, failed)
            })
        });
        let expiry = |gateway: &Gateway| {
            let text = gateway.metrics();
            let line = text
                .lines()
                .find(|line| line.starts_with("gateway_tls_certificate_expiry_seconds{"));
            line.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
                .unwrap_or(0)
        };
        tokio::task::block_in_place(|| {
            for renewal in 1..=RENEWALS {
                let before = expiry(&gateway);
                authority.issue("web", "a.example", 100 + renewal);
                let renewed = wait_until(Instant::now() + RENEWAL_LIMIT, || {
                    (expiry(&gateway) > before).then_some(())
                });
                assert!(
                    renewed.is_some(),
                    "renewal {renewal} is not taken over: {}",
                    gateway.said()
                );
            }
            // Half of a pair changes nothing.
            let before = expiry(&gateway);
            let (_, key) = (authority.path("web.pem"), KeyPair::generate().expect("a key"));
            authority.put("web.key", &key.serialize_pem());
            gateway.wait_said("a renewed file is not taken", RENEWAL_LIMIT);
            assert_eq!(expiry(&gateway), before);
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for load in loads {
            let (runs, failed) = load.await.expect("a load");
            assert!(
                runs > 0 && failed.is_empty(),
                "of {runs} runs these failed:\n{}",
                failed.join("\n")
            );
        }
        for reason in ["tls-cut", "tls-failed", "tls-incompatible"] {
            // wrk cuts its connections when its time is over.
            let counted = gateway.counted(&format!("reason=\"{reason}\""));
            assert!(reason == "tls-cut" || counted == 0, "{reason}: {counted}");
        }
    });
}
