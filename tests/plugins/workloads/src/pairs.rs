//! Joining and grouping pairs of whole numbers, a pair a line.

use firesteel::text::Numbers;
use firesteel::{Context, Operator, Rdd, Result};
use serde::Serialize;

/// Partitions small enough that what is built of one fits a core's cache.
const PARTITIONS: u32 = 128;

/// The pairs of a text.
pub fn pairs<'a>(text: &'a str) -> impl Iterator<Item = (u64, u64)> + 'a {
    let mut numbers = Numbers::new(text);
    std::iter::from_fn(move || Some((numbers.whole()?, numbers.whole()?)))
}

fn read<'s>(cx: &Context<'s>, path: &str) -> Result<Rdd<'s, impl Operator<'s, Item = (u64, u64)> + use<'s>>> {
    // Several tasks for each slot, so that the last ones end together.
    Ok(cx.text_blocks_in(path, 2 * cx.default_parallelism())?.flat_map(pairs))
}

/// What a join finds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// Pairs of values with the same key.
    pub rows: u64,
    /// The sum over them of 31 times the left value and the right one, modulo 2^64.
    pub sum: u64,
}

/// Joins two files of pairs by their first numbers.
#[firesteel::entry]
pub fn join(
    cx: &Context<'_>,
    /// A file of pairs.
    left: String,
    /// Another one.
    right: String,
    /// How many partitions (128).
    partitions: Option<u64>,
) -> Result<Joined> {
    let partitions = partitions.map_or(PARTITIONS, |many| many.min(1 << 20) as u32);
    let left = read(cx, &left)?.partition_by(partitions);
    let (rows, sum) = left.join(&read(cx, &right)?).aggregate(
        || (0_u64, 0_u64),
        |(rows, sum), (_, (left, right))| {
            *rows += 1;
            *sum = sum.wrapping_add(left.wrapping_mul(31)).wrapping_add(right);
        },
        |(rows, sum), (more, also)| {
            *rows += more;
            *sum = sum.wrapping_add(also);
        },
    )?;
    Ok(Joined { rows, sum })
}

/// What grouping finds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// Different keys.
    pub keys: u64,
    /// The sum of the squares of the numbers of their values.
    pub squares: u64,
    /// The sum of the greatest value of each key.
    pub greatest: u64,
}

/// Groups a file of pairs by their first numbers.
#[firesteel::entry]
pub fn group(
    cx: &Context<'_>,
    /// A file of pairs.
    input: String,
    /// How many partitions (128).
    partitions: Option<u64>,
) -> Result<Groups> {
    let partitions = partitions.map_or(PARTITIONS, |many| many.min(1 << 20) as u32);
    let (keys, squares, greatest) = read(cx, &input)?.group_by_key_in(partitions).aggregate(
        || (0_u64, 0_u64, 0_u64),
        |(keys, squares, greatest), (_, values)| {
            *keys += 1;
            *squares += (values.len() as u64).pow(2);
            *greatest += values.iter().max().copied().unwrap_or(0);
        },
        |(keys, squares, greatest), (more, square, great)| {
            *keys += more;
            *squares += square;
            *greatest += great;
        },
    )?;
    Ok(Groups { keys, squares, greatest })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn joins_and_groups_are_those_of_a_map() {
        let dir = std::env::temp_dir().join(format!("firesteel-pairs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let made = |step: u64| (0..3_000_u64).map(move |n| (n * step % 997, n * step * step % 65_537));
        let mut maps = Vec::new();
        let mut files = Vec::new();
        for step in [7, 11] {
            let file = dir.join(step.to_string());
            let lines: String = made(step).map(|(key, value)| format!("{key} {value}\n")).collect();
            std::fs::write(&file, lines).unwrap();
            files.push(file.display().to_string());
            let mut map: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            made(step).for_each(|(key, value)| map.entry(key).or_default().push(value));
            maps.push(map);
        }
        let joined =
            firesteel::testing::run(|cx| join(cx, files[0].clone(), files[1].clone(), Some(5))).unwrap();
        let both = maps[0].iter().filter_map(|(key, left)| Some((left, maps[1].get(key)?)));
        let sums: Vec<u64> = both
            .flat_map(|(left, right)| left.iter().flat_map(|l| right.iter().map(move |r| 31 * l + r)))
            .collect();
        assert_eq!(joined, Joined { rows: sums.len() as u64, sum: sums.iter().sum() });
        let grouped = firesteel::testing::run(|cx| group(cx, files[0].clone(), None)).unwrap();
        let expected = Groups {
            keys: maps[0].len() as u64,
            squares: maps[0].values().map(|values| (values.len() * values.len()) as u64).sum(),
            greatest: maps[0].values().map(|values| values.iter().max().unwrap()).sum(),
        };
        assert_eq!(grouped, expected);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
