//! The answers of the jobs by plain loops over plain vectors, and what of an answer differs from them.

use super::draw::Draw;
use firesteel_common::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Coordinates of a point of k-means.
const DIMENSIONS: usize = 4;
type Point = [f64; DIMENSIONS];

/// The counts of words.
#[derive(Debug, Default)]
pub struct Counts {
    words: u64,
    distinct: u64,
    counts: BTreeMap<String, u64>,
    top: Vec<(String, u64)>,
}

impl Counts {
    /// With the most frequent ones, ties in the order of the words.
    pub fn top(mut self, limit: usize) -> Self {
        let mut sorted: Vec<(String, u64)> = std::mem::take(&mut self.counts).into_iter().collect();
        self.distinct = sorted.len() as u64;
        sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sorted.truncate(limit);
        self.top = sorted;
        self
    }
}

fn write(dir: &Path, file: u64, text: &str) -> Result<()> {
    let path = dir.join(format!("{file:03}.txt"));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|cause| Error::io(format!("writing {}", path.display()), &cause))
}

/// Writes so many words over so many files, and counts them.
///
/// # Errors
/// If a file cannot be written.
pub fn write_words(dir: &Path, files: u64, words: u64, seed: u64) -> Result<Counts> {
    let mut draw = Draw::new(seed);
    let mut counts = Counts::default();
    for file in 0..files {
        let mut text = String::new();
        for word in 0..words / files {
            // A product of two draws gives small numbers often.
            let number = draw.below(400) * draw.below(400);
            let found = format!("w{number}");
            text.push_str(&found);
            text.push(if word % 9 == 8 { '\n' } else { ' ' });
            counts.words += 1;
            *counts.counts.entry(found).or_default() += 1;
        }
        text.push('\n');
        write(dir, file, &text)?;
    }
    Ok(counts)
}

/// What differs of a word count.
pub fn words_differ(expected: &Counts, answer: &Value) -> Option<String> {
    let words = (answer["words"].as_u64(), answer["distinct"].as_u64());
    if words != (Some(expected.words), Some(expected.distinct)) {
        return Some(format!("{words:?} words, not {} and {}", expected.words, expected.distinct));
    }
    let top: Option<Vec<(String, u64)>> = serde_json::from_value(answer["top"].clone()).ok();
    (top.as_ref() != Some(&expected.top)).then(|| "the most frequent words are other ones".to_owned())
}

/// Writes so many lines over so many files; returns them sorted.
///
/// # Errors
/// If a file cannot be written.
pub fn write_lines(dir: &Path, files: u64, lines: u64, seed: u64) -> Result<Vec<String>> {
    let mut draw = Draw::new(seed);
    let mut all = Vec::new();
    for file in 0..files {
        let mut text = String::new();
        for _ in 0..lines / files {
            let line = format!("{:016x} {}", draw.any(), draw.below(1000));
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{line}");
            all.push(line);
        }
        write(dir, file, &text)?;
    }
    all.sort_unstable();
    Ok(all)
}

/// What differs of sorted lines that a job has written into a directory.
pub fn lines_differ(expected: &[String], answer: &Value, output: Option<&Path>) -> Option<String> {
    if answer["lines"].as_u64() != Some(expected.len() as u64) {
        return Some(format!("{} lines, not {}", answer["lines"], expected.len()));
    }
    let output = output?;
    let Ok(entries) = std::fs::read_dir(output) else {
        return Some(format!("{} was not written", output.display()));
    };
    let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    parts.sort();
    if let Some(left) = parts.iter().find(|path| path.ends_with("_temporary")) {
        return Some(format!("{} is left", left.display()));
    }
    let is_part =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"));
    let text: String = parts
        .iter()
        .filter(|path| is_part(path))
        .map(|path| std::fs::read_to_string(path).unwrap_or_default())
        .collect();
    (!text.lines().eq(expected.iter().map(String::as_str))).then(|| "other lines are written".to_owned())
}

/// The links of a page of the web that the job makes: to four others, to low numbers more often.
fn links(count: u64, page: u64) -> BTreeSet<u64> {
    let mut state = page.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = || {
        state ^= state >> 29;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let chance = (state >> 11) as f64 / (1_u64 << 53) as f64;
        (chance * chance * count as f64) as u64
    };
    (0..4).map(|_| draw()).collect()
}

/// The ranks of the pages after so many iterations; every page has links, so every page has a rank.
pub fn ranks(pages: u64, iterations: u64) -> Vec<f64> {
    let web: Vec<BTreeSet<u64>> = (0..pages).map(|page| links(pages, page)).collect();
    let mut ranks = vec![1.0_f64; pages as usize];
    for _ in 0..iterations {
        let mut sums = vec![0.0_f64; pages as usize];
        for (targets, rank) in web.iter().zip(&ranks) {
            for target in targets {
                if let Some(sum) = sums.get_mut(*target as usize) {
                    *sum += rank / targets.len() as f64;
                }
            }
        }
        ranks = sums.into_iter().map(|sum| 0.15 + 0.85 * sum).collect();
    }
    ranks
}

