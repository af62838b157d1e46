//! Hellos, good and bad, cut into records and segments in every way.

use std::sync::Arc;

use super::*;

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend(with_length(content));
    out
}

fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, name) in names {
        list.push(*kind);
        list.extend(with_length(name));
    }
    extension(SERVER_NAME, &with_length(&list))
}

fn sni(name: &str) -> Vec<u8> {
    names(&[(HOST_NAME, name.as_bytes())])
}

/// A message with those extensions; `None`: without the field.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([8; 32]);
    body.extend(with_length(&[0x13, 1, 0x13, 2]));
    body.extend([1, 0]);
    body.extend(extensions.map(with_length).unwrap_or_default());
    let mut message = vec![CLIENT_HELLO];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    message
}

/// In records of so many bytes.
fn records(message: &[u8], bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in message.chunks(bytes) {
        out.extend([HANDSHAKE, MAJOR, 1]);
        out.extend(with_length(piece));
    }
    out
}

fn whole(bytes: &[u8]) -> Result<Option<Hello>, Fault> {
    Reader::default().feed(bytes)
}

/// Reads it in every two pieces, and byte by byte; all must agree.
fn read(bytes: &[u8]) -> Result<Option<Hello>, Fault> {
    let expected = whole(bytes);
    for cut in 0..=bytes.len() {
        let mut reader = Reader::default();
        let (one, two) = bytes.split_at(cut);
        let got = match reader.feed(one) {
            Ok(None) => reader.feed(two),
            early => early,
        };
        assert_eq!(got, expected, "cut at {cut}");
    }
    let mut reader = Reader::default();
    let mut got = Ok(None);
    for byte in bytes {
        got = reader.feed(&[*byte]);
        if got != Ok(None) {
            break;
        }
    }
    assert_eq!(got, expected, "byte by byte");
    expected
}

#[test]
fn names_are_found_however_the_hello_is_cut() {
    let other = extension(43, &[2, 3, 4]);
    let rows: Vec<(Vec<u8>, Option<&str>, &str)> = vec![
        (sni("a.example"), Some("a.example"), "a name"),
        (sni("A.Example"), Some("a.example"), "in lower case"),
        (sni("a.example."), Some("a.example"), "without the dot at its end"),
        (
            [other.clone(), sni("b.example")].concat(),
            Some("b.example"),
            "behind another",
        ),
        (
            [sni("c.example"), other.clone()].concat(),
            Some("c.example"),
            "before another",
        ),
        (
            names(&[(9, b"x"), (HOST_NAME, b"d.example")]),
            Some("d.example"),
            "beside a name of another kind",
        ),
        (other, None, "no name"),
        (Vec::new(), None, "no extension"),
    ];
    for (extensions, expected, why) in rows {
        let message = message(Some(&extensions));
        for bytes in [1, 3, 40, message.len()] {
            let name = expected.map(str::to_owned);
            let mut input = records(&message, bytes);
            assert_eq!(read(&input), Ok(Some(Hello { name: name.clone() })), "{why}");
            input.extend(b"what follows is not looked at");
            assert_eq!(whole(&input), Ok(Some(Hello { name })), "{why}");
        }
    }
    let without = records(&message(None), 100);
    assert_eq!(read(&without), Ok(Some(Hello { name: None })), "an old hello");
}

#[test]
fn what_is_no_hello_is_refused_and_what_may_become_one_is_waited_for() {
    let good = message(Some(&sni("a.example")));
    let long = "x".repeat(254);
    let mut other_message = good.clone();
    other_message[0] = 2;
    let mut cut_inside = good.clone();
    // A list that says it is longer than the message.
    let at = cut_inside.len() - 1;
    cut_inside.truncate(at);
    cut_inside[3] -= 1;
    let mut more_inside = good.clone();
    more_inside.push(0);
    more_inside[3] += 1;
    let bad = |extensions: &[u8]| records(&message(Some(extensions)), 512);
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (b"GET / HTTP/1.1\r\n".to_vec(), "plain HTTP"),
        (vec![HANDSHAKE, 2, 0], "another major version"),
        (vec![21, 3, 1, 0, 2, 1, 0], "an alert"),
        (vec![HANDSHAKE, 3, 1, 0, 0], "an empty record"),
        (vec![HANDSHAKE, 3, 1, 0x40, 1], "a record that is too long"),
        (records(&other_message, 512), "another message"),
        (records(&cut_inside, 512), "a list that is cut"),
        (records(&more_inside, 512), "something behind the extensions"),
        (
            bad(&[sni("a.example"), sni("b.example")].concat()),
            "two extensions with names",
        ),
        (
            bad(&names(&[(HOST_NAME, b"a.example"), (HOST_NAME, b"b.example")])),
            "two hosts",
        ),
        (bad(&names(&[])), "no host in it"),
        (bad(&sni("")), "an empty name"),
        (bad(&sni(".")), "a dot alone"),
        (bad(&sni("a b.example")), "a space"),
        (bad(&sni("a\0.example")), "a NUL"),
        (bad(&sni("ä.example")), "no ASCII"),
        (bad(&sni(&long)), "too long a name"),
        (
            bad(&extension(SERVER_NAME, &[0, 9, 0])),
            "a list of names that is cut",
        ),
        (bad(&extension(SERVER_NAME, &[])), "no list of names"),
    ];
    for (bytes, why) in rows {
        assert_eq!(read(&bytes), Err(Fault::Unreadable), "{why}");
    }
    let whole_record = records(&good, 512);
    for cut in 0..whole_record.len() {
        assert_eq!(whole(&whole_record[..cut]), Ok(None), "cut at {cut}");
    }
}

#[test]
fn a_hello_may_have_sixteen_kilobytes_and_no_more() {
    let filled = |bytes: usize| {
        let padding = extension(21, &vec![0; bytes]);
        message(Some(&[padding, sni("a.example")].concat()))
    };
    let frame = filled(0).len() + RECORD_HEADER_BYTES;
    let fits = records(&filled(HELLO_BYTES_MAX - frame), RECORD_BYTES_MAX);
    assert_eq!(fits.len(), HELLO_BYTES_MAX);
    let name = Some("a.example".to_owned());
    assert_eq!(whole(&fits), Ok(Some(Hello { name })));
    let longer = records(&filled(HELLO_BYTES_MAX - frame + 1), RECORD_BYTES_MAX);
    assert_eq!(whole(&longer), Err(Fault::TooLong));
    // Nor in records of one byte, which cost six.
    let dripped = records(&filled(4_000), 1);
    assert_eq!(whole(&dripped), Err(Fault::TooLong));
    assert_eq!(
        whole(&[HANDSHAKE, 3, 1, 0, 4, 1, 1, 0, 0]),
        Err(Fault::TooLong),
        "as it says"
    );
}

#[test]
fn the_hello_of_a_real_client_is_read() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "real.example".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    let name = Some("real.example".to_owned());
    assert_eq!(read(&bytes), Ok(Some(Hello { name })));
}
