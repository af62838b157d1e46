//! Datagrams that come in fragments: all fragments of one, and all of a flow, reach the same node.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::echo::Echo;
use gateway_tests::lab::settings::Common;

use crate::routed::routed_lab;
use crate::support::one_at_a_time;

/// Three fragments, on links that take 1,500 bytes.
const DATAGRAM_BYTES: usize = 3_000;

/// Flows: with three nodes of equal weight, one in a million labs would leave a node out.
const PORTS: usize = 40;

/// Datagrams of each flow that are answered.
const DATAGRAMS: usize = 4;

/// The first datagrams only find out what the path takes: whoever sends datagrams sends them again.
const TRIES_MAX: usize = 6;

/// What an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends until an answer comes, and says how often and who answered.
fn ask(socket: &UdpSocket) -> std::io::Result<(usize, Vec<u8>)> {
    let mut answer = [0; 64];
    for tries in 1..=TRIES_MAX {
        match socket.send(&[7; DATAGRAM_BYTES]) {
            // The path takes less than was thought: known from now on.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => continue,
            other => other?,
        };
        match socket.recv(&mut answer) {
            Ok(length) => return Ok((tries, answer[..length].to_vec())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::new(
        ErrorKind::TimedOut,
        "no datagram was answered",
    ))
}

#[test]
fn datagrams_in_fragments_are_answered_by_one_node_for_each_flow() {
    let _turn = one_at_a_time();
    let lab = routed_lab(NODES, &[0, 1, 2], Common::default());
    for family in [Family::V4, Family::V6] {
        let target = Vip::Udp.udp(family);
        let echoes = lab.nodes().iter().map(|node| Echo::start(node, target));
        let _echoes: Vec<_> = echoes.collect::<Result<_, _>>().expect("a server on each node");
        let asked = lab
            .client()
            .run(move || -> std::io::Result<(usize, BTreeSet<Vec<u8>>)> {
                let (mut nodes, mut sent_again) = (BTreeSet::new(), 0);
                for port in 0..PORTS {
                    let any = match target {
                        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                    };
                    let socket = UdpSocket::bind(any)?;
                    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                    socket.connect(target)?;
                    let mut owner = None;
                    for _ in 0..DATAGRAMS {
                        let (tries, node) = ask(&socket)?;
                        sent_again += tries - 1;
                        let before = owner.get_or_insert(node.clone());
                        assert_eq!(before, &node, "{family:?}: flow {port} moved");
                        nodes.insert(node);
                    }
                }
                Ok((sent_again, nodes))
            });
        let (sent_again, nodes) = asked.expect("a job").expect("an answer to each datagram");
        println!("fragments over {family:?}: {sent_again} datagrams were sent again");
        assert_eq!(nodes.len(), NODES, "{family:?}: {nodes:?}");
        // Only until the path is known, which is the same for all flows.
        assert!(
            sent_again <= TRIES_MAX,
            "{family:?}: {sent_again} datagrams were lost"
        );
    }
}
