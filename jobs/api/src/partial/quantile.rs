//! Quantiles of three distributions: the normal one, Student's, and that of counts which were not seen.

use std::f64::consts::PI;

/// Beyond this mean a count is as good as a normal number.
const SUMMED_MAX: f64 = 1_000.0;
/// Beyond this power of e the first probability of a sum is nothing.
const EXPONENT_MAX: f64 = 600.0;

/// Below which value a normal number (mean 0, deviation 1) lies with this probability. The rational functions
/// are Acklam's (2003), whose relative error is below 1.2e-9.
pub fn normal(probability: f64) -> f64 {
    const MIDDLE: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const MIDDLE_UNDER: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const TAIL: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const TAIL_UNDER: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL_BELOW: f64 = 0.024_25;
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    if probability <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if probability > 0.5 {
        return -normal(1.0 - probability);
    }
    if probability < TAIL_BELOW {
        let x = (-2.0 * probability.ln()).sqrt();
        return polynomial(&TAIL, x) / polynomial(&TAIL_UNDER, x);
    }
    let x = probability - 0.5;
    x * polynomial(&MIDDLE, x * x) / polynomial(&MIDDLE_UNDER, x * x)
}

/// The same for Student's distribution: exact for one and two degrees of freedom, and for more an expansion
/// around the normal one (Fisher and Cornish) that is right to a hundredth.
pub fn student(probability: f64, degrees: u64) -> f64 {
    match degrees {
        0 => f64::INFINITY,
        1 => (PI * (probability - 0.5)).tan(),
        2 => {
            let x = 2.0 * probability - 1.0;
            x * (2.0 / (1.0 - x * x)).sqrt()
        }
        _ => {
            let (z, n) = (normal(probability), degrees as f64);
            let square = z * z;
            let first = (square + 1.0) / 4.0;
            let second = ((5.0 * square + 16.0) * square + 3.0) / 96.0;
            let third = (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0;
            let fourth = ((((79.0 * square + 776.0) * square + 1_482.0) * square - 1_920.0) * square - 945.0)
                / 92_160.0;
            z * (1.0 + (first + (second + (third + fourth / n) / n) / n) / n)
        }
    }
}

/// The least whole number that a count does not exceed with this probability, of which is known that `seen`
/// others have come while a `share` of all was looked at: a Poisson number whose rate is known from these
/// alone (a negative binomial distribution).
pub fn unseen(seen: u64, share: f64, probability: f64) -> f64 {
    // One more than was seen guards small counts.
    let successes = seen as f64 + 1.0;
    let mean = mean_unseen(seen, share);
    if mean > SUMMED_MAX || successes * -share.ln() > EXPONENT_MAX {
        let z = normal(probability);
        let skewness = (2.0 - share) / (successes * (1.0 - share)).sqrt();
        // The second term of the same expansion: the distribution is skewed.
        let deviations = z + skewness * (z * z - 1.0) / 6.0;
        return (mean + deviations * (mean / share).sqrt()).round().max(0.0);
    }
    let mut term = share.powf(successes);
    let mut sum = term;
    let mut number = 0.0;
    // Far beyond the mean nothing is left to be summed.
    while sum < probability && number < 100.0 * SUMMED_MAX {
        number += 1.0;
        term *= (1.0 - share) * (number - 1.0 + successes) / number;
        sum += term;
    }
    number
}

/// The mean of what [`unseen`] is about.
pub fn mean_unseen(seen: u64, share: f64) -> f64 {
    (seen as f64 + 1.0) * (1.0 - share) / share
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of printed tables.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, expected) in
            [(0.5, 0.0), (0.975, 1.959_964), (0.995, 2.575_829), (0.001, -3.090_232), (0.841_344_75, 1.0)]
        {
            assert!((normal(probability) - expected).abs() < 1e-5, "{probability}");
        }
        for (probability, degrees, expected) in [
            (0.975, 1, 12.706),
            (0.975, 2, 4.303),
            (0.975, 3, 3.182),
            (0.95, 5, 2.015),
            (0.975, 10, 2.228),
            (0.995, 10, 3.169),
            (0.975, 100, 1.984),
        ] {
            let found = student(probability, degrees);
            assert!((found / expected - 1.0).abs() < 0.01, "{probability} {degrees}: {found}");
        }
        assert_eq!(student(0.975, 0), f64::INFINITY);
    }

    /// With nothing seen it is a geometric distribution, whose quantiles are known.
    #[test]
    fn counts_that_are_not_seen_are_distributed_as_they_should() {
        for share in [0.05, 0.25, 0.5, 0.9_f64] {
            for probability in [0.025, 0.3, 0.975_f64] {
                let expected = ((1.0 - probability).ln() / (1.0 - share).ln() - 1.0).ceil().max(0.0);
                assert_eq!(unseen(0, share, probability), expected, "{share} {probability}");
            }
        }
        // Both ways agree where they meet.
        for (seen, share) in [(320, 0.25), (500, 0.35)] {
            assert!(mean_unseen(seen, share) < SUMMED_MAX && mean_unseen(seen + 60, share) > SUMMED_MAX);
            for probability in [0.025, 0.5, 0.975] {
                let per_seen = |seen| unseen(seen, share, probability) / mean_unseen(seen, share);
                let apart = per_seen(seen) / per_seen(seen + 60) - 1.0;
                assert!(apart.abs() < 0.02, "{seen} {share} {probability}: {apart}");
            }
        }
    }
}
