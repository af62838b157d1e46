//! Upstreams in `gateway status`: a table of endpoints, and one of their checks.

use std::time::Duration;

use gateway::admin::status::{Endpoint, EndpointReadiness, UnderWay, Upstream};
use gateway::resilience::breaker::State;

use super::super::table::{Cell, Table, Tone};

/// What stands in the place of an address where the whole upstream is meant, as in the log.
const WHOLE: &str = "all";

/// Every endpoint; with columns of metadata, and of what keeps traffic away, where something has any.
pub fn table(upstreams: &[Upstream]) -> Table {
    let mut rows = Vec::new();
    for upstream in upstreams {
        // Its own breaker has a row only while it is not as it should be.
        if let Some(note) = note(None, upstream.breaker, &upstream.under_way) {
            let mut row = vec![(&upstream.name).into(), WHOLE.into()];
            row.resize(COLUMNS.len(), "".into());
            rows.push((row, String::new(), Some(note)));
        }
        for endpoint in &upstream.endpoints {
            let note = note(Some(endpoint), endpoint.breaker, &endpoint.under_way);
            rows.push((row(upstream, endpoint), metadata(endpoint), note));
        }
    }
    let has_metadata = rows.iter().any(|(_, metadata, _)| !metadata.is_empty());
    let has_notes = rows.iter().any(|(_, _, note)| note.is_some());
    let mut columns = COLUMNS.to_vec();
    columns.extend(has_metadata.then_some("metadata"));
    columns.extend(has_notes.then_some("held back"));
    let mut table = Table::new(&columns);
    for (mut row, metadata, note) in rows {
        row.extend(has_metadata.then(|| metadata.into()));
        row.extend(note);
        table.line(row);
    }
    table
}

const COLUMNS: [&str; 7] = [
    "upstream",
    "endpoint",
    "readiness",
    "weight",
    "active",
    "requests",
    "failures",
];

