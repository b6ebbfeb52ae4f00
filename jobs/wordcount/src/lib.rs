//! Counts words. A word is what stands between blanks and line feeds, and nothing else: the counts are those
//! of `tr -s ' ' '\n' < input | grep . | sort | uniq -c`. Beside it there are entry points for tests and
//! benchmarks.

use firesteel::{Context, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// How many of the most frequent words are told when nothing is said.
const TOP: u64 = 10;

/// What a word count answers.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Words in the text.
    pub words: u64,
    /// Different words.
    pub distinct: u64,
    /// The most frequent ones with their counts; equal counts in the order of the words.
    pub top: Vec<(String, u64)>,
}

/// What is gathered of the counts of one partition, then of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Summary {
    words: u64,
    distinct: u64,
    /// The greatest counts so far. Once it was shortened, its first `limit` ones are in order.
    top: Vec<(Reverse<u64>, String)>,
    shortened: bool,
}
firesteel::record!(Summary);

impl Summary {
    /// Counts one word.
    fn add(&mut self, limit: usize, word: &str, count: u64) {
        self.words += count;
        self.distinct += 1;
        let too_low = |worst: &(Reverse<u64>, String)| (worst.0, worst.1.as_str()) < (Reverse(count), word);
        if limit == 0 || (self.shortened && self.top.get(limit - 1).is_some_and(too_low)) {
            return;
        }
        self.top.push((Reverse(count), word.to_owned()));
        if self.top.len() >= 2 * limit {
            self.shorten(limit);
        }
    }

    /// Keeps what is wanted.
    fn shorten(&mut self, limit: usize) {
        self.top.sort();
        self.top.truncate(limit);
        self.shortened = true;
    }
}

/// Counts the words of a text.
#[firesteel::entry]
pub fn wordcount(
    cx: &Context<'_>,
    /// A file, a directory or a pattern.
    input: String,
    /// How many of the most frequent words to tell (10).
    top: Option<u64>,
    /// A directory for all counts, as lines of word, tab, count.
    output: Option<String>,
) -> Result<Counts> {
    let counts = cx
        .text_blocks(&input)?
        .flat_map(firesteel::text::words)
        .map(|word| (word, 1_u64))
        .reduce_by_key(|count, more| *count += more);
    if let Some(output) = output {
        counts.map(|(word, count)| format!("{word}\t{count}")).save_as_text_file(&output)?;
    }
    let limit = top.unwrap_or(TOP).min(1 << 20) as usize;
    let mut summary = counts.aggregate_with(
        limit,
        |_| Summary::default(),
        |limit, summary, (word, count)| summary.add(*limit, word, count),
        |summary, mut other| {
            summary.words += other.words;
            summary.distinct += other.distinct;
            summary.top.append(&mut other.top);
        },
    )?;
    summary.shorten(limit);
    let top = summary.top.into_iter().map(|(count, word)| (word, count.0)).collect();
    Ok(Counts { words: summary.words, distinct: summary.distinct, top })
}

/// Runs so many tasks that do nothing, and counts to nothing: what a task costs by itself.
#[firesteel::entry]
pub fn empty_tasks(cx: &Context<'_>, count: u64) -> Result<u64> {
    let count = usize::try_from(count).map_err(|_| Context::error("too many tasks"))?;
    cx.range(0, 0, count).count()
}

/// Fails: in its driver or in a task, with an error or a panic.
#[firesteel::entry]
pub fn fails(
    cx: &Context<'_>,
    /// `error`, `panic` or `task`.
    how: String,
) -> Result<u64> {
    if how == "error" {
        return Err(Context::error("it was asked to fail"));
    }
    let numbers = cx.range(0, 100, 4).filter_with(how.clone(), |how, number| {
        assert!(how != "task" || *number != 60, "it was asked to fail at {number}");
        true
    });
    assert!(how != "panic", "it was asked to fail");
    numbers.count()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_most_frequent_words_come_first_and_ties_in_their_order() {
        let mut summary = Summary::default();
        let words: Vec<String> = (0..1000_u64).map(|number| format!("w{:03}", number * 7 % 1000)).collect();
        for word in &words {
            summary.add(5, word, u64::from(word.ends_with('3')) + 1);
        }
        summary.shorten(5);
        let top: Vec<&str> = summary.top.iter().map(|(_, word)| word.as_str()).collect();
        assert_eq!(top, ["w003", "w013", "w023", "w033", "w043"]);
        assert_eq!((summary.words, summary.distinct), (1100, 1000));
    }

    #[test]
    fn nothing_is_counted_of_nothing() {
        let file = std::env::current_exe().unwrap();
        let empty = firesteel::testing::run(|cx| empty_tasks(cx, 3)).unwrap();
        assert_eq!(empty, 0);
        let error =
            firesteel::testing::run(|cx| wordcount(cx, format!("{}.txt", file.display()), None, None));
        assert_eq!(error.unwrap_err().code, firesteel::ErrorCode::InputNotReadable);
    }
}
