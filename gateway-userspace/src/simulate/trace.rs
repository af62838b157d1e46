//! Requests by time: from a trace, or made up from a rate and a seed.
//!
//! A trace has a line for each request, `time_s,key[,cost_ms]`, in the order of time. Empty lines, lines that begin
//! with `#`, and a first line of headings are passed over.

use std::io::BufRead;

use super::error::{SimulateError, number};
use crate::balance::mix;

/// Requests of one simulation: 48 MB, and some seconds for each balancer.
pub const REQUESTS_MAX: usize = 2_000_000;

/// Bytes of a line of a trace: no key is that long.
const LINE_BYTES_MAX: u64 = 4096;

/// The latest request, in seconds: 115 days.
const TIME_S_MAX: f64 = 10_000_000.0;

/// The most work that a request may be, in milliseconds: an hour.
const COST_MS_MAX: f64 = 3_600_000.0;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Microseconds since the start.
    pub at_us: u64,
    /// The hash of its key.
    pub key: u64,
    /// Microseconds of work beyond what every request is.
    pub cost_us: u64,
}

/// How requests are made up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrivals {
    /// Requests a second, in the mean; they come independently of each other (Poisson).
    pub rate: f64,
    /// For how long.
    pub seconds: f64,
    /// Different keys, all as frequent.
    pub keys: u64,
    /// What makes the same again.
    pub seed: u64,
}

/// Makes requests up.
///
/// # Errors
/// Where these would be none or more than [`REQUESTS_MAX`].
pub fn generate(arrivals: &Arrivals) -> Result<Vec<Request>, SimulateError> {
    let expected = arrivals.rate * arrivals.seconds;
    let refused = || {
        let fault = format!(
            "make {} requests a second for {} s",
            arrivals.rate, arrivals.seconds
        );
        let remedy = format!(
            "give 1 to {} requests in all, in {TIME_S_MAX} s at most",
            REQUESTS_MAX / 100 * 99
        );
        SimulateError::new("--rate and --seconds", fault, remedy)
    };
    // As many as may be would be cut off half of the time.
    let is_good = (1.0..=REQUESTS_MAX as f64 * 0.99).contains(&expected);
    if !is_good || !(f64::MIN_POSITIVE..=TIME_S_MAX).contains(&arrivals.seconds) {
        return Err(refused());
    }
    let mut requests = Vec::new();
    let mut at_s = 0.0;
    for number in 0..REQUESTS_MAX as u64 {
        let bits = mix(arrivals.seed ^ mix(number));
        at_s -= uniform(bits).ln() / arrivals.rate;
        if at_s >= arrivals.seconds {
            break;
        }
        requests.push(Request {
            at_us: (at_s * 1e6) as u64,
            key: mix(mix(bits) % arrivals.keys.max(1)),
            cost_us: 0,
        });
    }
    if requests.is_empty() {
        return Err(refused());
    }
    Ok(requests)
}

/// Reads a trace; `name` stands in errors.
///
/// # Errors
/// With the line that is wrong; the trace is refused whole.
pub fn read(mut trace: impl BufRead, name: &str) -> Result<Vec<Request>, SimulateError> {
    let mut requests: Vec<Request> = Vec::new();
    let mut line = Vec::new();
    for number in 1_u64.. {
        let place = format!("{name}:{number}:");
        line.clear();
        let mut bounded = std::io::Read::take(&mut trace, LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line);
        let read = read.map_err(|error| {
            let fault = format!("cannot be read ({error})");
            SimulateError::new(&place, fault, "give a file that can")
        })?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            let remedy = format!("{LINE_BYTES_MAX} bytes are the most");
            return Err(SimulateError::new(place, "the line is too long", remedy));
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Err(SimulateError::new(
                place,
                "the line is not UTF-8",
                "write it as text",
            ));
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') || (requests.is_empty() && text.starts_with("time_s,")) {
            continue;
        }
        let request = request(text, &place)?;
        if requests.last().is_some_and(|last| last.at_us > request.at_us) {
            let fault = "is earlier than the line before";
            return Err(SimulateError::new(
                place,
                fault,
                "sort the lines by time: sort -t, -g -k1,1",
            ));
        }
        if requests.len() == REQUESTS_MAX {
            let fault = format!("is a request more than {REQUESTS_MAX}");
            return Err(SimulateError::new(place, fault, "cut the trace"));
        }
        requests.push(request);
    }
    match requests.is_empty() {
        true => Err(SimulateError::new(
            name,
            "has no request",
            "write lines of time_s,key[,cost_ms]",
        )),
        false => Ok(requests),
    }
}