fn metadata(endpoint: &Endpoint) -> String {
    let pairs = endpoint.metadata.iter();
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

fn row(upstream: &Upstream, endpoint: &Endpoint) -> Vec<Cell> {
    vec![
        (&upstream.name).into(),
        match &endpoint.host {
            Some(host) => format!("{} ({host})", endpoint.address).into(),
            None => endpoint.address.into(),
        },
        readiness_cell(endpoint.readiness),
        endpoint.weight.into(),
        endpoint.active.into(),
        endpoint.requests.into(),
        endpoint.failures.into(),
    ]
}

/// What passive health, a breaker and limits have to say, where it is not that all is well.
fn note(endpoint: Option<&Endpoint>, breaker: Option<State>, under_way: &UnderWay) -> Option<Cell> {
    let is_ejected = endpoint.is_some_and(|endpoint| endpoint.ejected);
    let ejected = is_ejected.then(|| ("ejected".to_owned(), Tone::Bad));
    let tone = match breaker {
        None | Some(State::Closed) => None,
        Some(State::Open | State::ForcedOpen) => Some(Tone::Bad),
        Some(State::HalfOpen | State::Ramping | State::ForcedClosed) => Some(Tone::Doubtful),
    };
    let breaker = breaker.zip(tone);
    let breaker = breaker.map(|(state, tone)| (format!("breaker {state}"), tone));
    let channel = endpoint.and_then(|endpoint| endpoint.channel.as_ref());
    let channel = channel.map(|channel| (format!("over {channel}"), Tone::Doubtful));
    // The worst comes first, and lends its tone.
    let notes = [ejected, breaker, full(under_way), channel].into_iter().flatten();
    let (texts, tones): (Vec<_>, Vec<_>) = notes.unzip();
    tones.first().map(|tone| Cell(texts.join(", "), *tone))
}

/// The limits that are reached now.
fn full(under_way: &UnderWay) -> Option<(String, Tone)> {
    let of = [
        ("connections", under_way.connections),
        ("pending", under_way.pending),
        ("requests", under_way.requests),
        ("retries", under_way.retries),
    ];
    let full = of.into_iter().filter(|(_, used)| used.is_full());
    let full: Vec<String> = full.map(|(what, used)| format!("{} {what}", used.now)).collect();
    (!full.is_empty()).then(|| (format!("at its limit: {}", full.join(", ")), Tone::Doubtful))
}

fn readiness_cell(readiness: EndpointReadiness) -> Cell {
    let tone = match readiness {
        EndpointReadiness::Ready => Tone::Good,
        EndpointReadiness::Failing => Tone::Bad,
        EndpointReadiness::Unknown => Tone::Doubtful,
        EndpointReadiness::Unchecked => Tone::Plain,
    };
    Cell(readiness.word().to_owned(), tone)
}

/// What each kind of check says, where there are checks.
pub fn checks(upstreams: &[Upstream]) -> Option<Table> {
    let mut table = Table::new(&["upstream", "endpoint", "check", "state", "for", "last failure"]);
    let mut is_empty = true;
    for upstream in upstreams {
        for endpoint in &upstream.endpoints {
            for check in &endpoint.checks {
                is_empty = false;
                let age = humantime::format_duration(Duration::from_secs(check.since_s));
                table.row([
                    (&upstream.name).into(),
                    endpoint.address.into(),
                    check.kind.word().into(),
                    readiness_cell(check.state),
                    age.to_string().into(),
                    check.last_failure.clone().unwrap_or_default().into(),
                ]);
            }
        }
    }
    (!is_empty).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::super::super::table::Style;
    use gateway::admin::status::Used;

    use super::*;

    fn endpoint(is_ejected: &str, breaker: Option<State>) -> Endpoint {
        Endpoint {
            address: "10.0.1.1:80".parse().unwrap(),
            host: None,
            metadata: Default::default(),
            weight: 1,
            readiness: EndpointReadiness::Ready,
            ejected: is_ejected == "ejected",
            channel: None,
            breaker,
            active: 0,
            under_way: UnderWay::default(),
            requests: 0,
            failures: 0,
            checks: Vec::new(),
        }
    }

    #[test]
    fn limits_that_are_reached_are_named_and_no_others() {
        let mut upstream = Upstream {
            name: "u".to_owned(),
            breaker: None,
            under_way: UnderWay::default(),
            endpoints: vec![endpoint("in", None)],
        };
        upstream.under_way.requests = Used {
            now: 8,
            limit: Some(9),
        };
        let text = |upstream: &Upstream| table(std::slice::from_ref(upstream)).text(Style::Plain);
        assert!(!text(&upstream).contains("limit"), "{}", text(&upstream));
        upstream.under_way.requests.now = 9;
        upstream.endpoints[0].under_way.connections = Used {
            now: 3,
            limit: Some(3),
        };
        let text = text(&upstream);
        assert!(text.contains("at its limit: 9 requests"), "{text}");
        assert!(text.contains("at its limit: 3 connections"), "{text}");
    }

    #[test]
    fn what_keeps_traffic_away_is_named_and_nothing_is_where_all_is_well() {
        type Row<'r> = (Option<State>, &'r str, Option<State>, &'r str);
        let rows: &[Row<'_>] = &[
            (None, "in", None, ""),
            (Some(State::Closed), "in", Some(State::Closed), ""),
            (None, "ejected", None, "u 10.0.1.1:80 ready 1 0 0 0 ejected"),
            (
                Some(State::Closed),
                "in",
                Some(State::Open),
                "u 10.0.1.1:80 ready 1 0 0 0 breaker open",
            ),
            (
                Some(State::ForcedOpen),
                "in",
                Some(State::Closed),
                "u all breaker forced-open",
            ),
            (
                Some(State::Closed),
                "ejected",
                Some(State::HalfOpen),
                "u 10.0.1.1:80 ready 1 0 0 0 ejected, breaker half-open",
            ),
        ];
        for (whole, is_ejected, breaker, expected) in rows {
            let upstream = Upstream {
                name: "u".to_owned(),
                breaker: *whole,
                under_way: UnderWay::default(),
                endpoints: vec![endpoint(is_ejected, *breaker)],
            };
            let text = table(&[upstream]).text(Style::Plain);
            let squeezed: Vec<String> = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            let is_noted = squeezed[0].ends_with("held back");
            assert_eq!(is_noted, !expected.is_empty(), "{text}");
            if is_noted {
                assert!(
                    squeezed.iter().any(|line| line == expected),
                    "{expected}:\n{text}"
                );
            }
        }
    }

    #[test]
    fn metadata_have_a_column_where_there_are_any() {
        let mut with = endpoint("ejected", None);
        with.metadata = [("stage", "b"), ("version", "v2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let upstream = Upstream {
            under_way: UnderWay::default(),
            name: "u".to_owned(),
            breaker: None,
            endpoints: vec![with, endpoint("in", None)],
        };
        let text = table(&[upstream]).text(Style::Plain);
        let mut lines = text.lines().map(str::trim_end);
        assert!(
            lines
                .next()
                .unwrap()
                .ends_with("failures  metadata             held back"),
            "{text}"
        );
        assert!(
            lines.next().unwrap().ends_with("stage=b, version=v2  ejected"),
            "{text}"
        );
        assert!(lines.next().unwrap().ends_with('0'), "{text}");
    }
}
