//! A constant rate of requests, whatever becomes of those before: an open loop.
//!
//! A request's time is counted from when it was due, so that one that had to wait for its turn counts as late. A thread
//! of its own tells when requests are due, as tokio's timers know milliseconds only.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::call::{Asks, Connection, Outcome};

/// Connections that gRPC calls share.
const CALL_CONNECTIONS: usize = 4;

/// What is asked, and when.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// What is asked for.
    pub asks: Asks,
    /// Requests a second.
    pub rate: u32,
    /// When the first is due.
    pub start: Instant,
    /// From the first to the last.
    pub length: Duration,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was due, since the start.
    pub due: Duration,
    /// From then until its client knew what became of it.
    pub took: Duration,
    /// What that was.
    pub outcome: Outcome,
}

/// Connections that wait for a request.
type Idle = Rc<RefCell<Vec<Connection>>>;

/// Sends all requests of `plan` and waits for their answers.
///
/// # Errors
/// When the thread that tells the time cannot be started.
pub async fn run(plan: Plan) -> Result<Vec<Sample>> {
    let (tell, mut due) = mpsc::unbounded_channel();
    let pacer = thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(move || pace(plan, &tell))
        .context("start the thread that tells when requests are due")?;
    let local = LocalSet::new();
    let samples = local
        .run_until(async move {
            let idle = Idle::default();
            let mut requests = JoinSet::new();
            let mut samples = Vec::new();
            while let Some(time) = due.recv().await {
                requests.spawn_local(request(plan, time, Rc::clone(&idle)));
                while let Some(ended) = requests.try_join_next() {
                    samples.push(ended?);
                }
            }
            while let Some(ended) = requests.join_next().await {
                samples.push(ended?);
            }
            Ok::<_, tokio::task::JoinError>(samples)
        })
        .await?;
    drop(pacer.join());
    Ok(samples)
}

/// Tells each request's time when it has come.
fn pace(plan: Plan, tell: &mpsc::UnboundedSender<Instant>) {
    for number in 0.. {
        let after = Duration::from_secs(1) * number / plan.rate;
        if after >= plan.length {
            return;
        }
        let due = plan.start + after;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if tell.send(due).is_err() {
            return;
        }
    }
}

async fn request(plan: Plan, due: Instant, idle: Idle) -> Sample {
    let outcome = ask(plan, &idle).await;
    Sample {
        due: due.saturating_duration_since(plan.start),
        took: due.elapsed(),
        outcome,
    }
}

async fn ask(plan: Plan, idle: &Idle) -> Outcome {
    let mut connection = match take(idle, plan.asks) {
        Some(connection) => connection,
        None => match Connection::open(plan.proxy, plan.asks).await {
            Ok(connection) => connection,
            Err(outcome) => return outcome,
        },
    };
    let outcome = connection.ask(plan.proxy).await;
    if !connection.is_closed() && !matches!(outcome, Outcome::Broken | Outcome::TimedOut) {
        let mut idle = idle.borrow_mut();
        // Of those that are shared a handle came back to a full set.
        if plan.asks == Asks::Get || idle.len() < CALL_CONNECTIONS {
            idle.push(connection);
        }
    }
    outcome
}

/// A connection that is free: the one that was used last, or of those that are shared each in turn.
fn take(idle: &Idle, asks: Asks) -> Option<Connection> {
    let mut idle = idle.borrow_mut();
    idle.retain(|connection| !connection.is_closed());
    match asks {
        Asks::Get => idle.pop(),
        Asks::Call if idle.len() < CALL_CONNECTIONS => None,
        Asks::Call => {
            idle.rotate_left(1);
            idle.last()?.shared()
        }
    }
}
