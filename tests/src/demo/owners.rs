//! Which node a connection ended on, by the nodes' access logs, where no answer has told the client.
//!
//! A client that got no answer cannot know its node; a node that got the request can, and writes a line for it,
//! answered or not. So a failure on a living node is not taken for one of a dead node, which writes nothing any more.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::load::journal::{ConnectionId, Record, Step};

/// The key of the request's identity in a line of the access log.
const KEY: &str = " request_id=";

/// Names the node of all requests that do not know theirs, as far as the access logs of a lab's nodes do.
///
/// A node writes a line when its request has ended, within a moment: call it when the nodes have stopped, or after a
/// wait.
///
/// # Errors
/// Where a log cannot be read.
pub fn name_nodes(lab: &Lab, records: &mut [Record]) -> Result<()> {
    let mut owners = BTreeMap::new();
    for node in lab.nodes() {
        let path = &node.files().stdout;
        let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
        let name: Arc<str> = node.name().into();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.with_context(|| format!("read {}", path.display()))?;
            if let Some(connection) = connection_of(&String::from_utf8_lossy(&line)) {
                owners.insert(connection, Arc::clone(&name));
            }
        }
    }
    fill(records, &owners);
    Ok(())
}

fn fill(records: &mut [Record], owners: &BTreeMap<ConnectionId, Arc<str>>) {
    let unknown = |record: &&mut Record| record.node.is_none() && record.step != Step::Connect;
    for record in records.iter_mut().filter(unknown) {
        record.node = owners.get(&record.connection).cloned();
    }
}

fn connection_of(line: &str) -> Option<ConnectionId> {
    let (_, rest) = line.split_once(KEY)?;
    ConnectionId::of_request_id(rest.split(' ').next()?)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::load::journal::{Failure, Journal};

    #[test]
    fn lines_of_the_load_tell_their_connection_and_others_none() {
        let id = Journal::default().new_connection();
        let line = |request_id: &str| format!("time=x client=10.77.0.1:5 status=- request_id={request_id}");
        assert_eq!(connection_of(&line(&id.request_id())), Some(id));
        for other in ["0198-aa", "load-", "load-x", "-"] {
            assert_eq!(connection_of(&line(other)), None, "{other}");
        }
        assert_eq!(connection_of("nothing of the kind"), None);
    }

    #[test]
    fn only_requests_of_unknown_node_are_named() {
        let journal = Journal::default();
        let record = |step, node: Option<&str>| Record {
            connection: journal.new_connection(),
            opened: Instant::now(),
            step,
            node: node.map(Arc::from),
            started: Instant::now(),
            ended: Instant::now(),
            outcome: Err(Failure::TimedOut),
        };
        let mut records = [
            record(Step::Request, None),
            record(Step::Request, Some("node1")),
            record(Step::Connect, None),
        ];
        let owners = records
            .iter()
            .map(|record| (record.connection, "node2".into()))
            .collect();
        fill(&mut records, &owners);
        let nodes: Vec<_> = records.iter().map(|record| record.node.as_deref()).collect();
        assert_eq!(nodes, [Some("node2"), Some("node1"), None]);
    }
}
