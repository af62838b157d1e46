//! What the bench says at the end: rows, targets, as a table and as JSON.
//!
//! The JSON is that of every `--json FILE` of this project: `rows` and `targets`, with the same keys everywhere.

use std::fmt::Write as _;

/// One figure of one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was done.
    pub scenario: String,
    /// To whom.
    pub subject: String,
    /// What was read.
    pub metric: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

impl Row {
    /// A row.
    pub fn new(scenario: &str, subject: &str, metric: &str, value: f64, unit: &str) -> Self {
        Self {
            scenario: scenario.into(),
            subject: subject.into(),
            metric: metric.into(),
            value,
            unit: unit.into(),
        }
    }
}

/// What became of a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is met, by the whole interval where there is one.
    Holds,
    /// It is missed, by the whole interval where there is one.
    Fails,
    /// The interval has the limit within it, or there are too few undisturbed rounds for one.
    Inconclusive,
    /// There is no figure.
    NotMeasured,
}

impl Verdict {
    /// As it is written in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Inconclusive => "inconclusive",
            Self::NotMeasured => "not-measured",
        }
    }
}

/// A target of the project, and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where it was measured.
    pub scenario: &'static str,
    /// What was read.
    pub metric: &'static str,
    /// At most this.
    pub limit: f64,
    /// The figure.
    pub value: Option<f64>,
    /// The interval that holds the figure with a chance of 95%.
    pub interval: Option<(f64, f64)>,
    /// What became of it.
    pub verdict: Verdict,
    /// What a reader must know beside it.
    pub note: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Every figure.
    pub rows: Vec<Row>,
    /// Every target.
    pub targets: Vec<Target>,
}

impl Report {
    /// One JSON object.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            format!(
                "{{ \"scenario\": {}, \"subject\": {}, \"metric\": {}, \"value\": {}, \"unit\": {} }}",
                quoted(&row.scenario),
                quoted(&row.subject),
                quoted(&row.metric),
                number(Some(row.value)),
                quoted(&row.unit)
            )
        });
        let targets = self.targets.iter().map(|target| {
            format!(
                "{{ \"scenario\": {}, \"metric\": {}, \"limit\": {}, \"value\": {}, \"holds\": {}, \
                 \"verdict\": {}, \"low\": {}, \"high\": {}, \"note\": {} }}",
                quoted(target.scenario),
                quoted(target.metric),
                number(Some(target.limit)),
                number(target.value),
                target.verdict == Verdict::Holds,
                quoted(target.verdict.name()),
                number(target.interval.map(|(low, _)| low)),
                number(target.interval.map(|(_, high)| high)),
                quoted(&target.note)
            )
        });
        let list = |lines: Vec<String>| {
            if lines.is_empty() {
                "[]".to_string()
            } else {
                format!("[\n    {}\n  ]", lines.join(",\n    "))
            }
        };
        format!(
            "{{\n  \"rows\": {},\n  \"targets\": {}\n}}\n",
            list(rows.collect()),
            list(targets.collect())
        )
    }

    /// Tables: one for each scenario, a line a metric and a column a subject; then the targets.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for scenario in firsts(self.rows.iter().map(|row| row.scenario.as_str())) {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.scenario == scenario).collect();
            let subjects = firsts(rows.iter().map(|row| row.subject.as_str()));
            let mut lines = vec![heads(scenario, &subjects)];
            for metric in firsts(rows.iter().map(|row| row.metric.as_str())) {
                let mut line = vec![metric.to_string()];
                line.extend(subjects.iter().map(|subject| {
                    let found = rows
                        .iter()
                        .find(|row| row.metric == metric && row.subject == *subject);
                    found.map_or_else(|| "-".into(), |row| shown(row.value))
                }));
                lines.push(line);
            }
            text += &aligned(&lines);
            text.push('\n');
        }
        let mut lines = vec![
            [
                "target",
                "metric",
                "limit",
                "value",
                "95% interval",
                "verdict",
                "",
            ]
            .map(String::from)
            .to_vec(),
        ];
        for target in &self.targets {
            let interval = target.interval.map_or_else(
                || "-".into(),
                |(low, high)| format!("{} to {}", shown(low), shown(high)),
            );
            lines.push(vec![
                target.scenario.into(),
                target.metric.into(),
                shown(target.limit),
                target.value.map_or_else(|| "-".into(), shown),
                interval,
                target.verdict.name().into(),
            ]);
        }
        text += &aligned(&lines);
        for target in self.targets.iter().filter(|target| !target.note.is_empty()) {
            // Writing to a string cannot fail.
            if writeln!(text, "  {}: {}", target.scenario, target.note).is_err() {
                break;
            }
        }
        text
    }
}

