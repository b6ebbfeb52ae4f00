//! The simulated journal: writes that are durable after a while, in their order. A master that crashes loses
//! those that are not durable yet; of these, a first part may have become durable without anybody knowing.

use super::trace::say;
use super::world::{Happening, World};
use firesteel_common::Payload;
use firesteel_common::error::Error;
use firesteel_common::id::{AppAttemptId, AppId};
use firesteel_common::options::AppOptions;
use firesteel_scheduler::{AppSubmission, Event};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The outcome of an application.
pub(crate) type AppOutcome = Result<Payload, Error>;

/// A write.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Of the client of this number; its number is its idempotency key.
    Submission {
        client: usize,
    },
    Attempt(AppAttemptId),
    Outcome(AppId, AppOutcome),
}

/// An application as it is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) client: usize,
    pub(crate) attempt: u32,
    pub(crate) outcome: Option<AppOutcome>,
    /// The attempt that was the last when the outcome became durable.
    pub(crate) ended_in: u32,
}

/// What is on disk, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) epoch: u64,
    pub(crate) apps: BTreeMap<AppId, Record>,
    pub(crate) by_key: BTreeMap<usize, AppId>,
    under_way: VecDeque<(u64, Write)>,
    written: u64,
    last_due: u64,
}

impl World {
    /// Begins a write.
    pub(crate) fn write(&mut self, write: Write) {
        let delay = if self.rng.chance(5) { 60_000 } else { self.rng.between(500, 8_000) };
        let due = (self.clock.now() + delay).max(self.journal.last_due);
        self.journal.last_due = due;
        self.journal.written += 1;
        let number = self.journal.written;
        self.journal.under_way.push_back((number, write));
        self.clock.at(due, Happening::Durable { number });
    }

    /// Whether the submission of this client is on its way to the disk.
    pub(crate) fn is_being_submitted(&self, client: usize) -> bool {
        let is = |write: &Write| matches!(write, Write::Submission { client: of } if *of == client);
        self.journal.under_way.iter().any(|(_, write)| is(write))
    }

    /// The write is durable, unless the master that began it crashed before. The disk does not stop with the
    /// master's process, but the master hears of it only when it goes on.
    pub(crate) fn durable(&mut self, number: u64) {
        if self.journal.under_way.front().is_none_or(|(first, _)| *first != number) {
            return;
        }
        if let Some((_, write)) = self.journal.under_way.pop_front() {
            let event = self.apply(write);
            if let Some(event) = event {
                self.tell_master(event);
            }
        }
    }

    fn apply(&mut self, write: Write) -> Option<Event> {
        say!(self, "journal: durable {write:?}");
        match write {
            Write::Submission { client } => {
                if self.journal.by_key.contains_key(&client) {
                    return None;
                }
                let app = AppId(self.journal.apps.len() as u64 + 1);
                self.journal.by_key.insert(client, app);
                let record = Record { client, attempt: 1, outcome: None, ended_in: 0 };
                self.journal.apps.insert(app, record);
                Some(Event::SubmitApp(self.submission(app, client, 1)))
            }
            Write::Attempt(attempt) => {
                if let Some(record) = self.journal.apps.get_mut(&attempt.app) {
                    record.attempt = record.attempt.max(attempt.attempt);
                }
                Some(Event::AttemptJournaled(attempt))
            }
            Write::Outcome(app, outcome) => {
                if let Some(record) = self.journal.apps.get_mut(&app)
                    && record.outcome.is_none()
                {
                    record.ended_in = record.attempt;
                    record.outcome = Some(outcome);
                    self.check_outcome(app);
                }
                Some(Event::OutcomeJournaled(app))
            }
        }
    }

    fn submission(&self, app: AppId, client: usize, attempt: u32) -> AppSubmission {
        let program = self.clients.get(client).and_then(|client| client.driver_program());
        AppSubmission { app, attempt, submitted_ms: 0, program, options: Arc::new(options(app)) }
    }

    /// The master has crashed: a first part of what was under way may be durable all the same.
    pub(crate) fn journal_crashes(&mut self) {
        let under_way = std::mem::take(&mut self.journal.under_way);
        let survive = self.rng.below(under_way.len() as u64 + 1) as usize;
        for (_, write) in under_way.into_iter().take(survive) {
            self.apply(write);
        }
    }

    /// What a master that starts finds: applications without an outcome, and the next epoch.
    pub(crate) fn journal_opens(&mut self) -> (u64, Vec<AppSubmission>) {
        self.journal.epoch += 1;
        let open: Vec<(AppId, usize, u32)> = self
            .journal
            .apps
            .iter()
            .filter(|(_, record)| record.outcome.is_none())
            .map(|(app, record)| (*app, record.client, record.attempt))
            .collect();
        let recovered =
            open.iter().map(|(app, client, attempt)| self.submission(*app, *client, *attempt)).collect();
        (self.journal.epoch, recovered)
    }
}

/// Bounds on what an application may take, and its pool: by its number, so that they are the same for every
/// master that hears of it.
fn options(app: AppId) -> AppOptions {
    let mut options = AppOptions { cores_max: [0, 0, 1, 2, 0][app.0 as usize % 5], ..AppOptions::default() };
    options.executor.cores = u32::from(app.0 % 4 == 3);
    options.supervise = app.0.is_multiple_of(2);
    options.speculation.enabled = !app.0.is_multiple_of(3);
    options.speculation.quantile_permille = 500;
    options.speculation.multiplier_permille = 1_500;
    options.speculation.threshold_ms = 400 * (app.0 % 2);
    options.exclusion.enabled = app.0 % 3 == 1;
    options.exclusion.timeout_ms = 2_000;
    options.pool = ["default", "reports"][app.0 as usize % 2].to_owned();
    options
}