fn request(text: &str, place: &str) -> Result<Request, SimulateError> {
    let mut fields = text.split(',');
    let (Some(time), Some(key), cost, None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        let remedy = "write time_s,key[,cost_ms], without commas in the key";
        return Err(SimulateError::new(
            place,
            format!("has {} fields", text.split(',').count()),
            remedy,
        ));
    };
    let time_s = number(&format!("{place} time_s"), time, 0.0, TIME_S_MAX, "seconds")?;
    let cost_ms = match cost {
        Some(cost) => number(
            &format!("{place} cost_ms"),
            cost,
            0.0,
            COST_MS_MAX,
            "milliseconds",
        )?,
        None => 0.0,
    };
    Ok(Request {
        at_us: (time_s * 1e6).round() as u64,
        key: key
            .trim()
            .bytes()
            .fold(0, |hash, byte| mix(hash ^ u64::from(byte))),
        cost_us: (cost_ms * 1e3).round() as u64,
    })
}

/// Above 0, at most 1.
pub(super) fn uniform(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_line_by_line() {
        let trace = "time_s,key,cost_ms\n# from last week\n0.5,ann\n\n0.5,bob,2.5\r\n1e1, ann ,0\n";
        let requests = read(trace.as_bytes(), "t").unwrap();
        let times: Vec<_> = requests
            .iter()
            .map(|request| (request.at_us, request.cost_us))
            .collect();
        assert_eq!(times, [(500_000, 0), (500_000, 2_500), (10_000_000, 0)]);
        assert!(requests[0].key == requests[2].key && requests[0].key != requests[1].key);
    }

    #[test]
    fn a_bad_line_is_named_with_its_remedy() {
        let long = format!("1,{}", "k".repeat(5000));
        for (trace, expected) in [
            ("", "t has no request; write lines of time_s,key[,cost_ms]"),
            (
                "1,a\nx,b",
                "t:2: time_s is \"x\", which is no number; give 0 to 10000000 seconds",
            ),
            (
                "\n-1,b",
                "t:2: time_s is -1, which is out of bounds; give 0 to 10000000 seconds",
            ),
            (
                "1,a,-1",
                "t:1: cost_ms is -1, which is out of bounds; give 0 to 3600000 milliseconds",
            ),
            (
                "1",
                "t:1: has 1 fields; write time_s,key[,cost_ms], without commas in the key",
            ),
            (
                "1,a,2,3",
                "t:1: has 4 fields; write time_s,key[,cost_ms], without commas in the key",
            ),
            (
                "2,a\n1,a",
                "t:2: is earlier than the line before; sort the lines by time: sort -t, -g -k1,1",
            ),
            (&long, "t:1: the line is too long; 4096 bytes are the most"),
        ] {
            assert_eq!(read(trace.as_bytes(), "t").unwrap_err().to_string(), expected);
        }
        let bytes = read(&b"1,a\xff"[..], "t").unwrap_err().to_string();
        assert_eq!(bytes, "t:1: the line is not UTF-8; write it as text");
    }

    #[test]
    fn requests_are_made_up_at_the_rate_that_is_wanted_and_the_same_each_time() {
        let arrivals = Arrivals {
            rate: 1000.0,
            seconds: 20.0,
            keys: 10,
            seed: 1,
        };
        let requests = generate(&arrivals).unwrap();
        assert!(requests.len().abs_diff(20_000) < 600, "{}", requests.len());
        assert!(requests.is_sorted_by_key(|request| request.at_us));
        let mut keys: Vec<_> = requests.iter().map(|request| request.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10);
        assert_eq!(generate(&arrivals).unwrap(), requests);
        assert_ne!(generate(&Arrivals { seed: 2, ..arrivals }).unwrap(), requests);
        for (rate, seconds) in [
            (0.0, 1.0),
            (1e6, 100.0),
            (f64::NAN, 1.0),
            (-1.0, -10.0),
            (1e-6, 1e8),
        ] {
            let arrivals = Arrivals {
                rate,
                seconds,
                ..arrivals
            };
            let refused = generate(&arrivals).unwrap_err().to_string();
            assert!(
                refused.contains("; give 1 to 1980000 requests in all"),
                "{refused}"
            );
        }
    }
}
