//! Aligned tables for people, in colour only where a terminal shows it.

use std::io::IsTerminal;

/// Whether colours are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With escape sequences of ECMA-48.
    Coloured,
    /// Text alone.
    Plain,
}

impl Style {
    /// Colours on a terminal that knows them, unless `NO_COLOR` is set (no-color.org).
    pub fn of_stdout() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    /// Text in a tone.
    pub fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if self == Self::Plain => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Head => 1,
            Tone::Good => 32,
            Tone::Doubtful => 33,
            Tone::Bad => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// What a text says about what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// It is a heading.
    Head,
    /// All is well.
    Good,
    /// It may be well.
    Doubtful,
    /// It is not.
    Bad,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell(pub String, pub Tone);

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self(value.to_string(), Tone::Plain)
    }
}

/// Rows under a heading, their columns aligned.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// One with those headings.
    pub fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![
                heads
                    .iter()
                    .map(|head| Cell((*head).to_owned(), Tone::Head))
                    .collect(),
            ],
        }
    }

    /// One without headings.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.line(cells.into());
    }

    /// Adds a row of as many cells as were counted only now.
    pub fn line(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// All rows, each ended by a newline.
    pub fn text(&self, style: Style) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (column, Cell(text, _)) in row.iter().enumerate() {
                let width = text.chars().count();
                match widths.get_mut(column) {
                    Some(known) => *known = width.max(*known),
                    None => widths.push(width),
                }
            }
        }
        let mut lines = String::new();
        for row in &self.rows {
            let last = row.len().saturating_sub(1);
            for (column, (Cell(text, tone), width)) in row.iter().zip(&widths).enumerate() {
                lines.push_str(&style.paint(text, *tone));
                if column < last {
                    lines.push_str(&" ".repeat(width.saturating_sub(text.chars().count()) + 2));
                }
            }
            lines.push('\n');
        }
        lines
    }
}

/// The word that the file and the API have for a choice.
pub fn word<T: serde::Serialize>(choice: &T) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_the_colours() {
        let mut table = Table::new(&["name", "state"]);
        table.row(["a-long-name".into(), Cell("ready".to_owned(), Tone::Good)]);
        table.row(["ä".into(), "x".into()]);
        assert_eq!(
            table.text(Style::Plain),
            "name         state\na-long-name  ready\nä            x\n"
        );
        let coloured = table.text(Style::Coloured);
        assert_eq!(coloured.lines().nth(1), Some("a-long-name  \x1b[32mready\x1b[0m"));
    }
}
