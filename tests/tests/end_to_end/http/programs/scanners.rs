//! Scanners that auditors run: testssl.sh and sslyze find nothing above "low" at a listener.
//!
//! The listener has a chain of P-256 certificates, and the fields for browsers that docs/tls.md recommends. What a scanner
//! holds against the authority, or cannot find out here, is listed with its reason; all else fails the test, and so does a
//! reason that nothing needs any more.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::peers::Server;
use super::super::within::run_within;
use super::authority::{Authority, secured};
use super::{echo, output_within};

/// testssl.sh makes some hundred handshakes, each by programs of its own: 59 s with TLS 1.2 and 36 s without, on two cores
/// that had other work.
const TESTSSL_LIMIT: Duration = Duration::from_secs(240);
/// sslyze makes as many, at once.
const SSLYZE_LIMIT: Duration = Duration::from_secs(60);
/// Where the test found sslyze.
const SSLYZE_VARIABLE: &str = "GATEWAY_SSLYZE";

/// How often sslyze comes back with a ticket.
const RESUMPTIONS: u64 = 5;

/// The host that is scanned.
const HOST: &str = "a.example";
/// What docs/tls.md recommends.
const FILTERS: &str = "filters = [{ name = \"browsers\", headers = { response = { set = { \
     strict-transport-security = \"max-age=63072000\", x-content-type-options = \"nosniff\", \
     x-frame-options = \"SAMEORIGIN\" } } } }]";

/// Findings of testssl.sh that are not the listener's.
const EXCUSED: [(&str, &str); 2] = [
    (
        "cert_revocation",
        "the authority of the test publishes neither revocations nor a responder",
    ),
    (
        "engine_problem",
        "the scanner's openssl lacks GOST's ciphers, which no listener has",
    ),
];

/// What testssl.sh now and then says that it could not find out, by a warning. Its client ends with its empty input, which in
/// TLS 1.3 may be before it has read the ticket that follows the handshake; then it has none to come back with. That tickets
/// are taken is seen by the test of sslyze.
const UNSURE: [&str; 1] = ["sessionresumption_ticket"];

/// What is scanned.
struct Scanned {
    authority: Authority,
    gateway: Gateway,
    _server: Server,
}

async fn scanned(tls: &str) -> Scanned {
    let authority = Authority::new();
    // Mozilla would have them replaced within 90 days, testssl.sh warns 60 days before their end.
    authority.issue_chain("web", HOST, 80);
    let server = echo().await;
    let setup = Setup::to(server.address, Speaks::Http1)
        .workers(2)
        .listener(FILTERS);
    let gateway = Gateway::start(&secured(setup, &authority.folder, tls));
    Scanned {
        authority,
        gateway,
        _server: server,
    }
}

/// A finding of testssl.sh.
struct Finding {
    id: String,
    severity: String,
    text: String,
}

/// All that testssl.sh found, on protocols, ciphers, the certificate, headers and vulnerabilities.
async fn testssl(scanned: &Scanned) -> Vec<Finding> {
    let address = scanned.gateway.address();
    let (ip, url) = (
        address.ip().to_string(),
        format!("https://{HOST}:{}/", address.port()),
    );
    let (ca, told) = (
        scanned.authority.path("ca.pem"),
        scanned.authority.path("found.json"),
    );
    let what = [
        "--protocols",
        "--std",
        "--pfs",
        "--server-defaults",
        "--server-preference",
        "--headers",
        "--vulnerable",
    ];
    let how = [
        "--ip",
        &ip,
        "--nodns",
        "none",
        "--warnings",
        "off",
        "--add-ca",
        &ca,
        "--quiet",
        "--color",
        "0",
        "--connect-timeout",
        "5",
        "--openssl-timeout",
        "5",
        "--jsonfile",
        &told,
        &url,
    ];
    let arguments: Vec<&str> = what.into_iter().chain(how).collect();
    let began = Instant::now();
    let output = output_within("testssl", &arguments, TESTSSL_LIMIT).await;
    println!("testssl took {:.0} s", began.elapsed().as_secs_f64());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = std::fs::read_to_string(&told);
    assert!(text.is_ok(), "testssl wrote no findings:\n{said}");
    let found: Result<Vec<Value>, _> = serde_json::from_str(&text.expect("checked above"));
    assert!(found.is_ok(), "testssl: {found:?}\n{said}");
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let found = found.expect("checked above");
    let found = found.iter().map(|one| Finding {
        id: text(one, "id"),
        severity: text(one, "severity"),
        text: text(one, "finding"),
    });
    found.collect()
}

