//! Logistic regression by gradient descent: the rows are cached, each step sends the weights to the tasks and
//! adds up what they find of the gradient.

use firesteel::{Context, Result};
use serde::Serialize;

/// Features of a row, the constant one among them.
const FEATURES: usize = 4;
/// What the rows are made of; the fit is to find something near.
const TRUTH: [f64; FEATURES] = [0.5, -1.5, 2.0, 0.25];

/// What is found.
#[derive(Debug, PartialEq, Serialize)]
pub struct Fit {
    /// The weights; the first one is that of the constant.
    pub weights: [f64; FEATURES],
    /// The mean negative logarithm of the likelihood.
    pub loss: f64,
    /// The share of rows whose label is the likelier one.
    pub accuracy: f64,
}

/// Fits a logistic regression to generated rows.
#[firesteel::entry]
pub fn logistic(
    cx: &Context<'_>,
    /// How many rows are made (1,000,000).
    rows: Option<u64>,
    /// How many steps are taken, at most 10,000 (20).
    steps: Option<u64>,
    /// How far each step goes, more than 0 and at most 1,000 (2).
    rate: Option<f64>,
) -> Result<Fit> {
    let count = i64::try_from(rows.unwrap_or(1_000_000)).map_err(|_| Context::error("too many rows"))?;
    if count == 0 {
        return Err(Context::error("there is nothing to fit: rows is 0"));
    }
    let rate = rate.unwrap_or(2.0);
    if !(rate > 0.0 && rate <= 1_000.0) {
        return Err(Context::error(format!("rate is {rate}: it must be more than 0 and at most 1000")));
    }
    let partitions = cx.default_parallelism().max(1) as usize;
    let rows = cx.range(0, count, partitions).map(row).cache();
    let mut weights = [0.0; FEATURES];
    for _ in 0..steps.unwrap_or(20).min(10_000) {
        let gradient = rows.aggregate_with(
            weights,
            |_| [0.0; FEATURES],
            |weights, sum: &mut [f64; FEATURES], (features, label)| {
                let error = likelihood(weights, &features) - label;
                sum.iter_mut().zip(features).for_each(|(sum, x)| *sum += error * x);
            },
            |sum, other| sum.iter_mut().zip(other).for_each(|(sum, more)| *sum += more),
        )?;
        for (weight, slope) in weights.iter_mut().zip(gradient) {
            *weight -= rate * slope / count as f64;
        }
    }
    let (loss, right) = rows.aggregate_with(
        weights,
        |_| (0.0, 0_u64),
        |weights, (loss, right), (features, label)| {
            let score = score(weights, &features);
            // ln(1 + exp(score)) - label * score, which stays finite where the likelihood rounds to 0 or 1.
            *loss += score.max(0.0) + (-score.abs()).exp().ln_1p() - label * score;
            *right += u64::from((score > 0.0) == (label > 0.5));
        },
        |(loss, right), (more, also)| {
            *loss += more;
            *right += also;
        },
    )?;
    Ok(Fit { weights, loss: loss / count as f64, accuracy: right as f64 / count as f64 })
}

/// How likely the label 1 is.
fn likelihood(weights: &[f64; FEATURES], features: &[f64; FEATURES]) -> f64 {
    1.0 / (1.0 + (-score(weights, features)).exp())
}

/// A row and its label; the same for the same number.
fn row(number: i64) -> ([f64; FEATURES], f64) {
    let mut state = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut chance = || {
        state ^= state >> 30;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 27;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let features = [1.0, 2.0 * chance() - 1.0, 2.0 * chance() - 1.0, 2.0 * chance() - 1.0];
    let label = f64::from(chance() < likelihood(&TRUTH, &features));
    (features, label)
}

/// The logarithm of the odds of the label 1.
fn score(weights: &[f64; FEATURES], features: &[f64; FEATURES]) -> f64 {
    weights.iter().zip(features).map(|(weight, x)| weight * x).sum()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_weights_are_those_of_a_plain_loop_and_near_the_truth() {
        let found = firesteel::testing::run(|cx| logistic(cx, Some(5_000), Some(120), Some(3.0))).unwrap();
        let rows: Vec<_> = (0..5_000).map(row).collect();
        let mut weights = [0.0_f64; FEATURES];
        for _ in 0..120 {
            let errors: Vec<f64> = rows
                .iter()
                .map(|(x, y)| {
                    let sum = (0..FEATURES).fold(0.0, |sum, f| sum + x[f] * weights[f]);
                    sum.exp() / (1.0 + sum.exp()) - y
                })
                .collect();
            for f in 0..FEATURES {
                let slope: f64 = rows.iter().zip(&errors).map(|((x, _), error)| x[f] * error).sum();
                weights[f] -= 3.0 * slope / 5_000.0;
            }
        }
        for f in 0..FEATURES {
            assert!((found.weights[f] - weights[f]).abs() < 1e-9, "{found:?} {weights:?}");
            assert!((found.weights[f] - TRUTH[f]).abs() < 0.3, "{found:?}");
        }
        let loss: f64 = rows
            .iter()
            .map(|(x, y)| {
                let one = likelihood(&weights, x);
                -(y * one.ln() + (1.0 - y) * (1.0 - one).ln())
            })
            .sum();
        assert!((found.loss - loss / 5_000.0).abs() < 1e-9, "{found:?}");
        assert!(found.accuracy > 0.7 && found.loss < 0.6, "{found:?}");
    }

    #[test]
    fn steps_that_are_too_long_give_numbers_and_those_that_are_none_are_refused() {
        let with = |rate| firesteel::testing::run(|cx| logistic(cx, Some(500), Some(5), Some(rate)));
        assert!(with(1_000.0).unwrap().loss.is_finite());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(with(rate).unwrap_err().message.contains("rate is"), "{rate}");
        }
    }
}