fn heads(scenario: &str, subjects: &[&str]) -> Vec<String> {
    let names = std::iter::once(scenario).chain(subjects.iter().copied());
    names.map(String::from).collect()
}

/// Each once, in the order in which they first come.
fn firsts<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut firsts = Vec::new();
    for name in names {
        if !firsts.contains(&name) {
            firsts.push(name);
        }
    }
    firsts
}

/// Lines whose columns stand below each other: the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widths = lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at == 0 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// As many digits as say something.
fn shown(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        grouped(value)
    } else if size >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// With a comma at each thousand.
fn grouped(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut text = String::new();
    for (at, letter) in plain.chars().enumerate() {
        let left = plain.len() - at;
        if left % 3 == 0 && text.ends_with(|before: char| before.is_ascii_digit()) {
            text.push(',');
        }
        text.push(letter);
    }
    text
}

fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value}"),
        _ => "null".into(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            rows: vec![
                Row::new("h1-small", "gateway", "requests_per_second", 54_321.4, "1/s"),
                Row::new("h1-small", "nginx", "requests_per_second", 999.0, "1/s"),
                Row::new("h1-small", "gateway", "cpu_us_per_request", 14.625, "us"),
            ],
            targets: vec![Target {
                scenario: "h1-small",
                metric: "cpu_ratio",
                limit: 0.95,
                value: Some(0.91),
                interval: Some((0.9, 0.93)),
                verdict: Verdict::Holds,
                note: "against \"nginx\"".into(),
            }],
        }
    }

    #[test]
    fn the_json_has_the_keys_that_scripts_read() {
        let expected = r#"{
  "rows": [
    { "scenario": "h1-small", "subject": "gateway", "metric": "requests_per_second", "value": 54321.4, "unit": "1/s" },
    { "scenario": "h1-small", "subject": "nginx", "metric": "requests_per_second", "value": 999, "unit": "1/s" },
    { "scenario": "h1-small", "subject": "gateway", "metric": "cpu_us_per_request", "value": 14.625, "unit": "us" }
  ],
  "targets": [
    { "scenario": "h1-small", "metric": "cpu_ratio", "limit": 0.95, "value": 0.91, "holds": true, "verdict": "holds", "low": 0.9, "high": 0.93, "note": "against \"nginx\"" }
  ]
}
"#;
        assert_eq!(report().json(), expected);
        assert_eq!(
            Report::default().json(),
            "{\n  \"rows\": [],\n  \"targets\": []\n}\n"
        );
    }

    #[test]
    fn the_tables_line_up() {
        let expected = "\
h1-small             gateway  nginx
requests_per_second   54,321    999
cpu_us_per_request      14.6      -

target       metric  limit  value    95% interval  verdict
h1-small  cpu_ratio  0.950  0.910  0.900 to 0.930    holds
  h1-small: against \"nginx\"
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let rows = [
            (0.9123, "0.912"),
            (14.66, "14.7"),
            (512.4, "512"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
            (0.0, "0"),
            (9.0, "9"),
        ];
        for (value, expected) in rows {
            assert_eq!(shown(value), expected);
        }
        assert_eq!(number(Some(f64::NAN)), "null");
    }
}
