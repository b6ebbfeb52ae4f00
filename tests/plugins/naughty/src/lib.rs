//! A plugin that does what no honest job does: it crashes, hangs, eats, and attacks what is around it, in its
//! driver or in a task, as it is told. For tests; every deed is bounded, so that nothing but the test's own
//! cluster suffers even where no sandbox is in force.

mod attacks;
mod deeds;
mod sys;

use firesteel::{Broadcast, Context, Result, StorageLevel};

/// Does one deed that is mostly the end of the process which does it.
#[firesteel::entry]
pub fn naughty(
    cx: &Context<'_>,
    /// What to do, such as `segfault`.
    deed: String,
    /// `driver` or `task`.
    place: String,
    /// How much of it, where that can be said.
    amount: Option<u64>,
) -> Result<Vec<String>> {
    let amount = amount.unwrap_or(u64::MAX);
    if place == "driver" {
        return Ok(vec![deeds::perform(&deed, amount)]);
    }
    // The other task is an innocent neighbour.
    let done = cx.range(0, 2, 2).map_with((deed, amount), |(deed, amount), number| {
        if number == 0 { deeds::perform(deed, *amount) } else { "innocent".to_owned() }
    });
    done.collect()
}

/// Tries attacks, and says of each whether it was refused.
#[firesteel::entry]
pub fn attack(
    cx: &Context<'_>,
    /// One a line, such as `read=/etc/shadow`.
    what: String,
    /// `driver` or `task`.
    place: String,
) -> Result<Vec<String>> {
    if place == "driver" {
        return Ok(attacks::try_all(&what));
    }
    cx.range(0, 1, 1).flat_map_with(what, |what, _| attacks::try_all(what)).collect()
}

/// Another honest job: keeps partitions, and adds them up three times, the last two times from what was kept.
#[firesteel::entry]
pub fn keep(
    cx: &Context<'_>,
    /// How many partitions.
    partitions: u64,
    /// Numbers in each partition.
    numbers: u64,
    /// Where they are kept: `memory` or `disk`.
    place: String,
) -> Result<Vec<u64>> {
    let level = if place == "disk" { StorageLevel::DiskOnly } else { StorageLevel::MemoryOnly };
    let count = (partitions * numbers) as i64;
    let kept = cx.range(0, count, partitions as usize).map(|number| mixed(number as u64)).persist(level);
    let sum = || kept.fold(0_u64, |sum, number| sum.wrapping_add(number));
    Ok(vec![sum()?, sum()?, sum()?])
}

/// And one with many tasks on both sides of a shuffle: how many numbers arrive, and their sum.
#[firesteel::entry]
pub fn exchange(
    cx: &Context<'_>,
    /// Map tasks.
    maps: u64,
    /// Reducers.
    reducers: u64,
    /// Numbers in each map task.
    numbers: u64,
) -> Result<Vec<u64>> {
    let count = (maps * numbers) as i64;
    let all = cx.range(0, count, maps as usize).map(|number| (mixed(number as u64), 1_u64));
    let moved = all.partition_by(reducers as u32);
    let (sum, arrived) =
        moved.fold((0_u64, 0_u64), |(sum, ones), (number, one)| (sum.wrapping_add(number), ones + one))?;
    Ok(vec![arrived, sum])
}

/// One that sorts more in each task than it may hold: how many numbers arrive, a sum of what they are and
/// where they come, and how often one comes too early.
#[firesteel::entry]
pub fn spill(
    cx: &Context<'_>,
    /// How many partitions, before and after.
    partitions: u64,
    /// Numbers in each partition.
    numbers: u64,
) -> Result<Vec<u64>> {
    let count = (partitions * numbers) as i64;
    let all = cx.range(0, count, partitions as usize).map(|number| (mixed(number as u64), number as u64));
    let sorted = all.repartition_and_sort_within_partitions(partitions as u32);
    let sums = sorted.aggregate(
        || (0_u64, 0_u64, 0_u64, 0_u64),
        |(arrived, sum, early, last): &mut (u64, u64, u64, u64), (key, number)| {
            *arrived += 1;
            *sum = sum.wrapping_add(mixed(key ^ *arrived).wrapping_mul(number));
            *early += u64::from(key < *last);
            *last = key;
        },
        |all, (arrived, sum, early, _)| {
            all.0 += arrived;
            all.1 = all.1.wrapping_add(sum);
            all.2 += early;
        },
    )?;
    Ok(vec![sums.0, sums.1, sums.2])
}

/// One whose tasks all use many shared values, in several rounds.
#[firesteel::entry]
pub fn share(
    cx: &Context<'_>,
    /// How many values.
    values: u64,
    /// Numbers in each value.
    numbers: u64,
    /// How many jobs use them.
    rounds: u64,
) -> Result<Vec<u64>> {
    let value = |value| (0..numbers).map(|number| mixed(value * numbers + number)).collect::<Vec<u64>>();
    let shared = (0..values).map(|number| cx.broadcast(value(number)));
    let shared: Vec<Broadcast<Vec<u64>>> = shared.collect::<Result<_>>()?;
    let sums = (0..rounds).map(|round| {
        let used = cx.range(0, 4, 4).map_with((round, shared.clone()), |(round, shared), number| {
            let all = shared.iter().flat_map(|value| value.value());
            all.fold(mixed(number as u64 + *round), |sum, number| sum.wrapping_add(*number))
        });
        used.fold(0_u64, |sum, more| sum.wrapping_add(more))
    });
    sums.collect()
}

/// A number that has little to do with its neighbours'.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

/// An honest job: counts to 1,000 in four tasks, over a shuffle.
#[firesteel::entry]
pub fn honest(cx: &Context<'_>) -> Result<u64> {
    let pairs = cx.range(0, 1000, 4).map(|number| (number % 10, 1_u64));
    let counts = pairs.reduce_by_key(|count, more| *count += more).collect()?;
    Ok(counts.into_iter().map(|(_, count)| count).sum())
}
