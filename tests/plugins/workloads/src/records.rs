//! Sorting binary records of 100 bytes by the ten bytes that they begin with.

use firesteel::{Context, Result};
use serde::Serialize;

/// Bytes of a record, and of these the key.
const RECORD: u32 = 100;
const KEY: usize = 10;

/// What a sort finds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sorted {
    /// Records.
    pub records: u64,
    /// Whether each of them was in its place.
    pub sorted: bool,
    /// A sum over all records that does not depend on their order.
    pub checksum: i64,
}

/// What a run of sorted records looks like.
type Look = (u64, u64, bool, Option<[u8; KEY]>, [u8; KEY]);

/// Up to sixteen bytes of a record as a number that orders as they do.
fn big_endian(bytes: &[u8]) -> u128 {
    bytes.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}

fn add(look: &mut Look, record: &[u8]) {
    let key = record.first_chunk::<KEY>().copied().unwrap_or_default();
    let first = *look.3.get_or_insert(key);
    look.2 &= look.0 == 0 || look.4 <= key;
    let words = [0, KEY].map(|at| (big_endian(&record[at..]) >> 64) as u64);
    look.1 = look.1.wrapping_add((words[0] ^ words[1]).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (look.0, look.3, look.4) = (look.0 + 1, Some(first), key);
}

/// The look of a run and of the one that follows.
fn join(look: &mut Look, next: Look) {
    if let Some(first) = next.3 {
        look.2 &= look.3.is_none() || look.4 <= first;
        look.3 = look.3.or(next.3);
        look.4 = next.4;
    }
    look.2 &= next.2;
    (look.0, look.1) = (look.0 + next.0, look.1.wrapping_add(next.1));
}

/// Sorts the records of a file, and looks whether they are sorted.
#[firesteel::entry]
pub fn sort(
    cx: &Context<'_>,
    /// A file of records.
    input: String,
    /// How many partitions (four for each slot).
    partitions: Option<u64>,
) -> Result<Sorted> {
    let records = cx.binary_records(&input, RECORD)?;
    let partitions = partitions.map_or(4 * cx.default_parallelism(), |many| many.min(1 << 20) as u32);
    // The first ten of sixteen bytes.
    let sorted = records.sort_by_in(|record| big_endian(record) >> (128 - 8 * KEY), partitions, true)?;
    let look = sorted.aggregate(|| (0, 0, true, None, [0; KEY]), add, join)?;
    Ok(Sorted { records: look.0, sorted: look.2, checksum: look.1 as i64 })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_sort_is_sorted_and_has_every_record() {
        let file = std::env::temp_dir().join(format!("firesteel-records-{}", std::process::id()));
        let mut state = 7_u64;
        let mut bytes = Vec::new();
        let mut checksum = 0_u64;
        for _ in 0..5_000 {
            let record: Vec<u8> = (0..100)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            let word = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().unwrap());
            checksum = checksum.wrapping_add((word(0) ^ word(10)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            bytes.extend(record);
        }
        std::fs::write(&file, bytes).unwrap();
        let told = firesteel::testing::run(|cx| sort(cx, file.display().to_string(), None));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(told.unwrap(), Sorted { records: 5_000, sorted: true, checksum: checksum as i64 });
    }

    #[test]
    fn a_record_out_of_place_is_seen() {
        let record = |key: u8| [[key; KEY].as_slice(), &[0; 90]].concat();
        for (keys, sorted) in [(&[1, 2, 2, 9][..], true), (&[1, 3, 2], false), (&[], true)] {
            for cut in 0..=keys.len() {
                let look = |keys: &[u8]| {
                    keys.iter().fold((0, 0, true, None, [0; KEY]), |mut look, key| {
                        add(&mut look, &record(*key));
                        look
                    })
                };
                let mut joined = look(&keys[..cut]);
                join(&mut joined, look(&keys[cut..]));
                assert_eq!((joined.0, joined.2), (keys.len() as u64, sorted), "{keys:?} {cut}");
            }
        }
    }
}
