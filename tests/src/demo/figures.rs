//! Figures and targets as every `--json FILE` of the project writes them.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One figure of one subject.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was going on.
    pub scenario: String,
    /// Whose figure it is.
    pub subject: String,
    /// Which figure.
    pub metric: String,
    /// The figure, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// A figure that was asked for, and whether it is good enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What was going on.
    pub scenario: String,
    /// Which figure.
    pub metric: String,
    /// The most that it may be.
    pub limit: f64,
    /// What it is.
    pub value: f64,
    /// Whether it holds.
    pub holds: bool,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Every figure of every subject.
    pub rows: Vec<Row>,
    /// Every target, missed or not.
    pub targets: Vec<Target>,
}

impl Figures {
    /// Adds a figure.
    pub fn row(&mut self, scenario: &str, subject: &str, metric: &str, value: f64, unit: &str) {
        self.rows.push(Row {
            scenario: scenario.into(),
            subject: subject.into(),
            metric: metric.into(),
            value,
            unit: unit.into(),
        });
    }

    /// Adds a target that holds where `value` is at most `limit`; a value that is no number does not.
    pub fn target(&mut self, scenario: &str, metric: &str, limit: f64, value: f64) {
        self.targets.push(Target {
            scenario: scenario.into(),
            metric: metric.into(),
            limit,
            value,
            holds: value <= limit,
        });
    }

    /// Whether every target holds.
    pub fn all_hold(&self) -> bool {
        self.targets.iter().all(|target| target.holds)
    }

    /// Writes all as one JSON object.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write figures as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }
}

/// A count as a figure; exact up to 2^53, far above any count of a run.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
pub fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_holds_up_to_its_limit_and_not_without_a_number() {
        let mut figures = Figures::default();
        for (value, holds) in [(0.0, true), (3.0, true), (3.1, false), (f64::NAN, false)] {
            figures.target("s", "m", 3.0, value);
            assert_eq!(
                figures.targets.last().map(|target| target.holds),
                Some(holds),
                "{value}"
            );
        }
        assert!(!figures.all_hold());
    }
}
