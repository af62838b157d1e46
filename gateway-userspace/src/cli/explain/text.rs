//! Explanations for people: a step a line, with its place in the file.

use gateway::config::Place;
use gateway::explain::request::{Candidate, Fate, Other};
use gateway::explain::{Step, packet, request};

use crate::cli::table::{Cell, Style, Table, Tone};

/// A request's.
pub fn request(explained: &request::Explained, style: Style) -> String {
    let mut text = steps(&explained.steps, style);
    section(
        &mut text,
        "not taken",
        others(&explained.others),
        explained.others.len(),
        style,
    );
    left_out(&mut text, explained.others_left_out, "routes");
    let count = explained.candidates.len();
    section(
        &mut text,
        "endpoints",
        candidates(&explained.candidates),
        count,
        style,
    );
    left_out(&mut text, explained.candidates_left_out, "endpoints");
    let source = match explained.snapshot {
        Some(number) => format!("snapshot {number} of {}", explained.config),
        None => format!("{} alone: nothing is known of endpoints", explained.config),
    };
    let verdict = &explained.verdict;
    let tone = match verdict.fate {
        Fate::Forwarded | Fate::Answered => Tone::Good,
        Fate::Refused => Tone::Bad,
    };
    let mut says = format!("{}: {}", verdict.fate.word(), verdict.says);
    let details = [
        verdict.status.map(|status| status.to_string()),
        verdict.grpc_status.map(|status| format!("grpc-status {status}")),
        verdict.reason.clone(),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    if !details.is_empty() {
        says.push_str(&format!(" ({})", details.join(", ")));
    }
    text.push_str(&format!("\nby {source}\n{}\n", style.paint(&says, tone)));
    text
}

/// A packet's.
pub fn packet(explained: &packet::Explained, style: Style) -> String {
    let mut text = steps(&explained.steps, style);
    let verdict = &explained.verdict;
    let tone = match verdict.action.as_str() {
        "drop" => Tone::Bad,
        _ => Tone::Good,
    };
    let says = format!("{}: {} ({})", verdict.action, verdict.says, verdict.reason);
    text.push_str(&format!(
        "\nby the kernel's maps on {}, view {}, snapshot {}\n{}\n",
        explained.node,
        explained.view,
        explained.snapshot,
        style.paint(&says, tone)
    ));
    text
}

fn steps(steps: &[Step], style: Style) -> String {
    let mut table = Table::bare();
    for step in steps {
        let mut cells = vec![
            Cell(format!("{:<11}", step.step), Tone::Head),
            step.says.as_str().into(),
        ];
        cells.extend(step.place.as_ref().map(place));
        table.line(cells);
    }
    table.text(style)
}

fn others(others: &[Other]) -> Table {
    let mut table = Table::bare();
    for other in others {
        table.row([
            format!("  {}", other.route).into(),
            other.says.as_str().into(),
            place(&other.place),
        ]);
    }
    table
}

fn candidates(candidates: &[Candidate]) -> Table {
    let mut table = Table::bare();
    for one in candidates {
        let share = format!("{:.1}%", f64::from(one.per_mille) / 10.0);
        let tone = match one.readiness.as_str() {
            "ready" | "unchecked" if !one.ejected && one.breaker.is_none() => Tone::Good,
            "failing" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        let mut state = one.readiness.clone();
        if one.ejected {
            state.push_str(", ejected");
        }
        if let Some(breaker) = &one.breaker {
            state.push_str(&format!(", breaker {breaker}"));
        }
        let mut cells = vec![
            format!("  {}", one.upstream).into(),
            one.endpoint.into(),
            share.into(),
            Cell(state, tone),
            format!("weight {}", one.weight).into(),
            format!("priority {}", one.priority).into(),
            format!("{} under way", one.active).into(),
            one.says.clone().unwrap_or_default().into(),
        ];
        cells.extend(one.place.as_ref().map(place));
        table.line(cells);
    }
    table
}

fn place(place: &Place) -> Cell {
    let file = place.file.as_ref().map(|file| format!("{} ", file.display()));
    let file = file.unwrap_or_default();
    Cell::from(format!("{file}line {}: {}", place.line, place.path))
}

fn section(text: &mut String, name: &str, table: Table, count: usize, style: Style) {
    if count > 0 {
        text.push_str(&format!(
            "\n{}\n{}",
            style.paint(name, Tone::Head),
            table.text(style)
        ));
    }
}

fn left_out(text: &mut String, count: usize, what: &str) {
    if count > 0 {
        text.push_str(&format!("  and {count} more {what}\n"));
    }
}
