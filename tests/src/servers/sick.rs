//! A server whose health is chosen at any time: it answers, hangs, fails, flaps, breaks off, lies, dies and comes back.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::http::{Body, Server, empty, full};
use super::tamper::{Order, Tampering};

/// What every well server says.
pub const WELL: &str = "well";

/// The path whose well answer is [`WELL`] 256 times: a body that has a middle.
pub const KILOBYTE_PATH: &str = "/kilobyte";

/// What is asked there for health.
pub const CHECK_PATH: &str = "/readyz";

/// Of a thousand requests, those that one with [`Health::FailsOften`] fails.
const FAILS_PER_MILLE: u64 = 300;

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Well,
    /// It takes requests and never answers.
    Hangs,
    /// It answers after that time.
    Slow(Duration),
    /// It answers 500.
    Fails,
    /// It answers 500 to three of ten, by a seeded chance.
    FailsOften,
    /// It is well, then failing, each for that long.
    Flaps(Duration),
    /// It resets in the middle of each answer's body (HTTP/1).
    Resets,
    /// It says by turns more and less than there is of an answer's body (HTTP/1).
    Lies,
    /// It answers calls with a message and code 0.
    CallsWell,
    /// It answers calls with code 14 in the head to three of ten.
    CallsFailOften,
    /// The same in trailers, behind a message.
    CallsFailOftenAtTheEnd,
}

#[derive(Debug)]
struct State {
    health: Mutex<Health>,
    /// Since when it flaps.
    began: Instant,
    chance: AtomicU64,
    checks_well: AtomicBool,
    requests: AtomicU64,
}

/// A server, or where one was.
pub struct Sick {
    address: SocketAddr,
    state: Arc<State>,
    server: Option<Server>,
}

impl Sick {
    /// A server of that health, on a loopback address of its own.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(health: Health) -> io::Result<Self> {
        let [a, b, c] = rand::random::<[u8; 3]>();
        let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        Self::start_at((host, 0).into(), health).await
    }

    /// A server of that health at that address.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_at(address: SocketAddr, health: Health) -> io::Result<Self> {
        let state = Arc::new(State {
            health: Mutex::new(health),
            began: Instant::now(),
            chance: AtomicU64::new(1),
            checks_well: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        });
        let server = serve(address, &state).await?;
        Ok(Self {
            address: server.address,
            state,
            server: Some(server),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that came so far, those of checks among them.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Changes how it is, also for connections that are there.
    pub fn set(&self, health: Health) {
        *self.state.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// From here on [`CHECK_PATH`] is answered well as long as anything is answered: only calls show how it is.
    pub fn pass_checks(&self) {
        self.state.checks_well.store(true, Ordering::Relaxed);
    }

    /// Closes its socket and all connections.
    pub fn die(&mut self) {
        self.server = None;
    }

    /// Listens again.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn revive(&mut self) -> io::Result<()> {
        self.server = Some(serve(self.address, &self.state).await?);
        Ok(())
    }
}

async fn serve(address: SocketAddr, state: &Arc<State>) -> io::Result<Server> {
    let state = Arc::clone(state);
    Server::start(address, move |request| answer(request, Arc::clone(&state))).await
}

impl State {
    /// How it is to that path.
    fn health_for(&self, path: &str) -> Health {
        let health = *self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = path == CHECK_PATH && self.checks_well.load(Ordering::Relaxed);
        if passes && health != Health::Hangs {
            Health::Well
        } else {
            health
        }
    }

    /// A linear congruential generator: the same in each run, request by request.
    fn fails_by_chance(&self) -> bool {
        let step = |state: u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let state = self
            .chance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .unwrap_or_default();
        (state >> 33) % 1_000 < FAILS_PER_MILLE
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Response<Body> {
    let number = state.requests.fetch_add(1, Ordering::Relaxed);
    let health = state.health_for(request.uri().path());
    let body = if request.uri().path() == KILOBYTE_PATH {
        WELL.repeat(256)
    } else {
        WELL.to_owned()
    };
    let order = request.extensions().get::<Order>().cloned().unwrap_or_default();
    // A body that is not read would end the connection.
    drop(request.into_body().collect().await);
    let fails = match health {
        Health::Well => false,
        Health::Resets => {
            order.set(Tampering::Reset);
            false
        }
        Health::Lies => {
            order.set(if number.is_multiple_of(2) {
                Tampering::End
            } else {
                Tampering::Surplus
            });
            false
        }
        Health::Hangs => pending().await,
        Health::Slow(time) => {
            tokio::time::sleep(time).await;
            false
        }
        Health::Fails => true,
        Health::FailsOften => state.fails_by_chance(),
        Health::Flaps(half) => (state.began.elapsed().as_millis() / half.as_millis()) % 2 == 1,
        Health::CallsWell => return call(health, false),
        Health::CallsFailOften | Health::CallsFailOftenAtTheEnd => {
            return call(health, state.fails_by_chance());
        }
    };
    let mut response = Response::new(full(body));
    if fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

fn call(health: Health, fails: bool) -> Response<Body> {
    let status = HeaderValue::from_static(if fails { "14" } else { "0" });
    let mut response = if fails && health == Health::CallsFailOften {
        let mut response = Response::new(empty());
        response.headers_mut().insert("grpc-status", status);
        response
    } else {
        let trailers = async move { Some(Ok(HeaderMap::from_iter([("grpc-status".parse().ok()?, status)]))) };
        // An empty message: no compression, no bytes.
        Response::new(full(&[0_u8; 5][..]).with_trailers(trailers).boxed_unsync())
    };
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}
