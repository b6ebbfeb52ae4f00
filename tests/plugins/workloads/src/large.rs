//! Sorting and grouping more than fits into memory. The records are made by the job, so that there may be any
//! number of them.

use firesteel::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Values of a key, where nothing is skewed.
const EACH: u64 = 4;

/// What tells a right run from a wrong one. None of it depends on an order but what says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Records that arrived.
    pub records: u64,
    /// Keys that arrived, each time one follows another.
    pub keys: u64,
    /// The sum of a hash of all records.
    pub checksum: u64,
    /// How often a key came before its predecessor.
    pub falls: u64,
    last: Option<u64>,
}
firesteel::record!(Seen);

impl Seen {
    fn add(&mut self, key: u64, value: &str) {
        self.falls += u64::from(self.last.is_some_and(|last| key < last));
        self.keys += u64::from(self.last != Some(key));
        self.last = Some(key);
        self.records += 1;
        self.checksum = self.checksum.wrapping_add(hash(key, value));
    }

    /// Partitions hold different keys.
    fn join(&mut self, next: Seen) {
        self.records += next.records;
        self.keys += next.keys;
        self.checksum = self.checksum.wrapping_add(next.checksum);
        self.falls += next.falls;
    }
}

/// Sorts or groups made records of about 100 bytes by their keys.
#[firesteel::entry]
pub fn large(
    cx: &Context<'_>,
    /// `sort` or `group`.
    what: String,
    /// How many records.
    records: u64,
    /// How many partitions there are, before and after.
    partitions: u64,
    /// Whether half of the records have the same key (false).
    skewed: Option<bool>,
) -> Result<Seen> {
    let count = i64::try_from(records).map_err(|_| Context::error("too many records"))?;
    let skewed = skewed.unwrap_or(false);
    let all = cx
        .range(0, count, partitions as usize)
        .map_with((records, skewed), |(records, skewed), number| record(number as u64, *records, *skewed));
    let partitions = partitions as u32;
    match what.as_str() {
        "sort" => all.sort_by_key_in(partitions, true)?.aggregate(
            Seen::default,
            |seen: &mut Seen, (key, value)| seen.add(key, &value),
            Seen::join,
        ),
        "group" => {
            let groups = all.group_by_key_in(partitions);
            groups.aggregate(
                Seen::default,
                |seen: &mut Seen, (key, values)| {
                    seen.last = None;
                    values.iter().for_each(|value| seen.add(key, value));
                },
                Seen::join,
            )
        }
        other => Err(Context::error(format!("'{other}' is neither sort nor group"))),
    }
}

/// A record: half of all have the key 0 if they are skewed.
fn record(number: u64, records: u64, skewed: bool) -> (u64, String) {
    let keys = (records / EACH).max(1);
    let key = if skewed && number.is_multiple_of(2) { 0 } else { 1 + mixed(number % keys) };
    let (mut value, mut state) = (String::with_capacity(96), number);
    for _ in 0..6 {
        state = mixed(state.wrapping_add(1));
        let _ = write!(value, "{state:016x}");
    }
    (key, value)
}

/// A number that has little to do with its neighbours', and that no other number is mixed to.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)) >> 1
}

fn hash(key: u64, value: &str) -> u64 {
    let bytes = value.bytes().map(u64::from);
    bytes.fold(key ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_arrives_is_what_was_made() {
        for skewed in [false, true] {
            let made: Vec<(u64, String)> = (0..2_000).map(|number| record(number, 2_000, skewed)).collect();
            let keys: BTreeSet<u64> = made.iter().map(|(key, _)| *key).collect();
            let checksum = made.iter().fold(0_u64, |sum, (key, value)| sum.wrapping_add(hash(*key, value)));
            for what in ["sort", "group"] {
                let seen = firesteel::testing::run(|cx| large(cx, what.to_owned(), 2_000, 5, Some(skewed)));
                let Seen { records, keys: found, checksum: sum, falls, .. } = seen.unwrap();
                assert_eq!((records, found, sum, falls), (2_000, keys.len() as u64, checksum, 0), "{what}");
            }
        }
    }
}
