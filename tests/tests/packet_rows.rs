//! `cargo xtask packets` as its users see it: the example, rows that are wrong, input that is wrong; and our own cases
//! through it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_tests::packet_rows::compare::{Leeway, Likeness, compare};
use gateway_tests::packet_rows::config;
use gateway_tests::packet_rows::{Input, own_cases, report, rows, run};

const EXAMPLE_CONFIG: &str = "packets/example.toml";
const EXAMPLE_ROWS: &str = "packets/example.tsv";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file of this test's own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn packets(config: &Path, rows: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway-packets"));
    command.arg("--config").arg(config).arg(rows).args(more);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The frames of an example's row: what comes in, what is expected.
fn frames(name: &str) -> (Vec<u8>, Vec<u8>) {
    let rows = rows::read(&example(EXAMPLE_ROWS)).unwrap();
    let row = rows.into_iter().find(|row| row.name == name).unwrap();
    (row.frame, row.expected.unwrap())
}

const TO_OWNER: &str = "SYN goes to the owner";

/// The bytes of that example's outer headers that the rows below change: of the frame with Ethernet, IPv4, UDP, GUE.
const ETHERNET_DESTINATION: usize = 5;
const OUTER_TTL: usize = 22;
const OUTER_ID: usize = 19;
const OUTER_CHECKSUM: usize = 24;
const OUTER_SOURCE: usize = 29;
const GUE_SOURCE_PORT: usize = 35;
const GUE_HOPS: usize = 49;
const INNER_TTL: usize = 66;

#[test]
fn root_example_is_as_its_rows_say() {
    let json = file("example.json", "");
    let output = packets(
        &example(EXAMPLE_CONFIG),
        &example(EXAMPLE_ROWS),
        &["--json", json.to_str().unwrap()],
    );
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert_eq!(said.lines().last(), Some("13 passed, 0 failed"));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 13);
    assert_eq!(json["rows"][2]["verdict"], "XDP_TX");
    assert_eq!(json["rows"][2]["reason"], "to-owner");
    assert_eq!(json["rows"][2]["result"], "equal after normalisation");
    assert_eq!(json["targets"][0]["holds"], true);
}

