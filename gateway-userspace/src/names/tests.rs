//! Names against a DNS server of the test's own, on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::config::load::load_text;
use crate::config::surroundings::Surroundings;

/// What the server knows: addresses and TTL of each name; a name without addresses fails.
pub(crate) type Zone = Arc<Mutex<BTreeMap<&'static str, (Vec<IpAddr>, u32)>>>;

/// A DNS server over UDP that answers from a zone that can be changed; NXDOMAIN for what is not in it.
pub(crate) async fn server(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            message.metadata.recursion_available = true;
            let query = message.queries[0].clone();
            let host = query.name().to_ascii().trim_end_matches('.').to_lowercase();
            let known = zone.lock().unwrap().get(host.as_str()).cloned();
            match known {
                None => message.metadata.response_code = ResponseCode::NXDomain,
                Some((addresses, _)) if addresses.is_empty() => {
                    message.metadata.response_code = ResponseCode::ServFail;
                }
                Some((addresses, ttl)) => {
                    for address in addresses {
                        let (kind, data) = match address {
                            IpAddr::V4(v4) => (RecordType::A, RData::A(v4.into())),
                            IpAddr::V6(v6) => (RecordType::AAAA, RData::AAAA(v6.into())),
                        };
                        if kind == query.query_type() {
                            message.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                        }
                    }
                }
            }
            socket.send_to(&message.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn settings(server: SocketAddr, hosts: &[&str]) -> Settings {
    let endpoints: String = hosts
        .iter()
        .map(|host| format!("{{address='{host}:8080'}},"))
        .collect();
    let text = format!(
        "[node]\nname='a'\n[dns]\nservers=['{server}']\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
         [[upstream]]\nname='users'\nendpoints=[{{address='10.0.9.9:80'}},{endpoints}]\n"
    );
    let surroundings = Surroundings {
        cores: 1,
        state_directory: PathBuf::from("/state"),
        invalid: crate::config::surroundings::Invalid::Refused,
    };
    load_text(Path::new("t.toml"), &text, &surroundings).unwrap()
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn metrics(names: &Names) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    register_metrics(&mut registry, names);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test]
async fn answers_follow_the_server_and_survive_its_failures() {
    let zone = Zone::default();
    let set = |addresses: Vec<IpAddr>, ttl| zone.lock().unwrap().insert("users.internal", (addresses, ttl));
    set(addresses(&["10.0.0.2", "10.0.0.1", "2001:db8::1"]), 0);
    let names = Names::start(Handle::current());
    names.apply(&settings(server(Arc::clone(&zone)).await, &["Users.internal"]));
    assert_eq!(names.first_answers().await, FirstAnswers::Asked);
    let of = || names.answers().of("users.internal").to_vec();
    assert_eq!(of(), addresses(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
    assert_eq!(names.answers_number(), 1);

    set(addresses(&["10.0.0.3", "0.0.0.0"]), 0);
    wait_until("the new address", || of() == addresses(&["10.0.0.3"])).await;
    assert_eq!(names.answers_number(), 2);

    let failures = || {
        let counters = names.shared.counters();
        counters["users.internal"].failed.load(Ordering::Relaxed)
    };
    set(Vec::new(), 0);
    wait_until("a failure", || failures() > 0).await;
    assert_eq!(of(), addresses(&["10.0.0.3"]), "what was good stays");

    set(addresses(&["10.0.0.4"]), 60);
    wait_until("the server's return", || of() == addresses(&["10.0.0.4"])).await;
    let text = metrics(&names);
    for line in [
        "gateway_name_resolutions_total{host=\"users.internal\"} ",
        "gateway_name_failures_total{host=\"users.internal\"} ",
        "gateway_name_answer_age_seconds{host=\"users.internal\"} ",
        "gateway_name_addresses{host=\"users.internal\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn only_names_of_the_configuration_are_asked_for() {
    let zone = Zone::default();
    for (host, address) in [("one.internal", "10.0.0.1"), ("two.internal", "10.0.0.2")] {
        zone.lock().unwrap().insert(host, (addresses(&[address]), 600));
    }
    let server = server(Arc::clone(&zone)).await;
    let names = Names::start(Handle::current());
    names.apply(&settings(server, &["one.internal", "absent.internal"]));
    assert_eq!(names.first_answers().await, FirstAnswers::Asked);
    let known = || {
        names
            .answers()
            .by_name
            .keys()
            .map(|host| host.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        known(),
        ["one.internal"],
        "a name that does not exist has no answer"
    );

    let next = settings(server, &["one.internal", "two.internal."]);
    names.prepare(&next);
    assert_eq!(names.first_answers().await, FirstAnswers::Asked);
    assert_eq!(
        known(),
        ["one.internal", "two.internal."],
        "prepared beside the old ones"
    );
    assert!(names.running().contains_key("absent.internal"));
    names.apply(&settings(server, &["two.internal."]));
    assert_eq!(known(), ["two.internal."], "those that are gone are forgotten");
    assert_eq!(names.running().len(), 1);
    assert!(!metrics(&names).contains("one.internal"));
    names.apply(&settings(server, &[]));
    assert!(names.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_does_not_keep_a_start_waiting() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let names = Names::start(Handle::current());
    names.apply(&settings(silent.local_addr().unwrap(), &["users.internal"]));
    let begun = Instant::now();
    assert_eq!(names.first_answers().await, FirstAnswers::Asked);
    assert!(begun.elapsed() < FIRST_ANSWERS_MAX, "{:?}", begun.elapsed());
    assert_eq!(names.answers(), Answers::default());
    wait_until("the failure is counted", || {
        let counters = names.shared.counters();
        counters["users.internal"].failed.load(Ordering::Relaxed) > 0
    })
    .await;
}

#[tokio::test]
async fn names_of_this_machine_need_no_server() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let names = Names::start(Handle::current());
    names.apply(&settings(silent.local_addr().unwrap(), &["localhost"]));
    assert_eq!(names.first_answers().await, FirstAnswers::Asked);
    assert_eq!(
        names.answers().of("localhost"),
        addresses(&["127.0.0.1", "::1"]),
        "RFC 6761, section 6.3"
    );
}

#[tokio::test]
async fn names_of_others_are_asked_of_the_servers_in_force() {
    let (zone, other) = (Zone::default(), Zone::default());
    let put = |zone: &Zone, host, texts: &[&str]| {
        zone.lock().unwrap().insert(host, (addresses(texts), 60));
    };
    put(&zone, "id.internal", &["10.0.0.1", "2001:db8::1"]);
    put(&other, "id.internal", &["10.0.0.9"]);
    put(&other, "broken.internal", &[]);
    let names = Names::start(Handle::current());
    names.apply(&settings(server(Arc::clone(&zone)).await, &[]));
    let asker = names.asker();
    let expected = addresses(&["10.0.0.1", "2001:db8::1"]);
    assert_eq!(asker.addresses("id.internal").await, Ok(expected));
    assert_eq!(asker.addresses("192.0.2.7").await, Ok(addresses(&["192.0.2.7"])));
    names.apply(&settings(server(other).await, &[]));
    assert_eq!(asker.addresses("id.internal").await, Ok(addresses(&["10.0.0.9"])));
    let absent = asker.addresses("absent.internal").await.unwrap_err();
    assert_eq!(absent, "it has no addresses");
    let broken = asker.addresses("broken.internal").await.unwrap_err();
    assert!(broken.starts_with("asking for A: "), "{broken}");
    // They are no endpoints': nothing of them is kept, and none is counted.
    assert_eq!(
        names.answers_number(),
        Names::start(Handle::current()).answers_number()
    );
    assert!(!metrics(&names).contains("id.internal"));
}
