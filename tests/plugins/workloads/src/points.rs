//! k-means and logistic regression over lines of a label and eight coordinates. The points are cached as
//! they lie in memory, and each step runs over them as slices, with the vectors of the machine.

use crate::points::gradient::{Gradient, TextGradient};
use firesteel::text::Numbers;
use firesteel::{Context, Kernel, Result, vectorised};
use serde::Serialize;

mod gradient;

/// Coordinates of a point.
const AXES: usize = 8;
/// Clusters.
const CLUSTERS: usize = 16;
/// How far a step of the logistic regression goes.
const RATE: f64 = 0.1;
/// Partitions of what is cached: while one is made it lies in memory that the next one can have again.
const PARTITIONS: u32 = 60;
/// A point.
pub type Point = [f64; AXES];
/// A label and a point.
pub type Row = [f64; AXES + 1];

fn rows(text: &str) -> impl Iterator<Item = Row> {
    Numbers::new(text).rows()
}

fn points(text: &str) -> impl Iterator<Item = Point> {
    rows(text).map(|row| std::array::from_fn(|axis| row[axis + 1]))
}

/// What k-means finds.
#[derive(Debug, PartialEq, Serialize)]
pub struct Clusters {
    /// Points.
    pub points: u64,
    /// The sum of all coordinates of all centres.
    pub sum: f64,
    /// The first centre.
    pub first: Point,
}

/// The coordinates of all centres, axis by axis, so that a point meets all centres at once.
type Centres = [[f64; CLUSTERS]; AXES];

/// The sums of the points of each cluster, and their numbers.
type Sums = ([Point; CLUSTERS], [u64; CLUSTERS]);

/// Adds each point to its nearest centre.
struct Assign<'a> {
    points: &'a [Point],
    centres: &'a Centres,
}

/// The nearest centre. Distances are not negative, so their bits have the same order; the last four of them
/// make room for the number of the centre, and one minimum finds both.
#[inline(always)]
fn nearest(point: &Point, centres: &Centres) -> usize {
    let mut distances = [0.0_f64; CLUSTERS];
    for (x, centres) in point.iter().zip(centres) {
        for (distance, centre) in distances.iter_mut().zip(centres) {
            *distance = (x - centre).mul_add(x - centre, *distance);
        }
    }
    let last = CLUSTERS as u64 - 1;
    let numbered = (0_u64..).zip(&distances).map(|(at, distance)| (distance.to_bits() & !last) | at);
    (numbered.fold(u64::MAX, u64::min) & last) as usize
}

impl Kernel for Assign<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run(self) -> Sums {
        let mut sums = [[0.0; AXES]; CLUSTERS];
        let mut counts = [0; CLUSTERS];
        for point in self.points {
            let at = nearest(point, self.centres);
            counts[at] += 1;
            for (sum, x) in sums[at].iter_mut().zip(point) {
                *sum += x;
            }
        }
        (sums, counts)
    }
}

fn add(sums: &mut Sums, more: Sums) {
    for (sum, more) in sums.0.iter_mut().flatten().zip(more.0.iter().flatten()) {
        *sum += more;
    }
    sums.1.iter_mut().zip(more.1).for_each(|(count, more)| *count += more);
}

/// Finds sixteen clusters of points.
#[firesteel::entry]
pub fn kmeans(
    cx: &Context<'_>,
    /// A file of labels (which do not matter) and points.
    input: String,
    /// How many iterations, at most 1,000 (10).
    iterations: Option<u64>,
) -> Result<Clusters> {
    let read = cx.text_blocks_in(&input, PARTITIONS)?.flat_map(points);
    let mut centres = read.take(CLUSTERS)?;
    if centres.len() < CLUSTERS {
        return Err(Context::error(format!("{input} has fewer than {CLUSTERS} points")));
    }
    let points = read.cache().slices();
    let mut count = 0;
    for _ in 0..iterations.unwrap_or(10).min(1_000) {
        let by_axis: Centres = std::array::from_fn(|axis| std::array::from_fn(|at| centres[at][axis]));
        let (sums, counts) = points.aggregate_with(
            by_axis,
            |_| ([[0.0; AXES]; CLUSTERS], [0; CLUSTERS]),
            |centres, sums: &mut Sums, points| add(sums, vectorised(Assign { points, centres })),
            add,
        )?;
        for (centre, (sum, count)) in centres.iter_mut().zip(sums.iter().zip(counts)) {
            // A centre without points stays where it is.
            if count > 0 {
                *centre = sum.map(|x| x / count as f64);
            }
        }
        count = counts.iter().sum();
    }
    Ok(Clusters { points: count, sum: centres.iter().flatten().sum(), first: centres[0] })
}

/// What a logistic regression finds.
#[derive(Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Points.
    pub points: u64,
    /// The weight of each coordinate.
    pub weights: Point,
}

/// The gradient so far, and of how many points.
type Slope = (Point, u64);

fn add_slope(slope: &mut Slope, more: Slope) {
    slope.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
    slope.1 += more.1;
}

/// Takes steps down the gradient that `slope` finds for weights.
fn descend(steps: Option<u64>, mut slope: impl FnMut(Point) -> Result<Slope>) -> Result<Fit> {
    let mut fit = Fit { points: 0, weights: [0.0; AXES] };
    for _ in 0..steps.unwrap_or(10).min(10_000) {
        let (slopes, points) = slope(fit.weights)?;
        for (weight, slope) in fit.weights.iter_mut().zip(slopes) {
            *weight -= RATE / points.max(1) as f64 * slope;
        }
        fit.points = points;
    }
    Ok(fit)
}

