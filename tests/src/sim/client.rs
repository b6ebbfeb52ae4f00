//! Simulated clients: each submits one application, again and again under its idempotency key until it is
//! answered, may ask for its end, and waits for its outcome.

use super::clock::Rng;
use super::journal::Write;
use super::programs::{plugin, random_program};
use super::trace::say;
use super::workload::Program;
use super::world::{Happening, World};
use firesteel_common::graph::TaskCode;
use firesteel_common::id::{AppAttemptId, AppId};
use firesteel_common::protocol::worker::DriverProgram;
use firesteel_scheduler::Event;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A client.
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) program: Arc<Program>,
    code: TaskCode,
    /// What it was answered.
    pub(crate) app: Option<AppId>,
    pub(crate) killed: bool,
    /// Whether its driver was made to crash.
    pub(crate) driver_crashed: bool,
    pub(crate) done: bool,
    /// Whether an attempt of it was made to fail, or an executor of it to crash.
    pub(crate) failures_seen: bool,
}

impl Client {
    pub(crate) fn new(number: usize, rng: &mut Rng) -> Self {
        let code = if rng.chance(25) { TaskCode::Sql } else { TaskCode::Plugin(plugin(number as u64)) };
        let program = Arc::new(random_program(rng, code));
        Self {
            number,
            program,
            code,
            app: None,
            killed: false,
            driver_crashed: false,
            done: false,
            failures_seen: false,
        }
    }

    /// What its driver runs if it runs on a worker.
    pub(crate) fn driver_program(&self) -> Option<DriverProgram> {
        if !self.program.cluster {
            return None;
        }
        Some(match self.code {
            TaskCode::Plugin(plugin) => {
                DriverProgram::Plugin { plugin, entry: "main".to_owned(), args: BTreeMap::new() }
            }
            TaskCode::Sql => DriverProgram::Sql { text: "select 1".to_owned(), tables: BTreeMap::new() },
        })
    }
}

impl World {
    pub(crate) fn client_acts(&mut self, number: usize) {
        let Some(client) = self.clients.get(number) else { return };
        if client.done {
            return;
        }
        match client.app {
            None => self.client_submits(number),
            Some(app) => self.client_waits(number, app),
        }
        let delay = self.rng.between(50_000, 250_000);
        self.clock.after(delay, Happening::ClientActs { client: number });
    }

    fn master_answers(&self) -> bool {
        self.master.up.as_ref().is_some_and(|up| !up.stopped)
    }

    fn client_submits(&mut self, number: usize) {
        if !self.master_answers() {
            return;
        }
        match self.journal.by_key.get(&number).copied() {
            // The answer may be lost on its way; the client asks again.
            Some(_) if self.rng.chance(15) => {}
            Some(app) => {
                say!(self, "client {number} is answered: {app}");
                let Some(client) = self.clients.get_mut(number) else { return };
                client.app = Some(app);
                if !client.program.cluster {
                    self.start_driver(AppAttemptId { app, attempt: 1 }, None);
                }
            }
            None if self.is_being_submitted(number) => {}
            None => self.write(Write::Submission { client: number }),
        }
    }

    fn client_waits(&mut self, number: usize, app: AppId) {
        let ended = self.journal.apps.get(&app).is_some_and(|record| record.outcome.is_some());
        let Some(client) = self.clients.get_mut(number) else { return };
        if ended {
            client.done = true;
        } else if client.killed && self.master_answers() {
            self.tell_master(Event::KillApp { app, reason: "the client wants it".to_owned() });
        }
    }
}
