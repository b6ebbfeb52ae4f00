//! What one application costs while many wait: a queue of drivers that start, finish, and make room for the
//! next.

use super::{EPOCH, config, registration};
use crate::event::{AppSubmission, Effect, Event, LinkId};
use crate::{Scheduler, invariants};
use firesteel_common::Payload;
use firesteel_common::id::{AppId, Incarnation};
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::protocol::worker::{DriverProgram, FromWorker, ToMaster, ToWorker};
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Drivers that run at the same time.
const PLACES: u64 = 8;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct QueueResult {
    /// Applications that waited, and ran.
    pub apps: u32,
    /// What one of them costs from its submission to its end, with a tick, in microseconds of one core.
    pub us_per_app: f64,
}

/// Submits `apps` applications at once, and runs them one after the other in a few places, with a tick
/// for each. `clock` gives seconds.
///
/// # Errors
/// If not all of them start, each once and in their order, or an invariant is broken at the end.
pub fn run_queue(apps: u32, clock: &mut dyn FnMut() -> f64) -> Result<QueueResult, String> {
    let mut scheduler = Scheduler::new(config(), EPOCH);
    let mut now = 1_000_000;
    let mut started = VecDeque::new();
    let mut step = |event: Event| {
        now += 100;
        for effect in scheduler.step(Timestamp(now), event) {
            if let Effect::SendWorker { worker, message: ToWorker::StartDriver(launch) } = effect {
                started.push_back((worker, launch.app));
            }
        }
        std::mem::take(&mut started)
    };
    let say = |worker: u64, message: ToMaster| {
        let message = FromWorker { epoch: EPOCH, incarnation: Incarnation(worker), message };
        Event::FromWorker { link: LinkId(worker), message }
    };
    step(Event::Recovered(Vec::new()));
    for worker in 1..=PLACES {
        step(say(worker, ToMaster::Register(registration(worker))));
    }
    let start = clock();
    let mut running = VecDeque::new();
    for number in 1..=u64::from(apps) {
        let program = DriverProgram::Sql { text: "select 1".to_owned(), tables: BTreeMap::new() };
        let (app, program, options) = (AppId(number), Some(program), Arc::default());
        let submission = AppSubmission { app, attempt: 1, submitted_ms: 0, program, options };
        running.extend(step(Event::SubmitApp(submission)));
    }
    let mut ended = 0;
    while let Some((worker, app)) = running.pop_front() {
        ended += 1;
        if app.app != AppId(ended) {
            return Err(format!("{app} started as number {ended}"));
        }
        let attach = FromDriver::Attach { stages: Vec::new(), jobs: Vec::new() };
        running.extend(step(Event::FromDriver { app, message: attach }));
        let finish = FromDriver::Finish(Ok(Payload::empty()));
        running.extend(step(Event::FromDriver { app, message: finish }));
        running.extend(step(Event::OutcomeJournaled(app.app)));
        running.extend(step(say(worker.0, ToMaster::DriverExited { app, reason: "done".into() })));
        running.extend(step(Event::Tick));
    }
    let seconds = clock() - start;
    invariants::check(&scheduler)?;
    if ended != u64::from(apps) {
        return Err(format!("{ended} of {apps} applications ran"));
    }
    Ok(QueueResult { apps, us_per_app: seconds * 1e6 / f64::from(apps.max(1)) })
}