/// Fails with all that is above "low" and not excused; `good` must have been looked at, and be good.
fn judge(found: &[Finding], excused: &[(&str, &str)], good: &[&str]) {
    let is_harmless = |one: &Finding| matches!(one.severity.as_str(), "OK" | "INFO" | "LOW" | "DEBUG");
    let is_excused = |one: &Finding| excused.iter().any(|(id, _)| one.id.split(' ').next() == Some(id));
    let is_unsure = |one: &Finding| one.severity == "WARN" && UNSURE.contains(&one.id.as_str());
    let bad = found
        .iter()
        .filter(|one| !is_harmless(one) && !is_excused(one) && !is_unsure(one));
    let bad: Vec<String> = bad
        .map(|one| format!("{} {}: {}", one.severity, one.id, one.text))
        .collect();
    assert!(bad.is_empty(), "findings above \"low\":\n{}", bad.join("\n"));
    for id in good {
        let one = found.iter().find(|one| one.id == *id);
        let severity = one.map_or("was not looked at", |one| one.severity.as_str());
        assert_eq!(
            severity,
            "OK",
            "{id}: {}",
            one.map_or("", |one| one.text.as_str())
        );
    }
    for (id, why) in excused {
        let is_needed = found
            .iter()
            .any(|one| one.id.split(' ').next() == Some(id) && !is_harmless(one));
        assert!(is_needed, "{id} need not be excused any more ({why})");
    }
}

#[test]
fn testssl_finds_nothing_above_low() {
    run_within(TESTSSL_LIMIT, async {
        let scanned = scanned("").await;
        let found = testssl(&scanned).await;
        let good = [
            "SSLv2",
            "SSLv3",
            "TLS1_2",
            "TLS1_3",
            "HSTS_time",
            "heartbleed",
            "CCS",
            "ticketbleed",
            "ROBOT",
            "secure_renego",
            "CRIME_TLS",
            "POODLE_SSL",
            "SWEET32",
            "FREAK",
            "DROWN",
            "LOGJAM",
            "BEAST",
            "RC4",
            "PFS",
            "cert_chain_of_trust",
        ];
        judge(&found, &EXCUSED, &good);
    });
}

#[test]
fn testssl_finds_nothing_above_low_where_only_tls_1_3_is_spoken() {
    run_within(TESTSSL_LIMIT, async {
        let scanned = scanned("tls = { min_version = \"1.3\" }").await;
        let found = testssl(&scanned).await;
        let good = ["SSLv2", "SSLv3", "TLS1_3", "HSTS_time", "PFS"];
        judge(&found, &EXCUSED, &good);
        let old = found.iter().find(|one| one.id == "TLS1_2");
        assert!(
            old.is_some_and(|one| one.text.contains("not offered")),
            "{}",
            old.map_or("", |one| &one.text)
        );
    });
}

/// What sslyze found, and that it takes the listener for compliant with that configuration of Mozilla's.
async fn sslyze(scanned: &Scanned, profile: &str) -> Value {
    let program = std::env::var(SSLYZE_VARIABLE).unwrap_or_else(|_| "sslyze".to_owned());
    let (ca, told) = (
        scanned.authority.path("ca.pem"),
        scanned.authority.path("found.json"),
    );
    let target = scanned.gateway.address().to_string();
    let arguments = [
        "--mozilla_config",
        profile,
        "--certinfo_ca_file",
        &ca,
        "--sni",
        HOST,
        "--resum",
        "--early_data",
        "--http_headers",
        "--json_out",
        &told,
        &target,
    ];
    let began = Instant::now();
    let output = output_within(&program, &arguments, SSLYZE_LIMIT).await;
    println!("sslyze took {:.0} s", began.elapsed().as_secs_f64());
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let said = said.concat();
    // It ends well where it could not connect, too.
    assert!(
        output.status.success() && said.contains("OK - Compliant"),
        "sslyze says of Mozilla's \"{profile}\" (is {SSLYZE_VARIABLE} set, as `cargo xtask test` does?):\n{said}"
    );
    let text = std::fs::read_to_string(Path::new(&told)).expect("what it found");
    let found: Value = serde_json::from_str(&text).expect("JSON");
    found["server_scan_results"][0]["scan_result"].clone()
}

