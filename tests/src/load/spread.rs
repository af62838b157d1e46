//! How connections spread over the nodes: many connections, one request each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::journal::{Journal, Record, Step};
use crate::lab::netns::Namespace;

/// Connections under way at once: keeps a small machine busy, and its accept queues far from full.
const IN_FLIGHT: usize = 32;

/// What is asked for: answered by the node itself, as only the node matters.
const PATH: &str = "/hello";

/// Where connections ended.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// Connections each node answered.
    pub connections: BTreeMap<Arc<str>, u64>,
    /// The nodes that answered each source address.
    pub nodes_of: BTreeMap<Option<IpAddr>, Vec<Arc<str>>>,
    /// Connections that got no good answer.
    pub failures: Vec<Record>,
}

impl Spread {
    /// Share of all answered connections that ended on `node`, from 0 to 1.
    pub fn share(&self, node: &str) -> f64 {
        let all: u64 = self.connections.values().sum();
        let own = self.connections.get(node).copied().unwrap_or(0);
        if all == 0 { 0.0 } else { own as f64 / all as f64 }
    }

    /// Source addresses that were answered by more than one node.
    pub fn split_sources(&self) -> usize {
        self.nodes_of
            .iter()
            .filter(|(source, nodes)| source.is_some() && nodes.len() > 1)
            .count()
    }
}

/// Opens one connection for each of `sources` from a client's namespace, `None` being the client's own address.
///
/// # Errors
/// Where not one connection was answered, as a spread of nothing says nothing.
pub fn measure(client: &Namespace, target: SocketAddr, sources: Vec<Option<IpAddr>>) -> Result<Spread> {
    client.run_async(move || async move {
        let mut spread = Spread::default();
        let mut tasks = JoinSet::new();
        let mut sources = sources.into_iter();
        loop {
            while tasks.len() < IN_FLIGHT
                && let Some(source) = sources.next()
            {
                tasks.spawn(ask(target, source));
            }
            let Some(ended) = tasks.join_next().await else {
                break;
            };
            let (source, node, failures) = ended?;
            spread.failures.extend(failures);
            if let Some(node) = node {
                *spread.connections.entry(Arc::clone(&node)).or_default() += 1;
                let nodes = spread.nodes_of.entry(source).or_default();
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        }
        if spread.connections.is_empty() {
            let why = spread.failures.first().map(|record| &record.outcome);
            bail!("not one connection to {target} was answered; the first: {why:?}");
        }
        Ok(spread)
    })
}

async fn ask(target: SocketAddr, source: Option<IpAddr>) -> (Option<IpAddr>, Option<Arc<str>>, Vec<Record>) {
    let journal = Arc::new(Journal::default());
    let mut node = None;
    if let Some(mut connection) = Connection::open(&journal, target, source).await {
        connection.get(PATH).await;
        node = connection.node().cloned();
    }
    let mut failures = journal.since(0);
    failures
        .retain(|record| record.outcome.is_err() || (record.step == Step::Request && record.node.is_none()));
    (source, node, failures)
}
