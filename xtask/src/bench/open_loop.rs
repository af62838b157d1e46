//! A client that asks at a constant rate, whatever became of the requests before: an open loop.
//!
//! A request is due at a fixed time and counts from then, so that a server that stalls pays for all that it made wait.
//! Connections are kept, a fixed number: a request for which none is free waits for one, and its time runs. Opening more
//! would make a server pay twice, for a connection costs it several requests. One thread, epoll, a timer: it shares its core
//! with the backend, and must not spin. It prints figures as `generator` reads them.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::client;
use super::statistics::real;

/// Connections, open before the first request is due.
const CONNECTIONS: usize = 256;
/// How long answers are waited for when the last request was sent.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at whether that is over, in milliseconds.
const POLL_MS: u16 = 20;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// The timer's mark among the events; connections count from 1.
const TIMER: u64 = 0;

/// What is asked, and how often.
#[derive(Args, Debug)]
pub struct Order {
    /// Port of this machine
    #[arg(long)]
    port: u16,
    /// Requests a second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// For how long
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// What is asked for
    #[arg(long, default_value = "/")]
    path: String,
}

/// Asks, and prints what came of it.
///
/// # Errors
/// When nobody listens there, or the kernel refuses what is needed.
pub fn ask(order: &Order) -> Result<()> {
    let mut load = Load::new(order)?;
    load.run(order.rate, order.seconds)?;
    print!("{}", load.figures(order.seconds));
    Ok(())
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// When the request was due whose answer is awaited.
    due: Option<Instant>,
}

struct Load {
    port: u16,
    request: Vec<u8>,
    epoll: Epoll,
    connections: HashMap<u64, Connection>,
    idle: Vec<u64>,
    /// When the requests were due for which no connection is free.
    waiting: VecDeque<Instant>,
    last: u64,
    /// Of what was answered, in nanoseconds.
    latencies: Vec<u64>,
    failed: u64,
}

impl Load {
    fn new(order: &Order) -> Result<Self> {
        let mut load = Self {
            port: order.port,
            request: format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", order.path).into_bytes(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            connections: HashMap::new(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            last: TIMER,
            latencies: Vec::new(),
            failed: 0,
        };
        for _ in 0..CONNECTIONS {
            let connection = load
                .connect()
                .with_context(|| format!("connecting to port {}", order.port))?;
            load.idle.push(connection);
        }
        Ok(load)
    }

    fn connect(&mut self) -> Result<u64> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.last += 1;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, self.last))?;
        let connection = Connection {
            stream,
            input: Vec::new(),
            due: None,
        };
        self.connections.insert(self.last, connection);
        Ok(self.last)
    }

    fn run(&mut self, rate: u32, seconds: u64) -> Result<()> {
        let total = u64::from(rate) * seconds;
        let period = Duration::from_secs(1) / rate;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        self.epoll
            .add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        timer.set(
            Expiration::Interval(TimeSpec::from_duration(period)),
            TimerSetTimeFlags::empty(),
        )?;
        let start = Instant::now();
        let due_at = |number: u64| start + Duration::from_secs_f64(real(number) / f64::from(rate));
        let mut sent = 0;
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let end = due_at(total) + ANSWER_LIMIT;
        while sent < total || self.is_waiting() {
            if Instant::now() >= end {
                break;
            }
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(POLL_MS)) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error).context("waiting for events"),
            };
            for event in events.iter().take(count) {
                if event.data() == TIMER {
                    // How often it went off says the clock; this only makes it wait again.
                    match timer.wait() {
                        Ok(()) | Err(nix::errno::Errno::EAGAIN) => {}
                        Err(error) => return Err(error).context("reading the timer"),
                    }
                } else {
                    self.hear(event.data());
                }
            }
            while sent < total && due_at(sent) <= Instant::now() {
                self.waiting.push_back(due_at(sent));
                sent += 1;
            }
            self.send();
            if sent == total {
                timer.unset()?;
            }
        }
        let silent = self
            .connections
            .values()
            .filter(|connection| connection.due.is_some());
        self.failed += (silent.count() + self.waiting.len()) as u64;
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.idle.len() < self.connections.len()
    }

    /// Sends requests that are due, as far as connections are free.
    fn send(&mut self) {
        while let Some(&due) = self.waiting.front() {
            let Some(number) = self.idle.pop() else { return };
            self.waiting.pop_front();
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            // A request of some hundred bytes fits into the buffer of a socket on which nothing is under way.
            match connection.stream.write(&self.request) {
                Ok(count) if count == self.request.len() => connection.due = Some(due),
                _ => {
                    self.failed += 1;
                    self.replace(number);
                }
            }
        }
    }

    /// Opens another connection in the place of one that ended; who cannot be connected to takes no more.
    fn replace(&mut self, number: u64) {
        self.connections.remove(&number);
        self.idle.retain(|other| *other != number);
        if let Ok(number) = self.connect() {
            self.idle.push(number);
        }
    }

    /// Reads what came on a connection.
    fn hear(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        match connection.read() {
            Heard::Nothing => {}
            Heard::Answer(due) => {
                let nanoseconds = due.elapsed().as_nanos();
                self.latencies
                    .push(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
                self.idle.push(number);
            }
            Heard::End => {
                self.failed += u64::from(connection.due.is_some());
                self.replace(number);
            }
        }
    }

    /// Lines of a name and a number.
    fn figures(&mut self, seconds: u64) -> String {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        let us = |nanoseconds: u64| real(nanoseconds) / 1e3;
        let mean = self.latencies.iter().copied().map(us).sum::<f64>() / real(count.max(1));
        let lines = [
            ("answered", real(count)),
            ("failed", real(self.failed)),
            ("seconds", real(seconds)),
            ("p50_us", us(percentile(&self.latencies, 500))),
            ("p99_us", us(percentile(&self.latencies, 990))),
            ("p99_9_us", us(percentile(&self.latencies, 999))),
            ("mean_us", mean),
            ("max_us", us(percentile(&self.latencies, 1_000))),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a string cannot fail.
            if writeln!(text, "{name} {value}").is_err() {
                break;
            }
        }
        text
    }
}