/// What each question came to.
fn check(found: &Value, rows: &[(&str, Value)]) {
    for (path, wanted) in rows {
        let (command, member) = path.split_once('.').expect("a command and a member");
        assert_eq!(
            found[command]["status"], "COMPLETED",
            "{path}: {:#}",
            found[command]
        );
        let pointer = format!("/result/{}", member.replace('.', "/"));
        let got = found[command].pointer(&pointer);
        assert_eq!(got, Some(wanted), "{path}: {:#}", found[command]["result"]);
    }
}

/// What holds for each listener.
fn always() -> Vec<(&'static str, Value)> {
    let versions = [
        "ssl_2_0_cipher_suites.is_tls_version_supported",
        "ssl_3_0_cipher_suites.is_tls_version_supported",
        "tls_1_0_cipher_suites.is_tls_version_supported",
        "tls_1_1_cipher_suites.is_tls_version_supported",
    ];
    let mut rows: Vec<(&str, Value)> = versions.map(|path| (path, false.into())).into();
    rows.extend([
        ("tls_1_3_cipher_suites.is_tls_version_supported", true.into()),
        ("tls_1_3_early_data.supports_early_data", false.into()),
        ("tls_compression.supports_compression", false.into()),
        ("heartbleed.is_vulnerable_to_heartbleed", false.into()),
        (
            "openssl_ccs_injection.is_vulnerable_to_ccs_injection",
            false.into(),
        ),
        ("robot.robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED".into()),
        (
            "session_renegotiation.is_vulnerable_to_client_renegotiation_dos",
            false.into(),
        ),
        (
            "http_headers.strict_transport_security_header.max_age",
            63_072_000.into(),
        ),
    ]);
    rows
}

fn names(found: &Value, pointer: &str, name: &str) -> Vec<String> {
    let all = found.pointer(pointer).and_then(Value::as_array).cloned();
    let mut names: Vec<String> = all
        .unwrap_or_default()
        .iter()
        .filter_map(|one| one.pointer(name)?.as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn sslyze_takes_a_listener_for_mozillas_intermediate_configuration() {
    run_within(SSLYZE_LIMIT, async {
        let scanned = scanned("").await;
        let found = sslyze(&scanned, "intermediate").await;
        check(&found, &always());
        check(
            &found,
            &[
                ("tls_1_2_cipher_suites.is_tls_version_supported", true.into()),
                ("session_renegotiation.supports_secure_renegotiation", true.into()),
                ("tls_extended_master_secret.supports_ems_extension", true.into()),
                // No node keeps a table of sessions.
                (
                    "session_resumption.session_id_resumption_result",
                    "NOT_SUPPORTED".into(),
                ),
            ],
        );
        let accepted = "/tls_1_2_cipher_suites/result/accepted_cipher_suites";
        assert_eq!(
            names(&found, accepted, "/cipher_suite/name"),
            [
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            ]
        );
        let curves = "/elliptic_curves/result/supported_curves";
        assert_eq!(
            names(&found, curves, "/name"),
            ["X25519", "secp256r1", "secp384r1"]
        );
        // sslyze takes only that for resumed after which the client has the ticket that it came with; it gets a new one.
        let resumed = scanned.gateway.counted("kind=\"resumed\"");
        assert!(resumed >= RESUMPTIONS, "{resumed} of {RESUMPTIONS} were resumed");
    });
}

#[test]
fn sslyze_takes_a_listener_of_tls_1_3_alone_for_mozillas_modern_configuration() {
    run_within(SSLYZE_LIMIT, async {
        let scanned = scanned("tls = { min_version = \"1.3\" }").await;
        let found = sslyze(&scanned, "modern").await;
        check(&found, &always());
        check(
            &found,
            &[("tls_1_2_cipher_suites.is_tls_version_supported", false.into())],
        );
    });
}