#[test]
fn root_wrong_rows_are_told_with_the_fields_that_differ() {
    let (frame, mut expected) = frames(TO_OWNER);
    expected[INNER_TTL] -= 1;
    expected.extend([0xab; 3]);
    let [frame, expected] = [frame, expected].map(|bytes| STANDARD.encode(bytes));
    let table = format!("wrong frame\tXDP_TX\t{frame}\t{expected}\nwrong action\tXDP_DROP\t{frame}\t-\n");
    let output = packets(&example(EXAMPLE_CONFIG), &file("wrong.tsv", &table), &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", text(&output.stderr));
    for part in [
        "different                   wrong frame (XDP_TX, to-owner)",
        "inner IPv4",
        "TTL: expected 63, found 64",
        "3 bytes behind the headers, expected",
        "ab ab ab",
        "line 2: expected XDP_DROP, found XDP_TX: to-owner",
    ] {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
    assert_eq!(said.lines().last(), Some("0 passed, 2 failed"));
}

/// Lowers bytes by one, and makes the outer checksum fit.
fn changed(frame: &[u8], at: &[usize]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for at in at {
        frame[*at] = frame[*at].wrapping_sub(1);
    }
    frame[OUTER_CHECKSUM..OUTER_CHECKSUM + 2].fill(0);
    let mut sum: u32 = (frame[14..34].chunks(2))
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    frame[OUTER_CHECKSUM..OUTER_CHECKSUM + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

#[test]
fn frames_may_differ_in_what_senders_choose_and_in_nothing_else() {
    let (_, frame) = frames(TO_OWNER);
    /// Name, bytes that are changed, what is said to differ; `None`: the frames are unlike.
    type Row = (&'static str, &'static [usize], Option<&'static [&'static str]>);
    let rows: [Row; 8] = [
        ("next hop", &[ETHERNET_DESTINATION], Some(&["next-hop MACs"])),
        ("outer source", &[OUTER_SOURCE], Some(&["outer source address"])),
        ("IP id", &[OUTER_ID], Some(&["IP id"])),
        (
            "source port of GUE",
            &[GUE_SOURCE_PORT],
            Some(&["GUE source port"]),
        ),
        (
            "several",
            &[OUTER_SOURCE, GUE_SOURCE_PORT],
            Some(&["outer source address", "GUE source port"]),
        ),
        ("outer TTL", &[OUTER_TTL], None),
        ("hops", &[GUE_HOPS], None),
        ("what is inside", &[INNER_TTL], None),
    ];
    for (name, at, alike) in rows {
        match (compare(&frame, &changed(&frame, at), Leeway::OfSenders), alike) {
            (Likeness::EqualAfterNormalisation(fields), Some(alike)) => assert_eq!(fields, alike, "{name}"),
            (Likeness::Different { .. }, None) => {}
            (likeness, _) => panic!("{name}: {likeness:?}"),
        }
        let strict = compare(&frame, &changed(&frame, at), Leeway::None);
        assert!(!strict.holds(), "{name}, without leeway");
    }
    assert_eq!(compare(&frame, &frame, Leeway::None), Likeness::Equal);
}

#[test]
fn checksum_over_a_field_that_may_differ_must_be_right_by_itself() {
    let (_, frame) = frames(TO_OWNER);
    let mut wrong = changed(&frame, &[OUTER_ID]);
    wrong[OUTER_CHECKSUM] ^= 0x40;
    let Likeness::Different { faults, .. } = compare(&frame, &wrong, Leeway::OfSenders) else {
        panic!("a wrong checksum went through");
    };
    assert!(faults[0].contains("would be right"), "{faults:?}");
}

#[test]
fn frames_cut_short_anywhere_are_taken_apart_as_far_as_they_go() {
    for row in rows::read(&example(EXAMPLE_ROWS)).unwrap() {
        for end in 14..row.frame.len() {
            let cut = &row.frame[..end];
            assert!(
                !compare(&row.frame, cut, Leeway::OfSenders).holds(),
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn everything_that_is_wrong_with_both_files_is_told_at_once() {
    let config = r#"
encapsulation = "geneve"
hash_kee = "00"
[node]
name = "gw-1"
addres = "10.0.0.11"
[[nodes]]
name = "gw-1"
address = "10.0.0.300"
mac = "02:00"
weight = -1
[[vip]]
address = "203.0.113.10"
ports = [80, 70000]
nodes = ["gw-l", 7]
quic = true
[[vip]]
address = "203.0.113.11"
listeners = true
[[vip]]
address = "203.0.113.11"
protocol = "sctp"
previous = ["gw-1", "gw-1"]
"#;
    let table = "# comment\n\nno tabs here\nname\tXDP_TXX\t!!\t-\n\tXDP_PASS\tAAAA\t-\n";
    let [config, table] = [file("bad.toml", config), file("bad.tsv", table)];
    let output = packets(&config, &table, &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for part in [
        "bad.toml:2: encapsulation: \"geneve\" is not known here; known here: gue, ipip, l2",
        "bad.toml:3: hash_kee: unknown key; did you mean hash_key?",
        "node.addres: unknown key; did you mean address?",
        "nodes[0].name: \"gw-1\" is the name of another node, too; give each node a name of its own",
        "nodes[0].address: \"10.0.0.300\" is not understood; write an IPv4 address",
        "nodes[0].mac: \"02:00\" is not understood; write six bytes",
        "nodes[0].weight: -1 is out of range, or no number; write a whole number from 0 to 1000",
        "vip[0].ports[1]: 70000 is out of range, or no number; write a whole number from 1 to 65535",
        "vip[0].nodes[0]: no node is named \"gw-l\"; did you mean \"gw-1\"?",
        "vip[0].nodes[1]: is not text; write the name of a node in quotes",
        "vip[0].quic: QUIC without UDP; add protocol = \"udp\", or leave quic out",
        "vip[1].listeners: a listener at each of 65,535 ports; list the ports at which there is one",
        "vip[2].protocol: \"sctp\" is not known here",
        "vip[2]: all ports of 203.0.113.11 have a VIP already; leave one of the two out",
        "bad.tsv:3: 1 columns; write name, action, frame and expected frame",
        "bad.tsv:4: unknown action \"XDP_TXX\"; did you mean XDP_TX?",
        "bad.tsv:4: the frame is no base64",
        "bad.tsv:5: the name is empty; say what the row shows",
        "bad.tsv:5: the frame has 3 bytes; give 14 to 3520 bytes",
        "problems; nothing was sent",
    ] {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let output = packets(Path::new("no.toml"), Path::new("no.tsv"), &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("no.toml: cannot be read") && said.contains("no.tsv: cannot be read"),
        "{said}"
    );
}

#[test]
fn root_our_own_cases_that_need_no_state_are_as_their_rows_say() {
    for ((name, encapsulation), rows_min) in own_cases::ENCAPSULATIONS.iter().zip([100, 3, 3]) {
        let config_text = own_cases::config(name);
        let config = config::parse(Path::new("cases.toml"), &config_text)
            .unwrap_or_else(|refused| panic!("{refused}\n{config_text}"));
        let rows = rows::parse(Path::new("cases.tsv"), &own_cases::rows(*encapsulation)).unwrap();
        assert!(rows.len() >= rows_min, "only {} rows for {name}", rows.len());
        let mut judged = run(Input { config, rows }).unwrap();
        let (_, failed) = report::sum(&judged);
        judged.retain(|row| !row.holds());
        assert_eq!(failed, 0, "with {name}:\n{}", report::text(&judged));
    }
}
