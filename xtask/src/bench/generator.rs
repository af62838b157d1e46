//! Running generators, and what they print as figures.
//!
//! Sources: the programs themselves; the tests hold real output of wrk 4.1.0, h2load of nghttp2 1.52.0 and s_time of
//! OpenSSL 3.0.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::process::{Orphan, Output, Process, Scratch};
use super::scenario::Generator;
use super::stage::Stage;

/// How much longer than asked a generator may take: it starts, and waits for answers that are late.
const GENERATOR_SLACK: Duration = Duration::from_secs(30);

/// One run of a generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Requests that were answered in full.
    pub requests: u64,
    /// How long it ran.
    pub time: Duration,
    /// Requests or connections that failed, answers other than 2xx and 3xx among them.
    pub failed: u64,
    /// Latencies, by name in the output.
    pub latencies: Vec<(&'static str, Duration)>,
    /// Bytes of bodies, or of all that was answered, where the generator tells.
    pub bytes: Option<u64>,
    /// How many of the requests came on a resumed TLS session, where the generator tells.
    pub resumed: Option<u64>,
}

/// Names of latencies that xtask's own client prints, in microseconds there, and as they are called in the output.
const OPEN_LOOP: [(&str, &str); 5] = [
    ("p50_us", "latency_p50_ms"),
    ("p99_us", "latency_p99_ms"),
    ("p99_9_us", "latency_p99_9_ms"),
    ("mean_us", "latency_mean_ms"),
    ("max_us", "latency_max_ms"),
];

impl Figures {
    /// Reads what `generator` printed.
    ///
    /// # Errors
    /// When a figure is missing.
    pub fn read(generator: Generator, text: &str) -> Result<Self> {
        let figures = match generator {
            Generator::Wrk => wrk(text),
            Generator::H2load => h2load(text),
            Generator::Openssl => openssl(text),
            Generator::OpenLoop => open_loop(text),
        };
        figures.with_context(|| format!("reading what the generator printed: {}", text.trim()))
    }

    /// What two generators came to that ran at once. Latencies are not added.
    pub fn and(self, other: &Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        Self {
            requests: self.requests + other.requests,
            time: self.time.max(other.time),
            failed: self.failed + other.failed,
            latencies: Vec::new(),
            bytes: sum(self.bytes, other.bytes),
            resumed: sum(self.resumed, other.resumed),
        }
    }
}

/// Runs `copies` of a generator's `command` at once, which takes this many seconds, to their end: their figures together,
/// and all that they printed.
///
/// # Errors
/// When one fails, takes much longer, or prints no figures.
pub fn run_generators(
    stage: &Stage,
    scratch: &Scratch,
    generator: Generator,
    command: &Command,
    seconds: u64,
    copies: usize,
) -> Result<(Figures, String)> {
    let start = Instant::now();
    let mut running = Vec::new();
    for number in 0..copies {
        let output = scratch.path().join(format!("output-{number}"));
        fs::write(&output, "")?;
        running.push((start_generator(stage, &output, command)?, output));
    }
    let mut all: Option<Figures> = None;
    let mut said = String::new();
    for (process, output) in &mut running {
        let finished = process.finish(Duration::from_secs(seconds) + GENERATOR_SLACK);
        let text = fs::read_to_string(output)?;
        finished.with_context(|| format!("the generator says: {}", text.trim()))?;
        let figures = Figures::read(generator, &text)?;
        said += &text;
        all = Some(match all {
            None => figures,
            Some(other) => figures.and(&other),
        });
    }
    let mut figures = all.context("no generator ran")?;
    if generator == Generator::Openssl {
        // It counts whole seconds.
        figures.time = start.elapsed();
    }
    Ok((figures, said))
}

/// Starts a generator on its core.
///
/// # Errors
/// When it cannot be started.
pub fn start_generator(stage: &Stage, output: &Path, command: &Command) -> Result<Process> {
    Process::start(
        command,
        stage.cores.generator,
        &Output::File(output),
        Orphan::Killed,
    )
}

fn wrk(text: &str) -> Option<Figures> {
    let (requests, rest) = text.lines().find_map(|line| line.split_once(" requests in "))?;
    let mut failed = 0;
    for line in text.lines().map(str::trim) {
        if let Some(errors) = line.strip_prefix("Socket errors: ") {
            let counts = errors.split(", ").filter_map(|part| part.split_once(' '));
            failed += counts
                .filter_map(|(_, count)| count.parse::<u64>().ok())
                .sum::<u64>();
        }
        if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            failed += count.parse::<u64>().ok()?;
        }
    }
    let percentile = |mark: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(mark));
        duration(found?.trim())
    };
    Some(Figures {
        requests: requests.trim().parse().ok()?,
        time: duration(rest.split(',').next()?)?,
        failed,
        latencies: vec![
            ("latency_p50_ms", percentile("50%")?),
            ("latency_p99_ms", percentile("99%")?),
        ],
        bytes: None,
        resumed: None,
    })
}

