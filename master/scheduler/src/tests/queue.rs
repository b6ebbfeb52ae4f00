//! Whose driver starts next.

use super::settings::config;
use crate::bench::run_queue;
use crate::{AppSubmission, Effect, Event, LinkId, Scheduler};
use firesteel_common::config::{SchedulerConfig, SchedulerMode};
use firesteel_common::id::{AppId, Epoch, Incarnation};
use firesteel_common::options::AppOptions;
use firesteel_common::protocol::worker::{DriverProgram, FromWorker, Registration, ToMaster, ToWorker};
use firesteel_common::time::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

#[test]
fn a_long_queue_runs_in_order_and_to_its_end() {
    assert_eq!(run_queue(2_000, &mut || 0.0).unwrap().apps, 2_000);
}

#[test]
fn pools_take_turns_for_driver_places_however_much_one_of_them_submits() {
    let mut order = Vec::new();
    let mut scheduler = Scheduler::new(fair_config(), Epoch(1));
    let mut now = 0;
    let mut queue = VecDeque::new();
    let mut step = |event, queue: &mut VecDeque<_>| {
        now += 1_000;
        for effect in scheduler.step(Timestamp(now), event) {
            if let Effect::SendWorker { worker, message: ToWorker::StartDriver(launch) } = effect {
                queue.push_back((worker, launch.app));
            }
        }
        crate::invariants::check(&scheduler).unwrap();
    };
    let say = |message| {
        let (epoch, incarnation) = (Epoch(1), Incarnation(1));
        Event::FromWorker { link: LinkId(1), message: FromWorker { epoch, incarnation, message } }
    };
    step(Event::Recovered(Vec::new()), &mut queue);
    for number in 1..=40 {
        // The first thirty are of one pool, the last ten of another.
        step(Event::SubmitApp(waiting(number, if number <= 30 { "many" } else { "few" })), &mut queue);
    }
    let registration = Registration {
        host: "h".to_owned(),
        address: "h:1".to_owned(),
        slots: 1,
        drivers_max: 2,
        ..Registration::default()
    };
    step(say(ToMaster::Register(registration)), &mut queue);
    while let Some((_, app)) = queue.pop_front() {
        order.push(app.app.0);
        step(Event::KillApp { app: app.app, reason: "done".to_owned() }, &mut queue);
        step(Event::OutcomeJournaled(app.app), &mut queue);
        step(say(ToMaster::DriverExited { app, reason: "done".into() }), &mut queue);
    }
    assert_eq!(order.len(), 40);
    // A pool of two has half of the places: its last application waits for twenty, not for forty.
    let last_of_few = order.iter().position(|app| *app == 40).unwrap();
    assert!(last_of_few <= 20, "{order:?}");
    let sorted = |pool: std::ops::RangeInclusive<u64>| {
        order.iter().copied().filter(|app| pool.contains(app)).is_sorted()
    };
    assert!(sorted(1..=30) && sorted(31..=40), "the order in a pool is that of submission: {order:?}");
}

fn waiting(number: u64, pool: &str) -> AppSubmission {
    let conf = [("spark.scheduler.pool".to_owned(), pool.to_owned())].into();
    let program = DriverProgram::Sql { text: "select 1".to_owned(), tables: Default::default() };
    AppSubmission {
        app: AppId(number),
        attempt: 1,
        submitted_ms: 0,
        program: Some(program),
        options: Arc::new(AppOptions::from_conf(&conf).unwrap()),
    }
}

fn fair_config() -> SchedulerConfig {
    SchedulerConfig { mode: SchedulerMode::Fair, ..config() }
}
