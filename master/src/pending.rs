//! The scheduler's records that are not durable yet, and when each is tried again. It writes nothing itself.
//!
//! An application may have two of them. Each failure is of one record and has that one tried again, so there
//! is at most one try of a record under way.

use crate::journal::Outcome;
use firesteel_common::id::{AppAttemptId, AppId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest wait before a record is tried again that could not be written.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a record is tried: about a day.
const RETRIES_MAX: u32 = 8640;

/// The name of a record of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordId {
    /// That a further driver attempt may be started.
    Attempt(AppAttemptId),
    /// How an application ended.
    Outcome(AppId),
}

/// What to do about a record that could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Write it again after this time.
    After(Duration),
    /// Nothing: it is durable meanwhile, or of no use any more.
    Done,
    /// It was tried for a day.
    GiveUp,
}

/// The records that are not durable yet.
#[derive(Default)]
pub(crate) struct PendingRecords {
    apps: BTreeMap<AppId, Pending>,
}

/// What of an application is being made durable, and how often that failed.
#[derive(Default)]
struct Pending {
    attempt: Option<(AppAttemptId, u32)>,
    outcome: Option<(Outcome, u32)>,
}

impl PendingRecords {
    /// A further attempt is to be made durable; an earlier one needs no retry any more.
    pub(crate) fn add_attempt(&mut self, app: AppAttemptId) {
        self.apps.entry(app.app).or_default().attempt = Some((app, 0));
    }

    /// An outcome is to be made durable.
    pub(crate) fn add_outcome(&mut self, outcome: Outcome) {
        let pending = self.apps.entry(outcome.app).or_default();
        pending.outcome = Some((outcome, 0));
    }

    /// A record is durable. With its outcome, nothing else of an application matters.
    pub(crate) fn written(&mut self, record: RecordId) {
        match record {
            RecordId::Outcome(app) => {
                self.apps.remove(&app);
            }
            RecordId::Attempt(app) => {
                let Some(pending) = self.apps.get_mut(&app.app) else { return };
                pending.attempt = pending.attempt.filter(|(attempt, _)| *attempt != app);
                if pending.attempt.is_none() && pending.outcome.is_none() {
                    self.apps.remove(&app.app);
                }
            }
        }
    }

    /// A record could not be written.
    pub(crate) fn failed(&mut self, record: RecordId) -> Retry {
        let failures = match record {
            RecordId::Attempt(app) => {
                let pending = self.apps.get_mut(&app.app).and_then(|pending| pending.attempt.as_mut());
                pending.filter(|(attempt, _)| *attempt == app).map(|(_, failures)| failures)
            }
            RecordId::Outcome(app) => {
                let pending = self.apps.get_mut(&app).and_then(|pending| pending.outcome.as_mut());
                pending.map(|(_, failures)| failures)
            }
        };
        let Some(failures) = failures else { return Retry::Done };
        *failures += 1;
        if *failures > RETRIES_MAX {
            return Retry::GiveUp;
        }
        Retry::After(RETRY_WAIT_MAX.min(Duration::from_millis(250) * *failures))
    }

    /// Whether this attempt still is to be made durable.
    pub(crate) fn has_attempt(&self, app: AppAttemptId) -> bool {
        let pending = self.apps.get(&app.app).and_then(|pending| pending.attempt);
        pending.is_some_and(|(attempt, _)| attempt == app)
    }

    /// The outcome of an application, if it still is to be made durable.
    pub(crate) fn outcome(&self, app: AppId) -> Option<Outcome> {
        let pending = self.apps.get(&app).and_then(|pending| pending.outcome.as_ref());
        pending.map(|(outcome, _)| outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::Payload;

    fn attempt(attempt: u32) -> AppAttemptId {
        AppAttemptId { app: AppId(1), attempt }
    }

    fn both() -> PendingRecords {
        let mut pending = PendingRecords::default();
        pending.add_attempt(attempt(2));
        pending.add_outcome(Outcome { app: AppId(1), outcome: Ok(Payload::from(vec![1])), ended_ms: 9 });
        pending
    }

    #[test]
    fn each_record_waits_by_its_own_failures() {
        let mut pending = both();
        let (first, second) = (RecordId::Attempt(attempt(2)), RecordId::Outcome(AppId(1)));
        for round in 1..=100 {
            let wait = Retry::After(Duration::from_millis((250 * round).min(10_000)));
            assert_eq!((pending.failed(first), pending.failed(second)), (wait, wait));
        }
        pending.written(first);
        assert_eq!(pending.failed(first), Retry::Done);
        assert!(!pending.has_attempt(attempt(2)) && pending.outcome(AppId(1)).is_some());
        let tries = (101..).take_while(|_| pending.failed(second) != Retry::GiveUp).count();
        assert_eq!(tries as u32 + 100, RETRIES_MAX);
        pending.written(second);
        assert_eq!(pending.failed(second), Retry::Done);
        assert!(pending.apps.is_empty());
    }

    #[test]
    fn an_earlier_attempt_is_not_tried_again() {
        let mut pending = both();
        pending.add_attempt(attempt(3));
        assert_eq!(pending.failed(RecordId::Attempt(attempt(2))), Retry::Done);
        pending.written(RecordId::Attempt(attempt(2)));
        assert!(!pending.has_attempt(attempt(2)) && pending.has_attempt(attempt(3)));
    }
}
