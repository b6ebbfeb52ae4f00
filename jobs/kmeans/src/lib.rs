//! k-means by Lloyd's iteration: each point goes to its nearest centre, each centre to the middle of its
//! points. The points are cached, so every iteration after the first reads them from memory.

use firesteel::{Context, Result};
use serde::Serialize;

/// Coordinates of a point.
const DIMENSIONS: usize = 4;
type Point = [f64; DIMENSIONS];

/// What is found.
#[derive(Debug, PartialEq, Serialize)]
pub struct Clusters {
    /// The middles of the clusters.
    pub centres: Vec<Point>,
    /// How many points each has.
    pub sizes: Vec<u64>,
    /// The sum of the squared distances of all points to their centres.
    pub cost: f64,
}

/// Finds the middles of clusters of generated points.
#[firesteel::entry]
pub fn kmeans(
    cx: &Context<'_>,
    /// How many points are made (1,000,000).
    points: Option<u64>,
    /// How many clusters are looked for, at most 1,000 (5).
    k: Option<u64>,
    /// How often the centres are moved, at most 1,000 (10).
    iterations: Option<u64>,
) -> Result<Clusters> {
    let count = i64::try_from(points.unwrap_or(1_000_000)).map_err(|_| Context::error("too many points"))?;
    let k = k.unwrap_or(5).clamp(1, 1_000);
    let partitions = cx.default_parallelism().max(1) as usize;
    let points = cx.range(0, count, partitions).map_with(k, |k, number| point(*k, number)).cache();
    let mut centres: Vec<Point> = points.take(k as usize)?;
    for _ in 0..iterations.unwrap_or(10).min(1_000) {
        let sums = points.aggregate_with(
            centres.clone(),
            |_| Vec::new(),
            |centres, sums: &mut Vec<(Point, u64)>, point| {
                sums.resize(centres.len(), ([0.0; DIMENSIONS], 0));
                let (sum, count) = &mut sums[nearest(centres, &point).0];
                sum.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
                *count += 1;
            },
            |sums, other| {
                sums.resize(sums.len().max(other.len()), ([0.0; DIMENSIONS], 0));
                for ((sum, count), (more, of)) in sums.iter_mut().zip(other) {
                    sum.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
                    *count += of;
                }
            },
        )?;
        for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
            // A centre without points stays where it is.
            if count > 0 {
                *centre = sum.map(|x| x / count as f64);
            }
        }
    }
    let (sizes, cost) = points.aggregate_with(
        centres.clone(),
        |centres| (vec![0_u64; centres.len()], 0.0),
        |centres, (sizes, cost), point| {
            let (at, distance) = nearest(centres, &point);
            sizes[at] += 1;
            *cost += distance;
        },
        |(sizes, cost), (others, more)| {
            sizes.iter_mut().zip(others).for_each(|(size, more)| *size += more);
            *cost += more;
        },
    )?;
    Ok(Clusters { centres, sizes, cost })
}

/// A point near one of `k` corners of a grid; the same for the same number.
fn point(k: u64, number: i64) -> Point {
    let mut state = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let corner = number as u64 % k;
    std::array::from_fn(|axis| {
        state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(axis as u64 + 1);
        let noise = (state >> 11) as f64 / (1_u64 << 53) as f64;
        10.0 * ((corner >> axis) & 1) as f64 + 10.0 * (corner >> DIMENSIONS) as f64 + noise
    })
}

/// The nearest centre, and the square of its distance; the first of equally near ones.
fn nearest(centres: &[Point], point: &Point) -> (usize, f64) {
    let square = |centre: &Point| centre.iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let mut best = (0, f64::INFINITY);
    for (at, centre) in centres.iter().enumerate() {
        let distance = square(centre);
        if distance < best.1 {
            best = (at, distance);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Lloyd's iteration over an array, written down without any of the above but the points.
    fn plain(count: i64, k: u64, iterations: u64) -> (Vec<Point>, Vec<u64>) {
        let points: Vec<Point> = (0..count).map(|number| point(k, number)).collect();
        let mut centres = points[..k as usize].to_vec();
        let assign = |centres: &[Point]| -> Vec<usize> {
            let distance = |p: &Point, c: &Point| (0..DIMENSIONS).map(|d| (p[d] - c[d]).powi(2)).sum::<f64>();
            let best = |p: &Point| {
                (0..centres.len())
                    .min_by(|a, b| distance(p, &centres[*a]).total_cmp(&distance(p, &centres[*b])))
            };
            points.iter().map(|p| best(p).unwrap()).collect()
        };
        for _ in 0..iterations {
            let of = assign(&centres);
            for (at, centre) in centres.iter_mut().enumerate() {
                let mine: Vec<&Point> =
                    points.iter().zip(&of).filter(|(_, c)| **c == at).map(|(p, _)| p).collect();
                if !mine.is_empty() {
                    *centre =
                        std::array::from_fn(|d| mine.iter().map(|p| p[d]).sum::<f64>() / mine.len() as f64);
                }
            }
        }
        let of = assign(&centres);
        let sizes = (0..centres.len()).map(|at| of.iter().filter(|c| **c == at).count() as u64).collect();
        (centres, sizes)
    }

    #[test]
    fn the_clusters_are_those_of_a_plain_loop() {
        let found = firesteel::testing::run(|cx| kmeans(cx, Some(2_000), Some(6), Some(7))).unwrap();
        let (centres, sizes) = plain(2_000, 6, 7);
        assert_eq!(found.sizes, sizes);
        let near = |a: &Point, b: &Point| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(found.centres.iter().zip(&centres).all(|(a, b)| near(a, b)), "{found:?}\n{centres:?}");
        assert!(found.cost > 0.0 && found.cost < 2_000.0 * 4.0, "{found:?}");
    }
}
