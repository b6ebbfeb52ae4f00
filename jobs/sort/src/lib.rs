//! Sorts lines: a sample of the keys cuts the range into parts of about the same size, a shuffle brings each
//! line to its part, and each part is sorted. What is written is sorted from the first file to the last.

use firesteel::{Context, Result};
use serde::Serialize;

/// What can be said of the result without reading it: sorted lines are the same lines, so the sums agree.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sorted {
    /// How many lines there are.
    pub lines: u64,
    /// The sum of a hash of every line, which does not depend on their order.
    pub checksum: u64,
}

/// Sorts the lines of a text by their bytes.
#[firesteel::entry]
pub fn sort(
    cx: &Context<'_>,
    /// A file, a directory or a pattern; without it lines are made.
    input: Option<String>,
    /// How many lines are made (1,000,000).
    lines: Option<u64>,
    /// The directory that the sorted lines are written to.
    output: String,
    /// Whether the last comes first (false).
    descending: Option<bool>,
) -> Result<Sorted> {
    let lines = match input {
        Some(path) => cx.text_file(&path)?.map(|line| line.to_owned()).erased(),
        None => {
            let count =
                i64::try_from(lines.unwrap_or(1_000_000)).map_err(|_| Context::error("too many lines"))?;
            let partitions = cx.default_parallelism().max(1) as usize;
            cx.range(0, count, partitions).map(made).erased()
        }
    };
    let sorted = lines.map(|line| (line, ())).sort_by_key(!descending.unwrap_or(false))?;
    sorted.keys().save_as_text_file(&output)?;
    let (lines, checksum) = sorted.keys().aggregate(
        || (0_u64, 0_u64),
        |(lines, sum), line: String| {
            *lines += 1;
            *sum = sum.wrapping_add(hash(&line));
        },
        |(lines, sum), (more, other)| {
            *lines += more;
            *sum = sum.wrapping_add(other);
        },
    )?;
    Ok(Sorted { lines, checksum })
}

/// FNV-1a, 64 bits.
fn hash(line: &str) -> u64 {
    line.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A line of 16 digits, then its number; the same for the same number.
fn made(number: i64) -> String {
    let mut state = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!("{:016x} {number}", state ^ (state >> 27))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_lines_are_those_of_a_sorted_vector() {
        let dir = std::env::temp_dir().join(format!("firesteel-sort-{}", std::process::id()));
        let output = dir.display().to_string();
        for descending in [false, true] {
            let to = output.clone();
            let told =
                firesteel::testing::run(|cx| sort(cx, None, Some(5_000), to.clone(), Some(descending)));
            let mut expected: Vec<String> = (0..5_000).map(made).collect();
            expected.sort_unstable();
            if descending {
                expected.reverse();
            }
            let mut parts: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            parts.sort();
            let text: String = parts.iter().map(|part| std::fs::read_to_string(part).unwrap()).collect();
            std::fs::remove_dir_all(&dir).unwrap();
            assert!(text.lines().eq(expected.iter().map(String::as_str)));
            let checksum = expected.iter().fold(0_u64, |sum, line| sum.wrapping_add(hash(line)));
            assert_eq!(told.unwrap(), Sorted { lines: 5_000, checksum });
        }
    }
}
