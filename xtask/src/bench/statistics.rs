//! Medians, the interval of a median, and the slope of a line: all that the bench says about noise.
//!
//! The interval is the one of the sign test: order statistics, with no assumption about the distribution, and no
//! chance in it. Source: Conover, Practical Nonparametric Statistics, chapter 3.2 (confidence interval of a
//! quantile). What a result means for a target is decided in `targets`.

/// Largest chance of an interval that misses the true median.
const MISS_MAX: f64 = 0.05;

/// Median of any number of values; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The interval that holds the true median with a chance of 95% at least; `None` of fewer than six values, which
/// have no such interval.
///
/// Of nine values it is the second smallest to the second largest (96.1%).
pub fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    let outside = outside(sorted.len())?;
    let low = sorted.get(outside)?;
    let high = sorted.get(sorted.len().checked_sub(outside + 1)?)?;
    Some((*low, *high))
}

/// How many values lie below the interval, and as many above it.
///
/// Each value lies below the median with a chance of a half, so how many do is binomial.
fn outside(count: usize) -> Option<usize> {
    let mut chance = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut sum = 0.0;
    let mut outside = None;
    for below in 0..=count / 2 {
        sum += chance;
        if 2.0 * sum > MISS_MAX {
            break;
        }
        outside = Some(below);
        chance *= real(count - below) / real(below + 1);
    }
    outside
}

/// Least-squares slope of `y` over `x`; `None` when there are not two different `x`.
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = real(points.len());
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let across: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (spread > 0.0).then(|| across / spread)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// A count as a number to calculate with; counts here are far below 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of runs, samples and requests are far below 2^52"
)]
pub fn real(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count: u64| count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_values() {
        let rows: [(&[f64], Option<f64>); 4] = [
            (&[3.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 2.0, 3.0], Some(2.5)),
            (&[7.0], Some(7.0)),
            (&[], None),
        ];
        for (values, expected) in rows {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    /// Against the table of the sign test: how many order statistics a 95% interval leaves out on each side.
    #[test]
    fn intervals_are_those_of_the_sign_test() {
        let rows = [
            (0, None),
            (3, None),
            (5, None),
            (6, Some(0)),
            (8, Some(0)),
            (9, Some(1)),
            (11, Some(1)),
            (12, Some(2)),
            (15, Some(3)),
            (20, Some(5)),
            (30, Some(9)),
        ];
        for (count, expected) in rows {
            assert_eq!(outside(count), expected, "of {count} values");
        }
        let nine = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
        assert_eq!(interval(&nine), Some((2.0, 8.0)));
        assert_eq!(interval(&[1.0; 5]), None);
    }

    #[test]
    fn the_slope_of_a_line_is_found() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), Some(2.0));
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 5.0)]), Some(0.0));
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[]), None);
    }
}
