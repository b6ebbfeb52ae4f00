//! Damage on demand, for tests: blocks that are spoiled after their checksums were made and before they are
//! sealed, as bad memory would do it. Without the directory of fault tokens (`faults.dir` is empty, as by
//! default) nothing here does anything. See `docs/faults.md`.

use super::host::Host;
use firesteel_common::id::TaskId;
use std::os::fd::AsFd;

/// Where a block is spoiled.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// The complete map output of a first attempt.
    MapOutput,
    /// A partition that a first attempt stores.
    Cached,
}

impl Point {
    /// As it is named in tokens.
    fn name(self) -> &'static str {
        match self {
            Self::MapOutput => "executor.map_output",
            Self::Cached => "executor.cached",
        }
    }
}

/// Spoils a block that an attempt has written, if the standing token of this point says so.
pub fn spoil(host: &Host, point: Point, task: TaskId, fd: impl AsFd, bytes: u64) {
    let name = point.name();
    let Some(what) = host.faults.standing(name).filter(|_| task.attempt == 0 && bytes > 0) else { return };
    let (what, seed) = what.split_once(' ').unwrap_or((&what, "0"));
    let chance = mixed(seed.parse().unwrap_or(0), task);
    let done = match what {
        "flip" => flip(&fd, chance % (bytes * 8)),
        "cut" => rustix::fs::ftruncate(&fd, chance % bytes),
        other => {
            tracing::warn!("fault: {name}* says '{other}', which is no fault");
            return;
        }
    };
    match done {
        Ok(()) => host.faults.has_fired(name, &format!("{task} {what} {}", chance % (bytes * 8))),
        Err(cause) => tracing::warn!("fault: {name}*: {cause}"),
    }
}

/// Flips one bit.
fn flip(fd: impl AsFd, bit: u64) -> rustix::io::Result<()> {
    let mut byte = [0];
    rustix::io::pread(&fd, &mut byte, bit / 8)?;
    rustix::io::pwrite(&fd, &[byte[0] ^ (1 << (bit % 8))], bit / 8).map(drop)
}

/// A number that differs from task to task, and is the same for the same seed.
fn mixed(seed: u64, task: TaskId) -> u64 {
    let words = [seed, task.app.app.0, u64::from(task.stage.0), u64::from(task.partition)];
    words.into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, word| {
        let mixed = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    })
}
