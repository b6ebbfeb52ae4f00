//! What is remembered and what is forgotten, as data.

use crate::runner::session::{Session, in_parts};
use crate::testing::app;
use firesteel_common::Payload;
use firesteel_common::block::{BlockId, BlockKind};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::graph::{
    OutputOrder, ReadPattern, StageInput, StageKind, StageSpec, TaskCode, TaskSpec,
};
use firesteel_common::id::{DatasetId, JobId, StageId, WorkerId};
use firesteel_common::job::{JobEvent, JobProgress, JobSpec, Target};
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::task::ResultValue;

fn stage(id: u32, kind: StageKind, tasks: usize, inputs: &[u32]) -> StageSpec {
    let input =
        |id: &u32| StageInput { stage: StageId(*id), read: ReadPattern::Everything, unless_cached: None };
    StageSpec {
        id: StageId(id),
        name: format!("stage {id}"),
        kind,
        code: TaskCode::Sql,
        payload: Payload::empty(),
        tasks: vec![TaskSpec::default(); tasks],
        inputs: inputs.iter().map(input).collect(),
        order: OutputOrder::Ordered,
    }
}

fn map_stage(id: u32, inputs: &[u32]) -> StageSpec {
    stage(id, StageKind::ShuffleMap { reducers: 2 }, 2, inputs)
}

pub(in crate::runner::tests) fn result_stage(id: u32, tasks: usize, inputs: &[u32]) -> StageSpec {
    stage(id, StageKind::Result, tasks, inputs)
}

/// A job whose target is its last stage (stage 0 if it brings none).
pub(in crate::runner::tests) fn job(id: u32, stages: Vec<StageSpec>) -> JobSpec {
    let target = stages.last().map_or(StageId(0), |stage| stage.id);
    let targets = vec![Target::all(target)];
    JobSpec { id: JobId(id), name: "job".into(), stages, targets, open: false, group: "group".into() }
}

pub(in crate::runner::tests) fn result(stage: u32, partition: u32) -> JobEvent {
    let value = ResultValue::Inline(vec![partition as u8].into());
    JobEvent::TaskResult { stage: StageId(stage), partition, value, accumulators: vec![] }
}

/// An attachment as text: `stages 0 1; job 0 targets 3[1,2]; release 0; …`.
fn attachment(session: &mut Session) -> String {
    let ids = |stages: Vec<u32>| stages.iter().map(|id| format!(" {id}")).collect::<String>();
    let mut parts = Vec::new();
    for message in session.attach() {
        match message {
            FromDriver::Attach { stages, jobs } => {
                parts.push(format!("stages{}", ids(stages.iter().map(|stage| stage.id.0).collect())));
                for job in jobs {
                    assert!(job.stages.is_empty());
                    let targets = job.targets.iter().map(|target| match &target.partitions {
                        None => format!(" {}", target.stage.0),
                        Some(partitions) => format!(" {}{partitions:?}", target.stage.0),
                    });
                    let open = if job.open { " open" } else { "" };
                    parts.push(format!("job {} targets{}{open}", job.id.0, targets.collect::<String>()));
                }
            }
            FromDriver::Release { stages, datasets } => {
                let datasets = ids(datasets.iter().map(|dataset| dataset.0).collect());
                let stages = ids(stages.iter().map(|stage| stage.0).collect());
                parts.push(format!("release{stages} datasets{datasets}"));
            }
            FromDriver::Cancel { job, reason } => parts.push(format!("cancel {} {reason}", job.0)),
            FromDriver::Finish(outcome) => parts.push(format!("finish {}", outcome.is_ok())),
            other => parts.push(format!("{other:?}")),
        }
    }
    parts.join("; ")
}

#[test]
fn an_attachment_holds_what_is_not_released_and_what_that_was_made_from() {
    let mut session = Session::default();
    assert_eq!(attachment(&mut session), "stages");
    // Ids need not follow the order of submission; parents come first all the same.
    session.submit(job(0, vec![map_stage(5, &[]), map_stage(2, &[5]), result_stage(7, 3, &[2])])).unwrap();
    assert_eq!(attachment(&mut session), "stages 5 2 7; job 0 targets 7[0, 1, 2]");
    session.release(vec![StageId(5)], vec![]);
    assert_eq!(
        attachment(&mut session),
        "stages 5 2 7; job 0 targets 7[0, 1, 2]; release 5 datasets",
        "a released stage is needed for as long as its reader is",
    );
    session.receive(JobId(0), JobEvent::Finished);
    session.release(vec![StageId(7)], vec![DatasetId(4)]);
    assert_eq!(attachment(&mut session), "stages 5 2; release 5 datasets 4");
    session.release(vec![StageId(2)], vec![]);
    assert_eq!(attachment(&mut session), "stages; release datasets 4");
}

#[test]
fn a_released_stage_stays_for_the_job_that_runs() {
    let mut session = Session::default();
    session.submit(job(0, vec![map_stage(1, &[]), result_stage(2, 2, &[1])])).unwrap();
    session.release(vec![StageId(1), StageId(2)], vec![]);
    assert_eq!(attachment(&mut session), "stages 1 2; job 0 targets 2[0, 1]; release 1 2 datasets");
    session.receive(JobId(0), JobEvent::Failed(Error::new(ErrorCode::Killed, "")));
    assert_eq!(attachment(&mut session), "stages");
}

