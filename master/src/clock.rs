//! The clocks of the master: a monotonic one for decisions, the wall for what people read.

use firesteel_common::time::Timestamp;
use std::time::{Duration, Instant, SystemTime};

/// A gap between two readings that only a stopped process can make: the tick reads twenty times a second.
const STOPPED: Duration = Duration::from_secs(1);

/// The master's monotonic clock. It stands still while the process is stopped (SIGSTOP, a suspended machine):
/// what was not heard in that time was not silent.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Instant,
    now: Duration,
}

impl Clock {
    /// A clock that begins at zero.
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), now: Duration::ZERO }
    }

    /// The time on it.
    pub(crate) fn now(&mut self) -> Timestamp {
        self.advance(Instant::now())
    }

    fn advance(&mut self, instant: Instant) -> Timestamp {
        let gap = instant.saturating_duration_since(self.last);
        if gap < STOPPED {
            self.now += gap;
        } else {
            tracing::warn!(gap_ms = gap.as_millis() as u64, "the master was stopped; its clock was too");
        }
        self.last = self.last.max(instant);
        Timestamp(self.now.as_micros() as u64)
    }
}

/// Milliseconds since 1970; for display only.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_still_while_the_process_is_stopped() {
        let start = Instant::now();
        let mut clock = Clock { last: start, now: Duration::ZERO };
        assert_eq!(clock.advance(start + Duration::from_millis(100)), Timestamp(100_000));
        assert_eq!(clock.advance(start + Duration::from_secs(10)), Timestamp(100_000));
        assert_eq!(clock.advance(start + Duration::from_millis(10_050)), Timestamp(150_000));
    }
}
