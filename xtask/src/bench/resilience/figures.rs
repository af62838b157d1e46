//! What `gateway-resilience` prints of a turn.

use anyhow::{Context, Result, bail};

/// What a turn came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Requests.
    pub sent: f64,
    /// Those without a good answer.
    pub failed: f64,
    /// Those of them that were due two seconds after the fault began, or later.
    pub failed_late: f64,
    /// Times as clients see them, in milliseconds.
    pub p50_ms: f64,
    /// That of 99 of 100.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How those that failed did, as it was printed.
    pub how: String,
}

impl Figures {
    /// Reads the line of figures among all that was printed.
    ///
    /// # Errors
    /// When there is none, or no request was sent.
    pub fn read(text: &str) -> Result<Self> {
        let line = text
            .lines()
            .find(|line| line.starts_with("sent="))
            .with_context(|| format!("no figures: {}", text.trim()))?;
        let of = |name: &str| -> Result<f64> {
            let word = line
                .split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.and_then(|value| value.parse().ok())
                .with_context(|| format!("no {name}: {line}"))
        };
        let how: Vec<&str> = line
            .split(' ')
            .filter_map(|word| word.strip_prefix("how:"))
            .collect();
        let figures = Self {
            sent: of("sent")?,
            failed: of("failed")?,
            failed_late: of("failed_after_detection")?,
            p50_ms: of("p50_us")? / 1e3,
            p99_ms: of("p99_us")? / 1e3,
            max_ms: of("max_us")? / 1e3,
            how: how.join(" "),
        };
        if figures.sent < 1.0 {
            bail!("no request was sent");
        }
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_figures_is_read() {
        let text = "x\nsent=3600 failed=12 failed_after_detection=2 p50_us=377 p99_us=502770 max_us=504092 \
                    how:Broken=10 how:Status(502)=2\n";
        let expected = Figures {
            sent: 3600.0,
            failed: 12.0,
            failed_late: 2.0,
            p50_ms: 0.377,
            p99_ms: 502.77,
            max_ms: 504.092,
            how: "Broken=10 Status(502)=2".to_owned(),
        };
        assert_eq!(Figures::read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_measurement_is_an_error() {
        let rows = [
            ("error: no root", "no figures: error: no root"),
            ("sent=1 failed=0", "no failed_after_detection"),
            (
                "sent=0 failed=0 failed_after_detection=0 p50_us=0 p99_us=0 max_us=0",
                "no request was sent",
            ),
        ];
        for (text, expected) in rows {
            let error = Figures::read(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
