//! TLS from outside: curl with and without a certificate of its own, and certificates that are renewed under load.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use gateway_tests::lab::wait::wait_until;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::within::run;
use super::{echo, output, told};

/// How often certificates are renewed under load.
const RENEWALS: u64 = 50;
/// From a renewal until it is in force: the gateway waits for a third of a second without a change.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

/// An authority with a folder, removed in the end.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Self {
        let folder =
            std::env::temp_dir().join(format!("gateway-certificates-{:016x}", rand::random::<u64>()));
        fs::create_dir(&folder).expect("a folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test root");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root");
        let authority = Self { issuer, folder };
        authority.put("ca.pem", &authority.issuer.pem());
        authority
    }

    /// Writes `NAME.pem` and `NAME.key`, each whole by a rename, the certificate valid for so many days.
    pub(super) fn issue(&self, name: &str, host: &str, days: u64) {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, host);
        params.not_before = (SystemTime::now() - Duration::from_secs(86_400)).into();
        params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.put(&format!("{name}.pem"), &certificate.pem());
        self.put(&format!("{name}.key"), &key.serialize_pem());
    }

    pub(super) fn put(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        let new = self.folder.join("new");
        fs::write(&new, content).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("its mode");
        fs::rename(&new, self.folder.join(name)).expect("a file in its place");
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
    }
}

fn secured(setup: Setup, folder: &Path, more: &str) -> Setup {
    let file = |name: &str| folder.join(name).display().to_string();
    setup
        .listener("protocol = \"https\"")
        .listener(&format!(
            "certificates = [{{ cert_file = \"{}\", key_file = \"{}\" }}]",
            file("web.pem"),
            file("web.key")
        ))
        .listener(more)
}

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
