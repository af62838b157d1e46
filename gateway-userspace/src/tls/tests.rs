//! Certificates, who gets which, tickets, and what files may hold.

use std::time::{Duration, SystemTime};

use rustls::server::ProducesTickets;

use super::testing::{Authority, Folder};
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_pair_is_read_with_all_that_it_says() {
    let pair = Authority::new("root").pair(&["A.example", "*.b.example", "192.0.2.7"]);
    assert_eq!(pair.facts.subject, "CN=A.example");
    assert_eq!(pair.facts.dns_names, ["a.example", "*.b.example"]);
    assert_eq!(
        pair.facts.addresses,
        ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]
    );
    let now = SystemTime::now();
    assert_eq!(pair.facts.check(now), Ok(()));
    let late = pair.facts.check(now + 31 * DAY).unwrap_err();
    assert!(late.starts_with("expired ") && late.ends_with(" ago"), "{late}");
    let early = pair.facts.check(now - 2 * DAY).unwrap_err();
    assert!(
        early.starts_with("is valid in ") && early.ends_with(" only"),
        "{early}"
    );
}

#[test]
fn a_clients_certificate_is_read_with_its_names_by_their_kinds() {
    let (authority, folder) = (Authority::new("root"), Folder::new());
    let parts = [
        (rcgen::DnType::OrganizationName, "Example"),
        (rcgen::DnType::CommonName, "robot"),
    ];
    let names = ["A.example", "spiffe://example.org/Jobs", "Robot@example.org"];
    let (file, _) = folder.pair("client", &authority.issue_client(&parts, &names));
    let read = ClientCertificate::load(&file).unwrap();
    let strings = |text: &str| vec![text.to_owned()];
    let expected = ClientCertificate {
        subject: "CN=robot,O=Example".to_owned(),
        dns: strings("a.example"),
        uris: strings("spiffe://example.org/Jobs"),
        emails: strings("Robot@example.org"),
    };
    assert_eq!(read, expected);
    let fault = ClientCertificate::load(&folder.file("none.pem", "", 0o644)).unwrap_err();
    assert!(fault.to_string().contains("holds no certificate"), "{fault}");
}

#[test]
fn files_that_will_not_do_are_named_with_fault_and_remedy() {
    let (authority, folder) = (Authority::new("root"), Folder::new());
    let (certificate, key) = authority.issue(&["a.example"]);
    let (_, other_key) = authority.issue(&["a.example"]);
    let good = folder.pair("good", &(certificate.clone(), key.clone()));
    assert!(Pair::load(&good.0, &good.1).is_ok());
    let file = |name: &str, content: &str, mode| folder.file(name, content, mode);
    let half = &certificate[..certificate.len() / 2];
    let rows = [
        (
            folder.path().join("none.pem"),
            good.1.clone(),
            Part::Certificate,
            "cannot be read",
        ),
        (
            file("empty.pem", "", 0o644),
            good.1.clone(),
            Part::Certificate,
            "holds no certificate",
        ),
        (
            file("half.pem", half, 0o644),
            good.1.clone(),
            Part::Certificate,
            "broken PEM",
        ),
        (
            file("key.pem", &key, 0o600),
            good.1.clone(),
            Part::Certificate,
            "holds no certificate",
        ),
        (
            folder.path().to_owned(),
            good.1.clone(),
            Part::Certificate,
            "is not a file",
        ),
        (
            good.0.clone(),
            file("open.key", &key, 0o644),
            Part::Key,
            "has mode 0644",
        ),
        (
            good.0.clone(),
            file("half.key", &key[..60], 0o600),
            Part::Key,
            "broken PEM",
        ),
        (
            good.0.clone(),
            file("cert.key", &certificate, 0o600),
            Part::Key,
            "holds no private key",
        ),
        (
            good.0.clone(),
            file("other.key", &other_key, 0o600),
            Part::Key,
            "is not the key of the certificate",
        ),
    ];
    for (cert_file, key_file, part, expected) in rows {
        let fault = Pair::load(&cert_file, &key_file).unwrap_err();
        assert_eq!(fault.part, part, "{fault}");
        assert!(fault.to_string().contains(expected), "{fault} lacks {expected:?}");
        assert!(!fault.to_string().contains("PRIVATE KEY-----\n"), "{fault}");
        assert!(!fault.remedy.is_empty());
    }
}

#[test]
fn an_exact_name_comes_before_a_wildcard_and_what_nothing_fits_gets_the_default() {
    let authority = Authority::new("root");
    let pairs = vec![
        authority.pair(&["a.example", "www.a.example"]),
        authority.pair(&["*.a.example"]),
        authority.pair(&["b.example", "a.example"]),
        authority.pair(&["default.example"]),
    ];
    let choice = Choice::new(pairs.into_iter().map(Held::Pair).collect(), 3);
    let chosen = |name: Option<&str>| {
        let chosen = choice.choose(name);
        choice
            .all()
            .iter()
            .position(|held| choice.choose(held.names().first().map(String::as_str)) == chosen)
    };
    let rows = [
        (Some("a.example"), 0, "exact, and the first of two"),
        (Some("www.a.example"), 0, "exact before wildcard"),
        (Some("api.a.example"), 1, "wildcard"),
        (Some("x.api.a.example"), 3, "a wildcard stands for one label"),
        (Some("b.example"), 2, "exact"),
        (Some("b.example."), 2, "a dot at the end"),
        (Some("c.example"), 3, "nobody's"),
        (Some("localhost"), 3, "one label"),
        (None, 3, "no name"),
    ];
    for (name, expected, why) in rows {
        // The wildcard's own first name is no host; it is found by one that it covers.
        let found = match chosen(name) {
            Some(index) => index,
            None => {
                assert_eq!(
                    choice.choose(name),
                    choice.choose(Some("other.a.example")),
                    "{why}"
                );
                1
            }
        };
        assert_eq!(found, expected, "{why}");
    }
}

