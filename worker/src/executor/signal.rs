//! A counter that one thread waits on and others raise: whatever an attempt waits for, it waits here, so that
//! being told to stop ends every wait.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a wait lasts at most before its condition is looked at again; a safety net, not a schedule.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What an attempt waits on.
#[derive(Default)]
pub struct Signal {
    changes: Mutex<u64>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Signal {
    /// How often it was raised; to be read before the condition is looked at.
    pub fn changes(&self) -> u64 {
        *self.changes.lock()
    }

    /// Says that something changed.
    pub fn raise(&self) {
        *self.changes.lock() += 1;
        self.changed.notify_all();
    }

    /// Tells the attempt to stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.raise();
    }

    /// Whether the attempt was told to stop.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits until it was raised after `seen` was read. May return early. Gives the time that it took.
    pub fn wait(&self, seen: u64) -> Duration {
        let start = Instant::now();
        let mut changes = self.changes.lock();
        if *changes == seen {
            self.changed.wait_for(&mut changes, WAIT_MAX);
        }
        start.elapsed()
    }
}
