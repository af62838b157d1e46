//! Clients that ask at a steady rate, and what each of their requests came to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::http::gateway::Speaks;
use crate::http::peers::{Client, empty, full};
use crate::http::within::within;

use super::scene::until;

/// Clients of one load, each with a connection and one request at a time: so many requests are in flight at most.
pub const CLIENTS: usize = 16;

/// Between two requests of a client: 160 a second of all together.
const PACE: Duration = Duration::from_millis(100);

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `GET`, by HTTP/1.1.
    Get,
    /// A gRPC call.
    Call,
}

/// What one request came to.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was sent.
    pub began: Instant,
    /// Until its answer was whole.
    pub took: Duration,
    /// The whole answer, or why there was none.
    pub answer: Result<Response<Bytes>, String>,
}

impl Seen {
    /// The status of a whole answer.
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().ok().map(|answer| answer.status().as_u16())
    }

    /// Whether a client would be content.
    pub fn is_well(&self) -> bool {
        self.status() == Some(200)
    }

    /// What it says to gRPC's clients, in the head. Trailers are not kept.
    pub fn code(&self) -> Option<&str> {
        let answer = self.answer.as_ref().ok()?;
        answer.headers().get("grpc-status")?.to_str().ok()
    }
}

/// A load that runs until it is ended.
pub struct Load {
    clients: JoinSet<Vec<Seen>>,
    ended: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// `GET` requests to that address.
    pub fn start(address: SocketAddr) -> Self {
        Self::start_with(address, Asks::Get)
    }

    /// Requests of that kind to that address.
    pub fn start_with(address: SocketAddr, asks: Asks) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            ended: Arc::default(),
            stop: Arc::default(),
        };
        for number in 0..CLIENTS {
            let (ended, stop) = (Arc::clone(&load.ended), Arc::clone(&load.stop));
            load.clients.spawn(run(address, asks, number, ended, stop));
        }
        load
    }

    /// Waits for that many more answers.
    pub async fn pass(&self, count: usize) {
        self.progress().pass(count).await;
    }

    /// How far it is, for who does not run it.
    pub fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.ended))
    }

    /// Ends it, each request with its answer.
    pub async fn end(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = within("the last answers", self.clients.join_all()).await;
        seen.into_iter().flatten().collect()
    }
}

/// How far a load is.
pub struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// Waits for that many more answers.
    pub async fn pass(&self, count: usize) {
        let goal = self.0.load(Ordering::Relaxed) + count;
        until("answers", || self.0.load(Ordering::Relaxed) >= goal).await;
    }
}

async fn run(
    address: SocketAddr,
    asks: Asks,
    number: usize,
    ended: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Seen> {
    let part = u32::try_from(CLIENTS).expect("few clients");
    let offset = PACE / part * u32::try_from(number).expect("few clients");
    let mut turns = tokio::time::interval_at(tokio::time::Instant::now() + offset, PACE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let speaks = match asks {
        Asks::Get => Speaks::Http1,
        Asks::Call => Speaks::Http2,
    };
    let mut client = None;
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        let mut connected = match client.take() {
            Some(client) => client,
            None => Client::connect(address, speaks).await,
        };
        let request = match asks {
            Asks::Get => connected.request("GET", "/x").body(empty()),
            Asks::Call => {
                let request = connected
                    .request("POST", "/lab.Calls/Any")
                    .header("te", "trailers");
                let request = request.header("content-type", "application/grpc");
                request.body(full(&[0_u8; 5][..]))
            }
        };
        let began = Instant::now();
        let answer = within("an answer", connected.ask(request.expect("a request"))).await;
        let took = began.elapsed();
        if answer.is_ok() {
            client = Some(connected);
        }
        all.push(Seen {
            began,
            took,
            answer: answer.map_err(|error| error.to_string()),
        });
        ended.fetch_add(1, Ordering::Relaxed);
    }
    all
}

/// Asserts that no client saw a failure.
pub fn assert_all_well(what: &str, seen: &[Seen]) {
    let bad: Vec<_> = seen.iter().filter(|one| !one.is_well()).collect();
    assert!(
        bad.is_empty() && !seen.is_empty(),
        "{what}: {} of {} requests failed, the first of them: {:?}",
        bad.len(),
        seen.len(),
        bad.first()
    );
}
