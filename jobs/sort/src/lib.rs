//! Sorts lines: a sample of the keys cuts the range into parts of about the same size, a shuffle brings each
//! line to its part, and each part is sorted. What is written is sorted from the first file to the last; it
//! is read again to prove that.

use firesteel::{Context, Operator, Rdd, Result};
use serde::{Deserialize, Serialize};

/// What was read back: as many lines as there were, with the same sum, each in its place.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sorted {
    /// How many lines there are.
    pub lines: u64,
    /// The sum of a hash of every line, which does not depend on their order.
    pub checksum: u64,
}

/// What a part of a text is like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Look {
    lines: u64,
    checksum: u64,
    first: Option<String>,
    last: Option<String>,
    /// Whether a line comes before its predecessor, and whether one comes after it.
    falls: bool,
    rises: bool,
}
firesteel::record!(Look);

impl Look {
    /// Looks at a part that follows.
    fn join(&mut self, next: Look) {
        self.lines += next.lines;
        self.checksum = self.checksum.wrapping_add(next.checksum);
        if let (Some(last), Some(first)) = (&self.last, &next.first) {
            self.falls |= first < last;
            self.rises |= first > last;
        }
        self.falls |= next.falls;
        self.rises |= next.rises;
        self.first = self.first.take().or(next.first);
        self.last = next.last.or(self.last.take());
    }

    /// Looks at a line that follows.
    fn add(&mut self, line: &str) {
        if let Some(last) = &self.last {
            self.falls |= line < last.as_str();
            self.rises |= line > last.as_str();
        }
        self.lines += 1;
        self.checksum = self.checksum.wrapping_add(hash(line));
        if self.first.is_none() {
            self.first = Some(line.to_owned());
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.push_str(line);
    }

    /// Looks at all lines, in their order.
    fn at<'s, T, Op>(lines: &Rdd<'s, Op>) -> Result<Look>
    where
        T: AsRef<str> + 's,
        Op: Operator<'s, Item = T>,
    {
        lines.aggregate(Look::default, |look: &mut Look, line: T| look.add(line.as_ref()), Look::join)
    }
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
    let descending = descending.unwrap_or(false);
    let before = Look::at(&lines)?;
    lines.map(|line| (line, ())).sort_by_key(!descending)?.keys().save_as_text_file(&output)?;
    let after = Look::at(&cx.text_file(&output)?)?;
    if (before.lines, before.checksum) != (after.lines, after.checksum) {
        let (read, written) = (before.lines, after.lines);
        return Err(Context::error(format!("{output} has {written} lines of {read}, or other ones")));
    }
    if if descending { after.rises } else { after.falls } {
        return Err(Context::error(format!("the lines in {output} are not in order")));
    }
    Ok(Sorted { lines: after.lines, checksum: after.checksum })
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
    fn a_line_in_the_wrong_place_is_seen_wherever_the_parts_are_cut() {
        let look = |lines: &[&str]| {
            lines.iter().fold(Look::default(), |mut look, line| {
                look.add(line);
                look
            })
        };
        for (lines, falls, rises) in [
            (&["a", "b", "b", "c"][..], false, true),
            (&["c", "b", "a"], true, false),
            (&["a", "c", "b"], true, true),
            (&["a", "a"], false, false),
            (&[], false, false),
        ] {
            for cut in 0..=lines.len() {
                let mut joined = look(&lines[..cut]);
                joined.join(look(&[]));
                joined.join(look(&lines[cut..]));
                assert_eq!(joined, look(lines));
                assert_eq!((joined.falls, joined.rises), (falls, rises), "{lines:?}");
            }
        }
    }

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