fn h2load(text: &str) -> Option<Figures> {
    let after = |mark: &str| text.lines().find_map(|line| line.trim().strip_prefix(mark));
    let count = |line: &str, name: &str| -> Option<u64> {
        let part = line.split(',').find_map(|part| part.trim().strip_suffix(name))?;
        part.trim().parse().ok()
    };
    let requests = after("requests: ")?;
    // Columns: min, max, mean, standard deviation, share within it.
    let mean = after("time for request:")?.split_whitespace().nth(2)?;
    Some(Figures {
        requests: count(requests, "succeeded")?,
        time: duration(after("finished in ")?.split(',').next()?)?,
        // Errors, time-outs and answers of 4xx and 5xx are all among the failed.
        failed: count(requests, "failed")?,
        latencies: vec![("latency_mean_ms", duration(mean)?)],
        bytes: data(after("traffic: ")?),
        resumed: None,
    })
}

/// The number in the last parentheses, as in `186.23KB (190697) data`.
fn data(traffic: &str) -> Option<u64> {
    let (_, number) = traffic.strip_suffix(" data")?.rsplit_once('(')?;
    number.strip_suffix(')')?.parse().ok()
}

/// s_time prints a letter for each connection: `r` for a resumed session, `*` for another of TLS 1.3.
fn openssl(text: &str) -> Option<Figures> {
    let line = text.lines().find(|line| line.contains(" connections/user sec"))?;
    let (requests, _) = line.split_once(" connections in ")?;
    let (_, bytes) = line.split_once("bytes read ")?;
    let (_, seconds) = text
        .lines()
        .find_map(|line| line.strip_suffix("per connection")?.split_once(" in "))?;
    let letters = text
        .lines()
        .filter(|line| line.chars().all(|letter| "r*t3".contains(letter)));
    let resumed = letters
        .flat_map(str::chars)
        .filter(|letter| *letter == 'r')
        .count();
    Some(Figures {
        requests: requests.trim().parse().ok()?,
        time: Duration::from_secs(seconds.split(' ').next()?.parse().ok()?),
        // A connection that fails ends it with an error.
        failed: 0,
        latencies: Vec::new(),
        bytes: Some(bytes.trim().parse().ok()?),
        resumed: u64::try_from(resumed).ok(),
    })
}

/// Lines of a name and a number.
fn open_loop(text: &str) -> Option<Figures> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(other, _)| *other == name).map(|(_, value)| value)
    };
    let mut latencies = Vec::new();
    for (name, shown) in OPEN_LOOP {
        let microseconds: f64 = value(name)?.parse().ok()?;
        latencies.push((shown, Duration::try_from_secs_f64(microseconds / 1e6).ok()?));
    }
    Some(Figures {
        requests: value("answered")?.parse().ok()?,
        time: Duration::try_from_secs_f64(value("seconds")?.parse().ok()?).ok()?,
        failed: value("failed")?.parse().ok()?,
        latencies,
        bytes: None,
        resumed: None,
    })
}

/// Reads a length of time as both programs print it: `590.00us`, `1.05ms`, `10.00s`, `1.00m`.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(at)?;
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "\
Running 1s test @ http://127.0.0.1:38081/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.12ms    1.75ms  14.91ms   81.24%
    Req/Sec    15.83k     4.11k   19.55k    70.00%
  Latency Distribution
     50%    3.80ms
     75%    4.30ms
     90%    6.61ms
     99%   10.72ms
  15733 requests in 1.01s, 1.73MB read
Requests/sec:  15643.16
Transfer/sec:      1.72MB
";

    const H2LOAD: &str = "\
starting benchmark...
spawning thread #0: 1 total client(s). Timing-based test with 0s of warm-up time and 1s of main duration for \
measurements.
Application protocol: h2c
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 1.01s, 14669.00 req/s, 558.79KB/s
requests: 14669 total, 14769 started, 14669 done, 14669 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 14669 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 558.79KB (572200) total, 114.65KB (117406) headers (space savings 90.12%), 186.23KB (190697) data
                     min         max         mean         sd        +/- sd