fn text(keys: [u8; 3]) -> String {
    keys.map(|key| format!("{}\n", format!("{key:02x}").repeat(KEY_BYTES)))
        .concat()
}

#[test]
fn three_keys_are_read_and_anything_else_is_named_without_showing_it() {
    let keys = TicketKeys::parse(&text([1, 2, 3])).unwrap();
    assert_eq!(keys.current, [2; KEY_BYTES]);
    assert_eq!(format!("{keys:?}"), "TicketKeys(…)");
    let rows = [
        (String::new(), TicketKeysError::Count(0)),
        (text([1, 2, 3]) + &text([4, 5, 6]), TicketKeysError::Count(6)),
        (text([1, 2, 3]).replacen("02", "zz", 1), TicketKeysError::Line(2)),
        (text([1, 2, 3]).replacen("03", "", 1), TicketKeysError::Line(3)),
        (text([1, 2, 1]), TicketKeysError::Twice),
    ];
    for (text, expected) in rows {
        assert_eq!(TicketKeys::parse(&text), Err(expected));
    }
}

#[test]
fn tickets_open_with_the_key_before_and_the_one_after_and_for_the_same_terms_only() {
    let sealer = |keys: [u8; 3], terms: &[u8]| TicketKeys::parse(&text(keys)).unwrap().sealer(terms).unwrap();
    let now = sealer([1, 2, 3], b"web");
    let ticket = now.encrypt(b"a session").unwrap();
    let opened = |sealer: &dyn ProducesTickets| sealer.decrypt(&ticket);
    assert_eq!(opened(&now).as_deref(), Some(&b"a session"[..]));
    assert_eq!(
        opened(&sealer([2, 3, 4], b"web")).as_deref(),
        Some(&b"a session"[..]),
        "one change later"
    );
    assert_eq!(
        opened(&sealer([0, 1, 2], b"web")).as_deref(),
        Some(&b"a session"[..]),
        "one change behind"
    );
    assert_eq!(opened(&sealer([3, 4, 5], b"web")), None, "two changes later");
    assert_eq!(
        opened(&sealer([1, 2, 3], b"web, and a certificate")),
        None,
        "other terms"
    );
    // Whatever is changed of it: nothing, and no panic.
    for at in 0..ticket.len() {
        let mut forged = ticket.clone();
        forged[at] ^= 1;
        assert_eq!(now.decrypt(&forged), None, "byte {at}");
        assert_eq!(now.decrypt(&ticket[..at]), None, "cut at {at}");
    }
    assert_ne!(now.encrypt(b"a session").unwrap(), ticket, "never the same twice");
}

#[test]
fn own_keys_rotate_so_that_the_last_still_opens() {
    let keys = TicketKeys::random();
    let next = keys.rotated();
    assert_eq!((next.previous, next.current), (keys.current, keys.next));
    assert_ne!(next.next, keys.next);
}

#[test]
fn terms_change_with_what_clients_must_show_and_not_with_certificates() {
    let (authority, keys) = (Authority::new("root"), TicketKeys::random());
    let settings = ServerSettings {
        min_version: MinVersion::Tls12,
        client_auth: ClientAuth::None,
        client_roots: None,
        handshakes_max: 10,
        pairs: vec![authority.pair(&["a.example"]).into()],
        default: 0,
    };
    let made = |settings: &ServerSettings| ServerTls::new("web", settings, &keys).unwrap();
    let first = made(&settings);
    let renewed = ServerSettings {
        pairs: vec![authority.pair(&["a.example"]).into()],
        ..settings.clone()
    };
    assert!(made(&renewed).has_terms_of(&first));
    let newer = ServerSettings {
        min_version: MinVersion::Tls13,
        ..settings.clone()
    };
    assert!(!made(&newer).has_terms_of(&first));
    let asking = ServerSettings {
        client_auth: ClientAuth::Required,
        client_roots: Some(authority.roots()),
        ..settings.clone()
    };
    assert!(!made(&asking).has_terms_of(&first));
    let others = ServerSettings {
        client_roots: Some(Authority::new("other").roots()),
        ..asking.clone()
    };
    assert!(!made(&others).has_terms_of(&made(&asking)));
    assert!(made(&asking).has_terms_of(&made(&asking)));
}

#[test]
fn who_trusts_as_many_believes_what_another_did() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let tls = |authorities: &[&Authority], name: Option<&str>, pair: Option<Pair>| {
        let mut roots = one.roots();
        roots.certificates = authorities
            .iter()
            .flat_map(|authority| authority.roots().certificates)
            .collect();
        let name = name.map(|name| rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap());
        ClientTls::new(&ClientSettings { roots, name, pair }).unwrap()
    };
    let before = tls(&[&one], None, None);
    let rows = [
        ("the same", tls(&[&one], None, None), true),
        (
            "a certificate of ours",
            tls(&[&one], None, Some(one.pair(&["a.example"]))),
            true,
        ),
        ("one more authority", tls(&[&two, &one], None, None), true),
        ("another authority", tls(&[&two], None, None), false),
        ("a name", tls(&[&one], Some("a.example"), None), false),
    ];
    for (what, after, believes) in rows {
        assert_eq!(after.believes_as(&before), believes, "{what}");
    }
}