/// What differs of ranks.
pub fn ranks_differ(expected: &[f64], answer: &Value, near: f64) -> Option<String> {
    let top: Vec<(u64, f64)> = serde_json::from_value(answer["top"].clone()).ok()?;
    let pages: BTreeSet<u64> = top.iter().map(|(page, _)| *page).collect();
    if answer["pages"].as_u64() != Some(expected.len() as u64) || pages.len() != expected.len() {
        return Some(format!("{} pages of {}", pages.len(), expected.len()));
    }
    let wrong = top.iter().find(|(page, rank)| {
        expected.get(*page as usize).is_none_or(|expected| (rank - expected).abs() > near * expected.max(1.0))
    });
    wrong.map(|(page, rank)| format!("page {page} has rank {rank}"))
}

/// A point that the job makes.
fn point(k: u64, number: u64) -> Point {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let corner = number % k;
    std::array::from_fn(|axis| {
        state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(axis as u64 + 1);
        let noise = (state >> 11) as f64 / (1_u64 << 53) as f64;
        10.0 * ((corner >> axis) & 1) as f64 + 10.0 * (corner >> DIMENSIONS) as f64 + noise
    })
}

/// The sizes of the clusters and the sum of the squared distances, by Lloyd's iteration over a vector.
pub fn clusters(count: u64, k: u64, iterations: u64) -> (Vec<u64>, f64) {
    let points: Vec<Point> = (0..count).map(|number| point(k, number)).collect();
    let mut centres: Vec<Point> = points.iter().take(k as usize).copied().collect();
    let square = |a: &Point, b: &Point| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let nearest = |centres: &[Point], point: &Point| {
        let far = centres.iter().map(|centre| square(centre, point)).enumerate();
        far.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    };
    for _ in 0..iterations {
        let mut sums = vec![([0.0; DIMENSIONS], 0_u64); centres.len()];
        for point in &points {
            if let Some((sum, count)) = sums.get_mut(nearest(&centres, point).0) {
                sum.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
                *count += 1;
            }
        }
        for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
            if count > 0 {
                *centre = sum.map(|x| x / count as f64);
            }
        }
    }
    let (mut sizes, mut cost) = (vec![0; centres.len()], 0.0);
    for point in &points {
        let (at, distance) = nearest(&centres, point);
        cost += distance;
        sizes.iter_mut().skip(at).take(1).for_each(|size| *size += 1);
    }
    (sizes, cost)
}

/// What differs of clusters.
pub fn clusters_differ(sizes: &[u64], cost: f64, answer: &Value, near: f64) -> Option<String> {
    let found: Option<Vec<u64>> = serde_json::from_value(answer["sizes"].clone()).ok();
    if found.as_deref() != Some(sizes) {
        return Some(format!("the clusters have sizes {found:?}, not {sizes:?}"));
    }
    let found = answer["cost"].as_f64().unwrap_or(f64::NAN);
    let is_near = (found - cost).abs() <= near * cost;
    (!is_near).then(|| format!("the cost is {found}, not {cost}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let counts = write_words(dir.path(), 3, 300, 7).unwrap().top(5);
        assert_eq!(counts.words, 300);
        let mut answer = serde_json::json!({
            "words": 300, "distinct": counts.distinct, "top": counts.top,
        });
        assert_eq!(words_differ(&counts, &answer), None);
        answer["top"][0][1] = 1.into();
        assert!(words_differ(&counts, &answer).is_some());

        let ranks = ranks(50, 3);
        let top: Vec<(usize, f64)> = ranks.iter().copied().enumerate().collect();
        let mut answer = serde_json::json!({ "pages": 50, "top": top });
        assert_eq!(ranks_differ(&ranks, &answer, 1e-9), None);
        answer["top"][3][1] = 7.0.into();
        assert!(ranks_differ(&ranks, &answer, 1e-9).is_some());

        let (sizes, cost) = clusters(100, 4, 3);
        assert_eq!(sizes.iter().sum::<u64>(), 100);
        let answer = serde_json::json!({ "sizes": sizes, "cost": cost * 1.1 });
        assert!(clusters_differ(&sizes, cost, &answer, 1e-9).is_some());
        assert_eq!(clusters_differ(&sizes, cost * 1.1, &answer, 1e-9), None);
    }

    #[test]
    fn lines_that_are_missing_or_left_over_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let lines = write_lines(&dir.path().join("in"), 2, 40, 1).unwrap();
        let output = dir.path().join("out");
        write(&output, 0, "").unwrap();
        std::fs::write(output.join("part-0"), lines.join("\n")).unwrap();
        let answer = serde_json::json!({ "lines": lines.len() });
        assert_eq!(lines_differ(&lines, &answer, Some(&output)), None);
        std::fs::create_dir(output.join("_temporary")).unwrap();
        assert!(lines_differ(&lines, &answer, Some(&output)).is_some());
        std::fs::remove_dir(output.join("_temporary")).unwrap();
        std::fs::write(output.join("part-0"), lines[1..].join("\n")).unwrap();
        assert!(lines_differ(&lines, &answer, Some(&output)).is_some());
    }
}