time for request:     1.14ms     25.18ms      6.75ms      2.30ms    85.42%
time for connect:      412us       412us       412us         0us   100.00%
time to 1st byte:    11.01ms     11.01ms     11.01ms         0us   100.00%
req/s           :   14654.64    14654.64    14654.64        0.00   100.00%
";

    /// What s_time printed of resumed sessions, with a letter for each.
    fn resumed() -> String {
        let letters = "r".repeat(3_106);
        format!(
            "\n\nNow timing with session id reuse.\nstarting\n{letters}\n\n\
             3106 connections in 0.61s; 5091.80 connections/user sec, bytes read 158406\n\
             3106 connections in 2 real seconds, 51 bytes read per connection\n"
        )
    }

    /// What it printed of full handshakes.
    fn full() -> String {
        let letters = "*".repeat(679);
        format!(
            "Collecting connection statistics for 1 seconds\n{letters}\n\n\
             679 connections in 0.38s; 1786.84 connections/user sec, bytes read 34629\n\
             679 connections in 2 real seconds, 51 bytes read per connection\n"
        )
    }

    #[test]
    fn what_wrk_prints_becomes_figures() {
        let figures = Figures::read(Generator::Wrk, WRK).unwrap();
        let expected = Figures {
            requests: 15_733,
            time: Duration::from_millis(1_010),
            failed: 0,
            latencies: vec![
                ("latency_p50_ms", Duration::from_micros(3_800)),
                ("latency_p99_ms", Duration::from_micros(10_720)),
            ],
            bytes: None,
            resumed: None,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn what_h2load_prints_becomes_figures() {
        let figures = Figures::read(Generator::H2load, H2LOAD).unwrap();
        let expected = Figures {
            requests: 14_669,
            time: Duration::from_millis(1_010),
            failed: 0,
            latencies: vec![("latency_mean_ms", Duration::from_micros(6_750))],
            bytes: Some(190_697),
            resumed: None,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn what_s_time_prints_becomes_figures() {
        let figures = Figures::read(Generator::Openssl, &resumed()).unwrap();
        let expected = Figures {
            requests: 3_106,
            time: Duration::from_secs(2),
            failed: 0,
            latencies: Vec::new(),
            bytes: Some(158_406),
            resumed: Some(3_106),
        };
        assert_eq!(figures, expected);
        let both = Figures::read(Generator::Openssl, &full()).unwrap().and(&expected);
        assert_eq!(
            (both.requests, both.resumed, both.bytes),
            (3_785, Some(3_106), Some(193_035))
        );
    }

    #[test]
    fn what_the_client_at_a_constant_rate_prints_becomes_figures() {
        let text = "answered 1000\nfailed 3\nseconds 2.5\np50_us 120.5\np99_us 900.0\np99_9_us 1500.0\n\
                    mean_us 130.0\nmax_us 2000.0\n";
        let figures = Figures::read(Generator::OpenLoop, text).unwrap();
        assert_eq!((figures.requests, figures.failed), (1_000, 3));
        assert_eq!(figures.time, Duration::from_millis(2_500));
        assert_eq!(
            figures.latencies[2],
            ("latency_p99_9_ms", Duration::from_micros(1_500))
        );
    }

    #[test]
    fn failures_of_every_kind_are_counted() {
        let h2load = |counts: &str| {
            let before = "15000 done, 14669 succeeded, 0 failed, 0 errored, 0 timeout";
            H2LOAD.replace(&before.replace("15000", "14669"), counts)
        };
        let rows = [
            (
                Generator::Wrk,
                WRK.replace("Requests/sec", "  Non-2xx or 3xx responses: 16418\nRequests/sec"),
                16_418,
                "answers other than 2xx",
            ),
            (
                Generator::Wrk,
                WRK.replace(
                    "Requests/sec",
                    "  Socket errors: connect 1, read 14604, write 2, timeout 3\nRequests/sec",
                ),
                14_610,
                "connections that broke",
            ),
            (
                Generator::H2load,
                h2load("23249 done, 0 succeeded, 23249 failed, 0 errored, 0 timeout"),
                23_249,
                "answers of 5xx",
            ),
        ];
        for (generator, text, expected, description) in rows {
            let figures = Figures::read(generator, &text).unwrap();
            assert_eq!(figures.failed, expected, "{description}");
        }
    }

    #[test]
    fn output_without_figures_is_an_error_that_quotes_it() {
        let refused = "unable to connect to 127.0.0.1:1 Connection refused\n";
        for generator in [
            Generator::Wrk,
            Generator::H2load,
            Generator::Openssl,
            Generator::OpenLoop,
        ] {
            let error = Figures::read(generator, refused).unwrap_err();
            assert!(error.to_string().contains("Connection refused"), "{error}");
        }
    }

    #[test]
    fn lengths_of_time_have_their_units() {
        let rows = [
            ("590.00us", Some(590)),
            ("412us", Some(412)),
            ("1.05ms", Some(1_050)),
            ("10.00s", Some(10_000_000)),
            ("1.50m", Some(90_000_000)),
            ("12", None),
            ("ms", None),
            ("1 day", None),
        ];
        for (text, expected) in rows {
            assert_eq!(duration(text), expected.map(Duration::from_micros), "{text}");
        }
    }
}
