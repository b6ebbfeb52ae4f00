//! Peers that have proved their key and say what none should.

use super::script::Script;
use crate::{Effect, Event, LinkId, invariants};
use firesteel_common::Payload;
use firesteel_common::error::ErrorCode;
use firesteel_common::event::AppEvent;
use firesteel_common::id::{AppAttemptId, AppId, Epoch, Incarnation, JobId, StageId, TaskId};
use firesteel_common::job::JobSpec;
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster, ToWorker};
use firesteel_common::task::{ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::time::Timestamp;

const APP: AppAttemptId = AppAttemptId { app: AppId(1), attempt: 1 };

fn after(story: &str) -> Script {
    let mut script = Script::new();
    story.split(';').for_each(|command| script.command(command.trim()));
    script
}

/// What the first worker says over its first connection, or a new one over another.
fn from_worker(link: u64, epoch: u64, message: ToMaster) -> Event {
    let message = FromWorker { epoch: Epoch(epoch), incarnation: Incarnation(link), message };
    Event::FromWorker { link: LinkId(link), message }
}

fn step(script: &mut Script, event: Event) -> Vec<Effect> {
    let effects = script.scheduler.step(Timestamp(1), event);
    invariants::check(&script.scheduler).unwrap();
    effects
}

/// A value of a map task, and an output of another shape than the stage's, are failures of the attempt: it is
/// tried again.
#[test]
fn a_report_that_does_not_fit_its_stage_is_a_failure() {
    for outcome in [
        TaskOutcome::Result(ResultValue::Inline(Payload::empty())),
        TaskOutcome::MapOutput(Default::default()),
    ] {
        let mut script = after("worker w1 slots=1; client; attach; job map=1:1:2 result=2:2<1 want=2");
        let task = TaskId { app: APP, stage: StageId(1), partition: 0, attempt: 0 };
        let metrics = TaskMetrics { run_us: u64::MAX, input_bytes: u64::MAX, ..Default::default() };
        let report = TaskReport { task, outcome, metrics, accumulators: vec![], stored: vec![] };
        let effects = step(&mut script, from_worker(1, 1, ToMaster::TasksFinished(vec![report])));
        let again = |effect: &Effect| match effect {
            Effect::SendWorker { message: ToWorker::LaunchTasks(launches), .. } => {
                launches.tasks.iter().any(|launch| launch.task == TaskId { attempt: 1, ..task })
            }
            _ => false,
        };
        assert!(effects.iter().any(again), "{effects:?}");
    }
}

/// It would not be kept in step with workers that come and go.
#[test]
fn a_driver_that_has_not_attached_gets_nothing() {
    let mut script = after("worker w1; client");
    let spec = || JobSpec {
        id: JobId(0),
        name: String::new(),
        stages: vec![],
        targets: vec![],
        open: true,
        group: String::new(),
    };
    for message in [FromDriver::Submit(spec()), FromDriver::Finish(Ok(Payload::empty()))] {
        let effects = step(&mut script, Event::FromDriver { app: APP, message });
        let killed =
            |effect: &Effect| matches!(effect, Effect::SendDriver { message: ToDriver::Kill { .. }, .. });
        assert!(effects.len() == 1 && killed(&effects[0]), "{effects:?}");
    }
    script.command("attach");
    let effects = step(&mut script, Event::FromDriver { app: APP, message: FromDriver::Submit(spec()) });
    let starts = AppEvent::JobStarted { job: JobId(0), name: String::new() };
    let started = |effect: &Effect| matches!(effect, Effect::Log(line) if line.event == starts);
    assert!(effects.iter().any(started), "{effects:?}");
}

#[test]
fn a_worker_with_more_slots_than_can_be_is_refused() {
    let mut script = after("worker w1");
    for (slots, refused) in [(u32::MAX, true), (65_537, true), (65_536, false)] {
        let registration = Registration { address: "other:1".to_owned(), slots, ..Registration::default() };
        let effects = step(&mut script, from_worker(7, 0, ToMaster::Register(registration)));
        let is_refusal = |effect: &Effect| {
            let Effect::RefuseLink { error, .. } = effect else { return false };
            error.code == ErrorCode::BadRequest
        };
        assert_eq!(effects.iter().any(is_refusal), refused, "{effects:?}");
    }
}
