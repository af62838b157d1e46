//! Figures as lines that `xtask` reads: scenario, subject, metric, value, unit, between tabs.

/// Prints one figure.
pub fn row(scenario: &str, subject: &str, metric: &str, value: f64, unit: &str) {
    println!("row\t{scenario}\t{subject}\t{metric}\t{value}\t{unit}");
}

/// The smallest, and the one in the middle.
pub fn least_and_median(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (of(0), of(sorted.len() / 2))
}
