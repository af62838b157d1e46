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
    let (requests, rest) = text
        .lines()
        .find_map(|line| line.split_once(" requests in "))?;
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
    let statuses = after("status codes: ")?;
    // Columns: min, max, mean, standard deviation, share within it.
    let mean = after("time for request:")?.split_whitespace().nth(2)?;
    Some(Figures {
        requests: count(requests, "succeeded")?,
        time: duration(after("finished in ")?.split(',').next()?)?,
        // "failed" counts errors and time-outs, too.
        failed: count(requests, "failed")? + count(statuses, "4xx")? + count(statuses, "5xx")?,
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

    // Rows follow.
}