/// What a look at a connection found.
#[derive(Debug, PartialEq)]
enum Heard {
    /// No whole answer yet.
    Nothing,
    /// The answer to the request that was due then.
    Answer(Instant),
    /// It ended, or what it said is no good answer.
    End,
}

impl Connection {
    fn read(&mut self) -> Heard {
        let mut bytes = [0; 4_096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Heard::End,
            Ok(count) => self.input.extend(bytes.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
            Err(_) => return Heard::End,
        }
        match client::length(&self.input) {
            Ok(Some(length)) if self.input.len() == length => {
                self.input.clear();
                self.due.take().map_or(Heard::End, Heard::Answer)
            }
            Ok(Some(length)) if self.input.len() > length => Heard::End,
            Ok(_) => Heard::Nothing,
            Err(_) => Heard::End,
        }
    }
}

/// The value below which so many of a thousand lie; 0 of none.
fn percentile(sorted: &[u64], of_thousand: usize) -> u64 {
    let at = (sorted.len() * of_thousand).div_ceil(1_000).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::{Arc, OnceLock};
    use std::thread;

    use super::*;
    use crate::bench::generator::Figures;
    use crate::bench::scenario::Generator;

    #[test]
    fn percentiles_are_values_that_were_found() {
        let sorted: Vec<u64> = (1..=1_000).collect();
        for (of_thousand, expected) in [(500, 500), (990, 990), (999, 999), (1_000, 1_000)] {
            assert_eq!(percentile(&sorted, of_thousand), expected);
        }
        assert_eq!(percentile(&[7], 500), 7);
        assert_eq!(percentile(&[], 990), 0);
    }

    /// A server that holds back every answer for 200 ms from the first request on: those that were due then have waited.
    #[test]
    fn a_server_that_stalls_pays_for_all_that_it_made_wait() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let start = Arc::new(OnceLock::new());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, start) = (stream.unwrap(), Arc::clone(&start));
                thread::spawn(move || {
                    let mut bytes = [0; 1_024];
                    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                        let start = start.get_or_init(Instant::now);
                        thread::sleep(Duration::from_millis(200).saturating_sub(start.elapsed()));
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                            .unwrap();
                    }
                });
            }
        });
        let order = Order {
            port,
            rate: 200,
            seconds: 1,
            path: "/".into(),
        };
        let mut load = Load::new(&order).unwrap();
        load.run(order.rate, order.seconds).unwrap();
        let figures = Figures::read(Generator::OpenLoop, &load.figures(order.seconds)).unwrap();
        assert_eq!((figures.requests, figures.failed), (200, 0));
        let latency = |name| {
            figures
                .latencies
                .iter()
                .find(|(other, _)| *other == name)
                .unwrap()
                .1
        };
        assert!(
            latency("latency_max_ms") > Duration::from_millis(100),
            "{figures:?}"
        );
        assert!(
            latency("latency_p50_ms") < latency("latency_p99_ms"),
            "{figures:?}"
        );
    }

    #[test]
    fn an_answer_other_than_200_is_a_failure() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut connection = Connection {
            stream,
            input: Vec::new(),
            due: Some(Instant::now()),
        };
        server
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        assert_eq!(connection.read(), Heard::End);
    }
}