#[test]
fn results_that_were_received_are_not_asked_for_again() {
    let mut session = Session::default();
    let mut spec = job(0, vec![map_stage(0, &[]), result_stage(1, 3, &[0]), result_stage(2, 9, &[0])]);
    spec.targets = vec![Target::all(StageId(0)), Target::all(StageId(1))];
    spec.targets.push(Target { stage: StageId(2), partitions: Some(vec![3, 5]) });
    spec.open = true;
    session.submit(spec).unwrap();
    session.receive(JobId(0), result(1, 1));
    session.receive(JobId(0), result(2, 5));
    assert_eq!(attachment(&mut session), "stages 0 1 2; job 0 targets 0 1[0, 2] 2[3] open");
    session.receive(JobId(0), result(2, 3));
    session.receive(JobId(0), result(2, 3));
    session.extend(JobId(0), vec![result_stage(3, 1, &[0])], vec![Target::all(StageId(3))], false).unwrap();
    assert_eq!(attachment(&mut session), "stages 0 1 2 3; job 0 targets 0 1[0, 2] 3[0]");
    let closed = session.extend(JobId(0), vec![], vec![], false).unwrap_err();
    assert_eq!(closed.code, ErrorCode::GraphInvalid);
    let events: Vec<_> = std::iter::from_fn(|| session.next_event(JobId(0)).unwrap()).collect();
    assert_eq!(events, [result(1, 1), result(2, 5), result(2, 3)], "each once");
}

#[test]
fn cancelled_jobs_and_the_outcome_are_said_again() {
    let mut session = Session::default();
    for id in 0..3 {
        session.submit(job(id, vec![result_stage(id, 1, &[])])).unwrap();
    }
    session.cancel(JobId(1), "late");
    session.cancel(JobId(9), "unknown");
    assert_eq!(
        attachment(&mut session),
        "stages 0 1 2; job 0 targets 0[0]; job 1 targets 1[0]; job 2 targets 2[0]; cancel 1 late",
    );
    session.receive(JobId(0), JobEvent::Finished);
    session.cancel_group("group", "all");
    session.cancel_group("another", "none");
    let said = attachment(&mut session);
    assert!(said.ends_with("job 1 targets 1[0]; job 2 targets 2[0]; cancel 1 late; cancel 2 all"), "{said}");
    session.finish(Ok(Payload::empty())).unwrap();
    assert_eq!(attachment(&mut session), "stages; finish true");
}

#[test]
fn progress_is_kept_once_and_nothing_follows_the_end() {
    let mut session = Session::default();
    session.submit(job(0, vec![result_stage(0, 2, &[])])).unwrap();
    let progress = |tasks_done| JobEvent::Progress(JobProgress { tasks_done, ..JobProgress::default() });
    let received =
        [progress(0), result(0, 0), progress(1), result(0, 1), progress(2), JobEvent::Finished, progress(3)];
    for event in received {
        session.receive(JobId(0), event);
    }
    session.receive(JobId(7), JobEvent::Finished);
    let taken: Vec<_> = (0..4).map(|_| session.next_event(JobId(0)).unwrap().unwrap()).collect();
    assert_eq!(taken, [result(0, 0), result(0, 1), progress(2), JobEvent::Finished]);
    assert_eq!(session.next_event(JobId(0)).unwrap_err().code, ErrorCode::GraphInvalid);
    assert_eq!(session.next_event(JobId(7)).unwrap_err().code, ErrorCode::GraphInvalid);
}

#[test]
fn a_result_stage_is_released_with_its_last_block() {
    let mut session = Session::default();
    session.submit(job(0, vec![result_stage(0, 2, &[])])).unwrap();
    let kind = |partition| BlockKind::Result { stage: StageId(0), partition, attempt: 0 };
    let block = |partition| BlockId { app: app(1), kind: kind(partition) };
    for partition in 0..2 {
        let value = ResultValue::Block { worker: WorkerId(0), block: block(partition), bytes: 64 };
        let event = JobEvent::TaskResult { stage: StageId(0), partition, value, accumulators: vec![] };
        session.receive(JobId(0), event);
    }
    assert_eq!(session.release_result(block(0)), None, "another block is not fetched yet");
    session.receive(JobId(0), JobEvent::Finished);
    assert_eq!(session.release_result(block(0)), None);
    assert_eq!(session.release_result(block(1)), Some(StageId(0)));
    session.release(vec![StageId(0)], vec![]);
    assert_eq!(session.release_result(block(1)), None);
    assert_eq!(attachment(&mut session), "stages");
}

#[test]
fn a_long_graph_is_told_in_parts() {
    let stages: Vec<StageSpec> = (0..10).map(|id| map_stage(id, &[])).collect();
    let len = firesteel_common::protocol::codec::encode(&stages[0]).unwrap().len();
    for (max, lengths) in [(usize::MAX, vec![]), (3 * len, vec![3, 3, 3]), (0, vec![1; 9])] {
        let (parts, rest) = in_parts(stages.clone(), max);
        let parts: Vec<Vec<StageSpec>> = parts
            .into_iter()
            .map(|part| {
                let FromDriver::AttachPart { stages } = part else { unreachable!("{part:?}") };
                stages
            })
            .collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
        assert_eq!(parts.into_iter().flatten().chain(rest).collect::<Vec<_>>(), stages);
    }
}
