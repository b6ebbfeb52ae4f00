//! Damage on demand, for tests: blocks that are spoiled after their checksums were made and before they are
//! sealed, as bad memory would do it, and frames of runs after they were written, as a bad disk would.
//! Without the directory of fault tokens (`faults.dir` is empty, as by default) nothing here does anything.
//! See `docs/faults.md`. Blocks that the worker spills are spoiled by the worker (`shell/source.rs`).

use super::host::Host;
use crate::fault::flip;
use firesteel_common::id::TaskId;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a block is spoiled.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// The complete map output of a first attempt, in memory.
    MapOutput,
    /// The same, of one that has gone to disk.
    SpilledOutput,
    /// A partition that a first attempt stores.
    Cached,
}

impl Point {
    /// As it is named in tokens.
    fn name(self) -> &'static str {
        match self {
            Self::MapOutput => "executor.map_output",
            Self::SpilledOutput => "executor.spilled_output",
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

/// One of so many first frames of an attempt is spoiled.
const FRAMES: u64 = 3;

/// Spoils one of the first frames of the runs that a first attempt spills; `before` counts them.
pub fn spoil_frame(host: &Host, task: TaskId, before: &AtomicU64, file: BorrowedFd<'_>, stored: Range<u64>) {
    let name = "executor.run";
    let Some(what) = host.faults.standing(name).filter(|_| task.attempt == 0) else { return };
    let seed = match what.split_once(' ') {
        Some(("flip", seed)) => seed.parse().unwrap_or(0),
        _ => return tracing::warn!("fault: {name}* says '{what}', which is no fault"),
    };
    let chance = mixed(seed, task);
    let bits = (stored.end - stored.start) * 8;
    if before.fetch_add(1, Ordering::Relaxed) != chance % FRAMES || bits == 0 {
        return;
    }
    let bit = stored.start * 8 + (chance / FRAMES) % bits;
    match flip(file, bit) {
        Ok(()) => host.faults.has_fired(name, &format!("{task} flip {bit}")),
        Err(cause) => tracing::warn!("fault: {name}*: {cause}"),
    }
}

/// A number that differs from task to task, and is the same for the same seed.
fn mixed(seed: u64, task: TaskId) -> u64 {
    crate::fault::mixed([seed, task.app.app.0, u64::from(task.stage.0), u64::from(task.partition)])
}
