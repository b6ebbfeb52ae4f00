//! The gradient of the logistic loss, a block of rows at a time: first all scores, then all likelihoods, then
//! the sums, each a loop without branches.

use super::{AXES, Point, Row};
use firesteel::Kernel;
use firesteel::text::Numbers;

/// Rows that are looked at together; their scores stay in registers and the nearest cache.
const BLOCK: usize = 64;

/// Over rows in memory.
pub struct Gradient<'a> {
    pub rows: &'a [Row],
    pub weights: &'a Point,
}

/// Over the rows of a text; and how many they are.
pub struct TextGradient<'a> {
    pub text: &'a str,
    pub weights: &'a Point,
}

/// The exponential function without a branch or a call. `x` is kept where the result is finite; it is off by
/// a few units in the last place.
#[inline(always)]
fn exp(x: f64) -> f64 {
    // x = n ln 2 + r with a whole n and |r| <= ln 2 / 2. Adding and subtracting 1.5 * 2^52 rounds to whole
    // numbers, and leaves n in the low bits of the sum.
    const ROUND: f64 = (3_u64 << 51) as f64;
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = x.clamp(-700.0, 700.0);
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // The series of e^r, from its smallest term on.
    let mut sum = 1.0;
    for term in [13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0_f64] {
        sum = 1.0 + sum * r * (1.0 / term);
    }
    sum * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// Adds the gradient of at most [`BLOCK`] rows.
#[inline(always)]
fn add_block(rows: &[Row], weights: &Point, slope: &mut Point) {
    let mut shares = [0.0; BLOCK];
    for (share, row) in shares.iter_mut().zip(rows) {
        let products: Point = std::array::from_fn(|axis| weights[axis] * row[axis + 1]);
        let fours: [f64; 4] = std::array::from_fn(|at| products[at] + products[at + 4]);
        *share = -row[0] * ((fours[0] + fours[1]) + (fours[2] + fours[3]));
    }
    for share in &mut shares {
        *share = 1.0 / (1.0 + exp(*share)) - 1.0;
    }
    let mut sums = *slope;
    for (share, row) in shares.iter().zip(rows) {
        let share = share * row[0];
        for (axis, sum) in sums.iter_mut().enumerate() {
            *sum += share * row[axis + 1];
        }
    }
    *slope = sums;
}

impl Kernel for Gradient<'_> {
    type Output = Point;

    #[inline(always)]
    fn run(self) -> Point {
        let mut slope = [0.0; AXES];
        for block in self.rows.chunks(BLOCK) {
            add_block(block, self.weights, &mut slope);
        }
        slope
    }
}

impl Kernel for TextGradient<'_> {
    type Output = (Point, u64);

    #[inline(always)]
    fn run(self) -> (Point, u64) {
        let mut numbers = Numbers::new(self.text);
        let (mut slope, mut count) = ([0.0; AXES], 0);
        let mut block = [[0.0; AXES + 1]; BLOCK];
        loop {
            let len = numbers.decimals(block.as_flattened_mut()) / (AXES + 1);
            add_block(&block[..len], self.weights, &mut slope);
            count += len as u64;
            if len < BLOCK {
                return (slope, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn the_exponential_is_that_of_the_standard_library() {
        for number in -70_000..70_000 {
            let x = f64::from(number) / 100.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-14, "{x}");
        }
        assert!(exp(1e9).is_finite() && exp(-1e9) >= 0.0);
    }
}
