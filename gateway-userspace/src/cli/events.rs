//! `gateway events`: what changed on the running node, and with `--follow` what changes.

use std::io::{self, Write};
use std::ops::ControlFlow;

use clap::Args;
use gateway::admin::follow::End;
use gateway::events::{Event, Kind};

use super::table::{Style, Tone};
use super::{Connection, Form};

/// Which events.
#[derive(Debug, Args)]
pub struct Order {
    /// Go on with those that come, until interrupted.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `gateway events`.
pub fn events(order: &Order) -> anyhow::Result<()> {
    let (client, form) = (order.connection.client(), order.connection.form());
    let path = if order.follow {
        "/v1/events?follow=true"
    } else {
        "/v1/events"
    };
    let mut ended = None;
    let mut failed = None;
    client.lines(path, &mut |line| match written(line, form, &mut ended) {
        Ok(flow) => flow,
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    ended.map_or(Ok(()), |end| anyhow::bail!("the node ended the stream: {end}"))
}

/// Writes one line; a reader that went away, as `head` does, wants no more.
fn written(line: &str, form: Form, ended: &mut Option<String>) -> anyhow::Result<ControlFlow<()>> {
    if let Ok(End { end }) = serde_json::from_str(line) {
        *ended = Some(end);
    }
    let text = match form {
        Form::Json => format!("{line}\n"),
        Form::Text(_) if ended.is_some() => String::new(),
        Form::Text(style) => event_text(&serde_json::from_str(line)?, style),
    };
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error.into()),
    }
}

fn event_text(event: &Event, style: Style) -> String {
    let who = match (&event.file, event.endpoint, &event.interface) {
        (Some(file), ..) => file.display().to_string(),
        (None, Some(address), _) => address.to_string(),
        (None, None, Some(interface)) => interface.clone(),
        (None, None, None) => "all".to_owned(),
    };
    let what = match (event.kind, &event.check) {
        (Kind::Check, Some(check)) => check,
        (Kind::Check, None) => "endpoint",
        (kind, _) => kind.word(),
    };
    let tone = match event.to.as_str() {
        "ready" | "closed" | "in" | "free" | "renewed" | "issued" | "attached" => Tone::Good,
        "kept" | "failed" | "failing" | "open" | "forced-open" | "ejected" | "gone" | "refused" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    let (time, from, why) = (&event.time, &event.from, &event.why);
    let whose = match event.kind {
        Kind::File | Kind::Acme if event.upstream.is_empty() => {
            let whose = event.listener.as_deref().or(event.route.as_deref());
            whose.unwrap_or("tls")
        }
        Kind::Interface => "dataplane",
        _ => &event.upstream,
    };
    let to = style.paint(&event.to, tone);
    format!("{time}  {whose}  {who}  {what}  {from} -> {to}: {why}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_when_who_what_from_to_and_why() {
        let event = |check: Option<&str>, kind, to: &str, endpoint: Option<&str>| Event {
            time: "T".to_owned(),
            kind,
            check: check.map(str::to_owned),
            upstream: "u".to_owned(),
            listener: None,
            route: None,
            file: (kind == Kind::File).then(|| "own.pem".into()),
            endpoint: endpoint.map(|address| address.parse().unwrap()),
            interface: (kind == Kind::Interface).then(|| "eth1".to_owned()),
            from: "x".to_owned(),
            to: to.to_owned(),
            why: "so".to_owned(),
        };
        let one = Some("10.0.1.1:80");
        let rows = [
            (
                event(Some("liveness"), Kind::Check, "failing", one),
                "T  u  10.0.1.1:80  liveness  x -> failing: so\n",
            ),
            (
                event(None, Kind::Check, "ready", one),
                "T  u  10.0.1.1:80  endpoint  x -> ready: so\n",
            ),
            (
                event(None, Kind::Breaker, "open", None),
                "T  u  all  breaker  x -> open: so\n",
            ),
            (
                event(None, Kind::File, "kept", None),
                "T  u  own.pem  file  x -> kept: so\n",
            ),
        ];
        for (event, expected) in rows {
            assert_eq!(event_text(&event, Style::Plain), expected);
        }
    }
}
