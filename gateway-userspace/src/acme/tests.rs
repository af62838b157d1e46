//! The issuer against an authority of the test's own that says what it is told to: what becomes of failures, and of ARI.
//! A real authority is in the end-to-end tests.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::names::Names;
use crate::tls::testing::{Authority, Folder};
use crate::tls::{
    ClientAuth, ClientSettings, ClientTls, Facts, MinVersion, ServerSettings, ServerTls, TicketKeys,
};

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(20);

/// What is answered to a request's first line.
type Script = fn(&str, SocketAddr) -> String;

/// An authority's server, believed by `ca`.
async fn server(ca: &Authority, script: Script) -> SocketAddr {
    let settings = ServerSettings {
        min_version: MinVersion::Tls12,
        client_auth: ClientAuth::None,
        client_roots: None,
        handshakes_max: 10,
        pairs: vec![ca.pair(&["127.0.0.1"]).into()],
        default: 0,
    };
    let tls = ServerTls::new("server", &settings, &TicketKeys::random()).unwrap();
    let acceptor = TlsAcceptor::from(tls.config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 8_192];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let answer = script(head.lines().next().unwrap_or_default(), address);
            // Who is content, or not, may be gone already.
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.shutdown().await);
        }
    });
    address
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

fn directory(address: SocketAddr, more: &str) -> String {
    let body = format!(
        r#"{{"newNonce":"https://{address}/nonce","newAccount":"https://{address}/account","newOrder":"https://{address}/order"{more}}}"#
    );
    answer("200 OK", "", &body)
}

/// With the account's key in the folder.
fn settings(ca: &Authority, folder: &Folder, directory: &str) -> Settings {
    let client = ClientSettings {
        roots: ca.roots(),
        name: None,
        pair: None,
    };
    let wanted = Wanted {
        names: vec!["a.example".to_owned()],
        cert_file: folder.path().join("a.pem"),
        key_file: folder.path().join("a.key"),
        listeners: vec!["web".to_owned()],
    };
    let key = KeyPair::generate().unwrap();
    Settings {
        directory: directory.parse().unwrap(),
        tls: Arc::new(ClientTls::new(&client).unwrap()),
        contact: Vec::new(),
        account_key_file: folder.file("account.key", &key.serialize_pem(), 0o600),
        binding: None,
        retry: Duration::from_secs(300),
        spread: Duration::ZERO,
        wanted: vec![Arc::new(wanted)],
    }
}

fn issuer(events: &Events) -> (Issuer, Arc<Thumbprint>) {
    let (runtime, thumbprint) = (Handle::current(), Arc::<Thumbprint>::default());
    let names = Names::start(runtime.clone()).asker();
    let issuer = Issuer::start(runtime, names, events.clone(), Arc::clone(&thumbprint));
    (issuer, thumbprint)
}

