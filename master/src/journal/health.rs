//! Whether records can be made durable: what the last transaction said, and how old that is. It tries nothing
//! itself.

use firesteel_common::ErrorCode;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How long the word of a transaction counts; then somebody who wants to know has one tried.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of the journal.
#[derive(Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Result<(), ErrorCode>)>>,
}

impl Health {
    /// A transaction is over, or has not been for too long.
    pub(super) fn note(&self, written: Result<(), ErrorCode>) {
        *self.last.lock() = Some((Instant::now(), written));
    }

    /// What was noted last (the code of a failure), and whether that is fresh.
    pub(super) fn last(&self) -> (Result<(), ErrorCode>, bool) {
        match *self.last.lock() {
            Some((at, written)) => (written, at.elapsed() < FRESH),
            None => (Ok(()), false),
        }
    }
}
