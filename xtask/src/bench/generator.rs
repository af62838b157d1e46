//! What wrk and h2load print, as figures.
//!
//! Sources: the programs themselves; the tests hold real output of wrk 4.1.0 and h2load of nghttp2 1.52.0.

use std::time::Duration;

use anyhow::{Context, Result};

use super::scenario::Generator;

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
}

impl Figures {
    /// Reads what `generator` printed.
    ///
    /// # Errors
    /// When a figure is missing.
    pub fn read(generator: Generator, text: &str) -> Result<Self> {
        let figures = match generator {
            Generator::Wrk => wrk(text),
            Generator::H2load => h2load(text),
        };
        figures.with_context(|| format!("reading what the generator printed: {}", text.trim()))
    }
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
        };
        assert_eq!(figures, expected);
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
        for generator in [Generator::Wrk, Generator::H2load] {
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
