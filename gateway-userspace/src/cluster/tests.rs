//! Real sockets on loopback: that the parts fit together. What they decide is tested by `simulation`.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::config::snapshot::{Announce, ClusterKey, Node, NodeHeader};

/// Far more than any step here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        address: Some([127, 0, 0, 1].into()),
        address_v6: None,
        weight: 1,
        zone: None,
        workers: 1,
        node_header: NodeHeader::Omitted,
        connections_max: None,
        connections_per_client_max: None,
    }
}

fn config(seeds: &[SocketAddr], key: u8) -> snapshot::Cluster {
    snapshot::Cluster {
        listen: "127.0.0.1:0".parse().unwrap(),
        seeds: seeds.to_vec(),
        key: ClusterKey([key; 32]),
        announce: Announce::None,
    }
}

fn names(view: &View) -> Vec<&str> {
    view.members.iter().map(|m| m.name.as_str()).collect()
}

async fn wait_for(views: &mut watch::Receiver<Arc<View>>, what: &str, holds: impl Fn(&View) -> bool) -> View {
    let waited = tokio::time::timeout(DEADLINE, views.wait_for(|view| holds(view))).await;
    let found = waited.ok().map(|result| View::clone(&result.expect(what)));
    if let Some(view) = found {
        return view;
    }
    panic!("{what}: not within {DEADLINE:?}, but {:?}", *views.borrow())
}

#[tokio::test]
async fn three_nodes_agree_and_one_leaves() {
    let (a, mut a_views) = Cluster::start(&config(&[], 1), &node("a"), Served::All, 1).unwrap();
    a.set_state(State::Ready);
    let seeds = [a.listen()];
    let (b, mut b_views) = Cluster::start(&config(&seeds, 1), &node("b"), Served::All, 2).unwrap();
    let (c, mut c_views) = Cluster::start(&config(&seeds, 1), &node("c"), Served::All, 3).unwrap();
    wait_for(&mut c_views, "a joining node learns the view", |v| {
        v.member("a").is_some()
    })
    .await;
    b.set_state(State::Ready);
    c.set_state(State::Ready);
    let of_a = wait_for(&mut a_views, "a takes both in", |v| v.members.len() == 3).await;
    let number = of_a.number;
    assert_eq!(
        wait_for(&mut b_views, "b agrees", |v| v.number == number).await,
        of_a
    );
    assert_eq!(
        wait_for(&mut c_views, "c agrees", |v| v.number == number).await,
        of_a
    );

    b.set_weight(3);
    let weighs = |v: &View| v.member("b").is_some_and(|m| m.weight == 3);
    wait_for(&mut c_views, "c learns b's weight", weighs).await;

    a.stop();
    let left = wait_for(&mut b_views, "the leader leaves", |v| v.member("a").is_none()).await;
    // By id, which is the order in which they were heard.
    let mut stay = names(&left);
    stay.sort_unstable();
    assert_eq!(stay, ["b", "c"]);
    wait_for(&mut c_views, "c agrees again", |v| *v == left).await;
    let nodes = b.nodes();
    assert_eq!(nodes.first().map(|n| n.name.as_str()), Some("b"));
    assert_eq!(nodes.len(), 3);
}

#[tokio::test]
async fn node_with_another_key_is_not_heard_and_counted() {
    let (a, mut a_views) = Cluster::start(&config(&[], 1), &node("a"), Served::All, 1).unwrap();
    a.set_state(State::Ready);
    let (stranger, _views) = Cluster::start(&config(&[a.listen()], 2), &node("s"), Served::All, 2).unwrap();
    stranger.set_state(State::Ready);
    wait_for(&mut a_views, "a serves alone", |v| v.member("a").is_some()).await;
    let counted = |reason: &str| {
        a.drops()
            .iter()
            .any(|count| count.reason == reason && count.datagrams > 2)
    };
    tokio::time::timeout(DEADLINE, async {
        while !counted("bad-key") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(names(&a_views.borrow()), ["a"]);
}

#[tokio::test]
async fn garbage_is_counted_and_does_no_harm() {
    let (a, mut a_views) = Cluster::start(&config(&[], 1), &node("a"), Served::All, 1).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let counts = |reason: &str| {
        a.drops()
            .iter()
            .any(|count| count.reason == reason && count.datagrams > 0)
    };
    tokio::time::timeout(DEADLINE, async {
        while !(counts("bad-length") && counts("bad-magic")) {
            socket.send_to(&[0; 3], a.listen()).unwrap();
            socket.send_to(&[7; 1000], a.listen()).unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    a.set_state(State::Ready);
    wait_for(&mut a_views, "a still works", |v| v.member("a").is_some()).await;
}

#[tokio::test]
async fn dead_heartbeat_thread_is_noticed() {
    let (cluster, mut views) = Cluster::start(&config(&[], 1), &node("a"), Served::All, 1).unwrap();
    assert!(cluster.is_running());
    cluster.stop();
    assert!(!cluster.is_running(), "stopped");
    assert!(views.changed().await.is_err());

    let (cluster, _views) = Cluster::start(&config(&[], 1), &node("a"), Served::All, 1).unwrap();
    let panicking = std::thread::spawn(|| panic!("on purpose, in a test"));
    let healthy = cluster.thread.lock().unwrap().replace(panicking);
    tokio::time::timeout(DEADLINE, async {
        while cluster.is_running() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    cluster.stop();
    healthy.unwrap().join().unwrap();
}

#[test]
fn bind_errors_name_the_remedy() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let rows = [
        ("port taken", listen, "stop it, or change [cluster] listen"),
        (
            "not our address",
            "192.0.2.1:7946".parse().unwrap(),
            "no such address",
        ),
    ];
    for (what, listen, expected) in rows {
        let config = snapshot::Cluster {
            listen,
            ..config(&[], 1)
        };
        let text = Cluster::start(&config, &node("a"), Served::All, 1)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(expected) && text.contains(&listen.to_string()),
            "{what}: {text}"
        );
    }
}

#[test]
fn wildcard_listens_are_told_others_by_the_nodes_address() {
    let both = Node {
        address_v6: Some("fd00::1".parse().unwrap()),
        ..node("a")
    };
    let neither = Node {
        address: None,
        ..node("a")
    };
    let rows = [
        ("0.0.0.0:5", &both, Some("127.0.0.1:5")),
        ("[::]:5", &both, Some("[fd00::1]:5")),
        ("[::]:5", &node("a"), Some("127.0.0.1:5")),
        ("0.0.0.0:5", &neither, None),
        ("10.0.0.1:5", &neither, Some("10.0.0.1:5")),
    ];
    for (bound, node, expected) in rows {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(reachable(bound.parse().unwrap(), node), expected, "{bound}");
    }
}
