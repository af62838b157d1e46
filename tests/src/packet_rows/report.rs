//! What became of the rows, for people and for scripts.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Judged;
use super::compare::Likeness;

/// All rows as text: one line each, with what differs below it, and the sum in the last line.
pub fn text(judged: &[Judged]) -> String {
    let mut text = String::new();
    for row in judged {
        // Writing to a `String` cannot fail.
        let _is_written = write_row(&mut text, row).is_ok();
    }
    let (passed, failed) = sum(judged);
    text + &format!("{passed} passed, {failed} failed\n")
}

/// Rows that hold, and rows that do not.
pub fn sum(judged: &[Judged]) -> (usize, usize) {
    let passed = judged.iter().filter(|row| row.holds()).count();
    (passed, judged.len() - passed)
}

fn write_row(text: &mut String, row: &Judged) -> std::fmt::Result {
    let ran = &row.ran;
    writeln!(
        text,
        "{:<27} {} ({}, {})",
        result(row),
        row.row.name,
        ran.action,
        ran.reason.name()
    )?;
    if !row.action_holds() {
        writeln!(
            text,
            "    line {}: expected {}, found {}: {}",
            row.row.line,
            row.row.action,
            ran.action,
            ran.reason.name()
        )?;
    }
    match &row.likeness {
        Some(Likeness::EqualAfterNormalisation(fields)) => {
            writeln!(text, "    differs in {}", fields.join(", "))
        }
        Some(Likeness::Different { faults, diff }) => {
            for line in faults.iter().chain(diff) {
                writeln!(text, "    {line}")?;
            }
            Ok(())
        }
        Some(Likeness::Equal) | None => Ok(()),
    }
}

fn result(row: &Judged) -> &'static str {
    match (&row.likeness, row.action_holds()) {
        (_, false) | (Some(Likeness::Different { .. }), true) => "different",
        (Some(Likeness::EqualAfterNormalisation(_)), true) => "equal after normalisation",
        (Some(Likeness::Equal) | None, true) => "equal",
    }
}

/// One row as JSON: a figure as all of this project's reports have, and beside it what a packet has.
#[derive(Serialize)]
struct JsonRow<'a> {
    scenario: &'a str,
    subject: &'static str,
    metric: &'static str,
    value: u8,
    unit: &'static str,
    verdict: &'static str,
    expected_verdict: &'static str,
    reason: &'static str,
    result: &'static str,
    normalised: &'a [&'static str],
    diff: Vec<&'a str>,
}

#[derive(Serialize)]
struct JsonTarget {
    scenario: &'static str,
    metric: &'static str,
    limit: usize,
    value: usize,
    holds: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    rows: Vec<JsonRow<'a>>,
    targets: [JsonTarget; 1],
}

/// Writes all rows to a file as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(judged: &[Judged], file: &Path) -> Result<()> {
    let (_, failed) = sum(judged);
    let json = Json {
        rows: judged.iter().map(json_row).collect(),
        targets: [JsonTarget {
            scenario: "packets",
            metric: "failed",
            limit: 0,
            value: failed,
            holds: failed == 0,
        }],
    };
    let text = serde_json::to_string_pretty(&json).context("write rows as JSON")?;
    std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
}

fn json_row(row: &Judged) -> JsonRow<'_> {
    let (normalised, diff): (&[&'static str], Vec<&str>) = match &row.likeness {
        Some(Likeness::EqualAfterNormalisation(fields)) => (fields, Vec::new()),
        Some(Likeness::Different { faults, diff }) => {
            (&[], faults.iter().chain(diff).map(String::as_str).collect())
        }
        _ => (&[], Vec::new()),
    };
    JsonRow {
        scenario: &row.row.name,
        subject: "gateway",
        metric: "as_expected",
        value: u8::from(row.holds()),
        unit: "rows",
        verdict: row.ran.action.name(),
        expected_verdict: row.row.action.name(),
        reason: row.ran.reason.name(),
        result: result(row),
        normalised,
        diff,
    }
}