/// How the first order ended, once it has.
async fn ended(issuer: &Issuer) -> Shown {
    let ended = async {
        loop {
            let shown = issuer.shown().remove(0);
            if shown.last.is_some() && shown.next.is_some() {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, ended).await.unwrap()
}

fn wait_of(shown: &Shown) -> Duration {
    let (at, _) = shown.next.as_ref().unwrap();
    at.duration_since(SystemTime::now()).unwrap()
}

#[tokio::test]
async fn an_authority_that_is_down_is_told_of_and_left_alone_for_a_while() {
    let (ca, folder, events) = (Authority::new("ca"), Folder::new(), Events::default());
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = settings(&ca, &folder, &format!("https://{gone}/directory"));
    let (issuer, thumbprint) = issuer(&events);
    issuer.apply(Some(&settings));
    let shown = ended(&issuer).await;
    let key = AccountKey::load(&settings.account_key_file).unwrap().unwrap();
    assert_eq!(
        thumbprint.get().as_deref(),
        Some(key.thumbprint.as_str()),
        "others' orders are answered"
    );
    let (outcome, _, why) = shown.last.clone().unwrap();
    assert_eq!(outcome, Last::Failed);
    assert!(why.contains(&format!("connecting to {gone} failed: ")), "{why}");
    let wait = wait_of(&shown);
    assert!(
        wait > Duration::from_secs(290) && wait < Duration::from_secs(376),
        "{wait:?}"
    );
    // Looks and the same settings again order nothing.
    for _ in 0..20 {
        issuer.look();
        issuer.apply(Some(&settings));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(issuer.shown()[0].failed, 1);
    let told = events.kept();
    assert_eq!(told.len(), 1, "{told:?}");
    let event = &told[0];
    assert_eq!(
        (event.kind, event.to.as_str(), event.from.as_str()),
        (crate::events::Kind::Acme, "failed", "none")
    );
    assert_eq!(event.listener.as_deref(), Some("web"));
    assert!(
        event.why.contains("the next try is in 5m") || event.why.contains("the next try is in 6m"),
        "{event:?}"
    );
    // Other settings are tried at once, and what was counted stays.
    let mut other = settings.clone();
    other.retry = Duration::from_secs(600);
    issuer.apply(Some(&other));
    let failed_twice = async {
        while issuer.shown()[0].failed < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, failed_twice).await.unwrap();
    issuer.apply(None);
    assert_eq!((issuer.shown(), thumbprint.get()), (Vec::new(), None));
}

#[tokio::test]
async fn what_an_authority_says_is_told_in_its_words_and_its_patience_is_kept() {
    let rows: [(Script, &str, u64); 4] = [
        (
            |line, address| match line.split(' ').nth(1) {
                Some("/directory") => directory(address, ""),
                Some("/nonce") => answer("200 OK", "replay-nonce: n1\r\n", ""),
                _ => answer(
                    "429 Too Many Requests",
                    "content-type: application/problem+json\r\nretry-after: 7200\r\nreplay-nonce: n2\r\n",
                    r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many accounts"}"#,
                ),
            },
            "the authority says: too many accounts (urn:ietf:params:acme:error:rateLimited)",
            7_200,
        ),
        (
            |_, _| {
                answer(
                    "503 Service Unavailable",
                    "content-type: text/html\r\nretry-after: 3600\r\n",
                    "<p>",
                )
            },
            "answered 503 Service Unavailable",
            3_600,
        ),
        (|_, _| answer("200 OK", "", "no directory"), "JSON", 300),
        (
            |line, address| match line.split(' ').nth(1) {
                Some("/directory") => answer(
                    "200 OK",
                    "",
                    &directory(address, "")
                        .split_once("\r\n\r\n")
                        .unwrap()
                        .1
                        .replace("https", "http"),
                ),
                _ => answer("200 OK", "replay-nonce: n1\r\n", ""),
            },
            "/nonce is no https URL",
            300,
        ),
    ];
    for (script, expected, seconds) in rows {
        let (ca, folder) = (Authority::new("ca"), Folder::new());
        let address = server(&ca, script).await;
        let (issuer, _) = issuer(&Events::default());
        issuer.apply(Some(&settings(
            &ca,
            &folder,
            &format!("https://{address}/directory"),
        )));
        let shown = ended(&issuer).await;
        let (_, _, why) = shown.last.clone().unwrap();
        assert!(why.contains(expected), "{why}");
        let wait = wait_of(&shown);
        assert!(wait > Duration::from_secs(seconds - 10), "{expected}: {wait:?}");
    }
}

#[tokio::test]
async fn an_authority_that_is_not_believed_is_not_asked() {
    let (ca, other, folder) = (Authority::new("ca"), Authority::new("other"), Folder::new());
    let address = server(&ca, |_, address| directory(address, "")).await;
    let (issuer, _) = issuer(&Events::default());
    issuer.apply(Some(&settings(
        &other,
        &folder,
        &format!("https://{address}/directory"),
    )));
    let (_, _, why) = ended(&issuer).await.last.unwrap();
    assert!(why.contains("the TLS handshake with"), "{why}");
}

/// A certificate that says by which key it was signed, as those of authorities do.
fn facts(folder: &Folder) -> Facts {
    let params = CertificateParams::default();
    let authority = rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(vec![0x12, 0x34].into());
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let (cert_file, key_file) = folder.pair("a", &(certificate.pem(), key.serialize_pem()));
    Facts::clone(&crate::tls::Pair::load(&cert_file, &key_file).unwrap().facts)
}

#[tokio::test]
async fn the_authority_is_asked_when_a_certificate_is_to_be_renewed_and_not_again_before_it_says() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let facts = facts(&folder);
    let address = server(&ca, |line, address| {
        let path = line.split(' ').nth(1).unwrap_or_default();
        // The key's name, a dot, and the serial number 0x1234.
        if path.starts_with("/info/") && path.ends_with(".EjQ") {
            let window =
                r#"{"suggestedWindow":{"start":"2031-01-02T00:00:00Z","end":"2031-01-03T00:00:00Z"}}"#;
            answer("200 OK", "retry-after: 21600\r\n", window)
        } else {
            directory(address, &format!(r#","renewalInfo":"https://{address}/info""#))
        }
    })
    .await;
    let settings = settings(&ca, &folder, &format!("https://{address}/directory"));
    let suggestion = asked(&settings, &facts).await;
    let at = humantime::parse_rfc3339("2031-01-02T12:00:00Z").unwrap();
    assert_eq!(suggestion.of(&facts), Some(at));
    let now = Instant::now();
    let after = |seconds| suggestion.is_due(&facts, now + Duration::from_secs(seconds));
    assert_eq!([after(0), after(21_000), after(21_700)], [false, false, true]);
    let other = self::facts(&folder);
    assert!(
        suggestion.is_due(&other, now) && suggestion.of(&other).is_none(),
        "of another it said nothing"
    );
}

#[tokio::test]
async fn an_authority_that_says_nothing_of_renewals_changes_nothing() {
    let rows: [(Script, u64); 3] = [
        (|_, address| directory(address, ""), 24 * 3_600),
        (|_, _| answer("503 Service Unavailable", "", ""), 6 * 3_600),
        (
            |line, address| match line.contains("/info/") {
                true => answer("200 OK", "retry-after: 1\r\n", "{}"),
                false => directory(address, &format!(r#","renewalInfo":"https://{address}/info""#)),
            },
            6 * 3_600,
        ),
    ];
    for (script, seconds) in rows {
        let (ca, folder) = (Authority::new("ca"), Folder::new());
        let facts = facts(&folder);
        let address = server(&ca, script).await;
        let suggestion = asked(
            &settings(&ca, &folder, &format!("https://{address}/directory")),
            &facts,
        )
        .await;
        assert_eq!(suggestion.of(&facts), None);
        let now = Instant::now();
        let after = |seconds| suggestion.is_due(&facts, now + Duration::from_secs(seconds));
        assert_eq!([after(seconds - 60), after(seconds)], [false, true], "{seconds}");
    }
}

async fn asked(settings: &Settings, facts: &Facts) -> Suggestion {
    let names = Names::start(Handle::current()).asker();
    let client = Client::new(names, Arc::clone(&settings.tls));
    let key = AccountKey::load(Path::new(&settings.account_key_file))
        .unwrap()
        .unwrap();
    let mut suggestion = Suggestion::default();
    suggestion
        .ask(settings, &key, &client, facts, Chance::of(0.5))
        .await;
    suggestion
}
