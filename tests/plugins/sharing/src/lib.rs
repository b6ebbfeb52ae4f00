//! Jobs that share values, go through commands, leave checkpoints and stop waiting: for tests over real
//! processes. What they answer can be told without them.

use firesteel::{Codec, Context, ErrorCode, Result};
use serde::Serialize;
use std::time::Duration;

/// A number that looks like no other.
fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// Looks numbers up in a table that all tasks share, again and again, before and after a shuffle.
#[firesteel::entry]
pub fn lookups(
    cx: &Context<'_>,
    /// How many numbers the table has.
    numbers: u64,
    /// How often all of 64 places are looked at.
    rounds: u64,
) -> Result<String> {
    let table = cx.broadcast((0..numbers).map(mixed).collect::<Vec<u64>>())?;
    let mut sum = 0_u64;
    for round in 0..rounds {
        let places = cx.range(0, 64, 8).map_with(round, |round, n| *round + n as u64);
        let found = places.map_with(table.clone(), |table, place| {
            let table = table.value();
            (place % 5, table.get((place * 977) as usize % table.len()).copied().unwrap_or_default())
        });
        let sums = found.reduce_by_key_in(3, |sum, more| *sum = sum.wrapping_add(more));
        let first = sums.map_with(table.clone(), |table, (key, sum)| {
            sum.wrapping_add(table.value().get(key as usize).copied().unwrap_or_default())
        });
        sum = sum.wrapping_add(first.reduce(u64::wrapping_add)?);
    }
    Ok(sum.to_string())
}

/// What [`leavings`] has seen.
#[derive(Serialize)]
pub struct Left {
    /// Lines that a command has given.
    piped: Vec<String>,
    /// Why a command failed.
    failed: String,
    /// Sums of what was written down: in files, in blocks, and read again by its name.
    sums: [i64; 3],
    /// Bytes of text that was packed, read again.
    packed: u64,
}

/// Goes through commands, and leaves a checkpoint and packed text below a directory.
#[firesteel::entry]
pub fn leavings(cx: &Context<'_>, dir: String) -> Result<Left> {
    let numbers = cx.range(0, 5_000, 4);
    let piped = numbers.pipe(&["tail", "-n", "1"], &[])?.collect()?;
    let failure = numbers.pipe(&["cat", "/no/such/file"], &[])?.count();
    let failed = failure.map_or_else(|error| error.to_string(), |count| count.to_string());
    cx.set_checkpoint_dir(&dir);
    let pairs = numbers.map(|n| (n % 7, n)).reduce_by_key_in(3, |sum, more| *sum += more);
    let (files, blocks) = (pairs.checkpoint()?, pairs.local_checkpoint()?);
    drop(pairs);
    let name = files.checkpoint_file().unwrap_or_default();
    let again = cx.checkpoint_file::<(i64, i64)>(&name)?;
    let sums = [files.values().sum()?, blocks.values().sum()?, again.values().sum()?].map(|sum| sum as i64);
    let text = format!("{dir}/text");
    numbers.save_as_text_file_with(&text, Codec::Gzip)?;
    let packed = cx.text_file(&text)?.map(|line| line.len() as u64 + 1).reduce(|a, b| a + b)?;
    Ok(Left { piped, failed, sums, packed })
}

/// What [`impatience`] has seen.
#[derive(Serialize)]
pub struct Impatient {
    /// The count with a bound below and above, and whether it was the answer.
    count: (f64, f64, f64, bool),
    /// How many tasks of the job were done.
    tasks_done: u32,
    /// How the cancelled job ended.
    cancelled: String,
}

/// Counts records of which some do not come, and stops waiting for them; cancels a job by its tag.
#[firesteel::entry]
pub fn impatience(cx: &Context<'_>, patience_ms: u64) -> Result<Impatient> {
    let slow = cx.range(0, 8_000, 8).map(|n| {
        // Far longer than anybody waits; and it ends.
        let waits = if n == 0 { 12_000 } else { 0 };
        (0..waits).for_each(|_| std::thread::sleep(Duration::from_millis(10)));
        n
    });
    let partial = slow.count_approx(Duration::from_millis(patience_ms), 0.95)?;
    let (found, is_final) = (*partial.value(), partial.is_final());
    let tasks_done = cx.running_jobs().first().map_or(0, |job| job.progress.tasks_done);
    drop(partial);
    cx.add_job_tag("slow")?;
    let counting = slow.count_async()?;
    cx.cancel_jobs_with_tag("slow");
    let cancelled = match counting.get() {
        Err(error) if error.code == ErrorCode::Killed => "KILLED".to_owned(),
        other => format!("{other:?}"),
    };
    Ok(Impatient { count: (found.mean, found.low, found.high, is_final), tasks_done, cancelled })
}