/// Fits a logistic regression to points that are kept in memory.
#[firesteel::entry]
pub fn logistic(
    cx: &Context<'_>,
    /// A file of labels (1 and -1) and points.
    input: String,
    /// How many steps, at most 10,000 (10).
    steps: Option<u64>,
) -> Result<Fit> {
    let rows = cx.text_blocks_in(&input, PARTITIONS)?.flat_map(rows).cache().slices();
    descend(steps, |weights| {
        rows.aggregate_with(
            weights,
            |_| ([0.0; AXES], 0),
            |weights, slope: &mut Slope, rows| {
                add_slope(slope, (vectorised(Gradient { rows, weights }), rows.len() as u64));
            },
            add_slope,
        )
    })
}

/// The same from the text, which is read anew for every step.
#[firesteel::entry]
pub fn logistic_text(
    cx: &Context<'_>,
    /// A file of labels (1 and -1) and points.
    input: String,
    /// How many steps, at most 10,000 (10).
    steps: Option<u64>,
) -> Result<Fit> {
    let text = cx.text_blocks(&input)?;
    descend(steps, |weights| {
        text.aggregate_with(
            weights,
            |_| ([0.0; AXES], 0),
            |weights, slope: &mut Slope, text| add_slope(slope, vectorised(TextGradient { text, weights })),
            add_slope,
        )
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Points around the corners of a cube, as text and as numbers.
    fn made(count: u64) -> (String, Vec<Row>) {
        let mut state = 1_u64;
        let mut chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut text = String::new();
        let mut rows = Vec::new();
        for number in 0..count {
            let point: Point = std::array::from_fn(|axis| {
                let corner = f64::from(((number % 16) >> (axis % 4)) as u8 & 1) * 8.0 - 4.0;
                ((corner + chance()) * 1e4).round() / 1e4
            });
            let label = if point.iter().sum::<f64>() + chance() > 0.5 { 1.0 } else { -1.0 };
            text += &format!("{label}");
            point.iter().for_each(|x| text += &format!(" {x:.4}"));
            text.push('\n');
            rows.push(std::array::from_fn(|at| if at == 0 { label } else { point[at - 1] }));
        }
        (text, rows)
    }

    fn with_file<R>(text: &str, name: &str, run: impl FnOnce(String) -> R) -> R {
        let file = std::env::temp_dir().join(format!("firesteel-{name}-{}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let done = run(file.display().to_string());
        std::fs::remove_file(&file).unwrap();
        done
    }

    #[test]
    fn the_clusters_are_those_of_a_plain_loop() {
        let (text, rows) = made(5_003);
        let told = with_file(&text, "kmeans", |path| {
            firesteel::testing::run(|cx| kmeans(cx, path.clone(), Some(6))).unwrap()
        });
        let points: Vec<&[f64]> = rows.iter().map(|row| &row[1..]).collect();
        let mut centres: Vec<Vec<f64>> = points[..16].iter().map(|point| point.to_vec()).collect();
        for _ in 0..6 {
            let mut sums = vec![(vec![0.0; 8], 0.0); 16];
            for point in &points {
                let distance =
                    |centre: &[f64]| -> f64 { centre.iter().zip(*point).map(|(a, b)| (a - b).powi(2)).sum() };
                let best = (0..16).min_by(|a, b| distance(&centres[*a]).total_cmp(&distance(&centres[*b])));
                let (sum, count) = &mut sums[best.unwrap()];
                sum.iter_mut().zip(*point).for_each(|(sum, x)| *sum += x);
                *count += 1.0;
            }
            for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
                if count > 0.0 {
                    *centre = sum.iter().map(|sum| sum / count).collect();
                }
            }
        }
        assert_eq!(told.points, 5_003);
        assert!((told.sum - centres.iter().flatten().sum::<f64>()).abs() < 1e-6, "{told:?}");
        assert!(told.first.iter().zip(&centres[0]).all(|(a, b)| (a - b).abs() < 1e-9), "{told:?}");
    }

    #[test]
    fn the_weights_are_those_of_a_plain_loop_cached_or_not() {
        let (text, rows) = made(3_001);
        let mut weights = [0.0_f64; AXES];
        for _ in 0..7 {
            let mut slopes = [0.0; AXES];
            for row in &rows {
                let score: f64 = weights.iter().zip(&row[1..]).map(|(weight, x)| weight * x).sum();
                let share = (1.0 / (1.0 + (-row[0] * score).exp()) - 1.0) * row[0];
                slopes.iter_mut().zip(&row[1..]).for_each(|(slope, x)| *slope += share * x);
            }
            weights.iter_mut().zip(slopes).for_each(|(weight, slope)| *weight -= 0.1 / 3_001.0 * slope);
        }
        with_file(&text, "logistic", |path| {
            let cached = firesteel::testing::run(|cx| logistic(cx, path.clone(), Some(7))).unwrap();
            let read = firesteel::testing::run(|cx| logistic_text(cx, path.clone(), Some(7))).unwrap();
            for fit in [cached, read] {
                assert_eq!(fit.points, 3_001);
                assert!(fit.weights.iter().zip(weights).all(|(a, b)| (a - b).abs() < 1e-12), "{fit:?}");
            }
        });
    }
}
