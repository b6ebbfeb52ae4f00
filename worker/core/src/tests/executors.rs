//! Executors, attempts, blocks and memory.

use super::*;

#[test]
fn a_launch_fetches_the_plugin_once_then_starts_the_executor_then_is_forwarded() {
    let mut story = Story::registered();
    assert_eq!(story.hears(launch(1, &[0])), "fetch plugin");
    assert_eq!(story.hears(launch_more(1, &[1])), "");
    let ready = WorkerEvent::PluginReady { plugin: PLUGIN, path: Ok("path".into()) };
    assert_eq!(story.does(ready), "start executor of app-1.1");
    assert_eq!(story.hears(launch_more(1, &[2])), "");
    assert_eq!(story.says(FromExecutor::Ready), "tell launch [1/0,1/1,1/2] stages=1 inputs=1");
    assert_eq!(story.hears(launch_more(1, &[3])), "tell launch [1/3] stages=0 inputs=0");
}

#[test]
fn a_plugin_that_cannot_be_had_fails_what_waits_and_is_asked_for_again() {
    let mut story = Story::registered();
    story.hears(launch(1, &[0, 1]));
    let path = Err(Error::new(ErrorCode::NotFound, "no such plugin"));
    let ready = WorkerEvent::PluginReady { plugin: PLUGIN, path };
    assert_eq!(story.does(ready), "say@1 finished 1/0=NOT_FOUND,1/1=NOT_FOUND");
    assert_eq!(story.hears(launch_more(1, &[0])), "fetch plugin");
}

#[test]
fn a_new_executor_is_told_again_what_its_predecessor_knew() {
    let mut story = Story::running(&[0]);
    let places = vec![(0, place(4))];
    let changed = ToWorker::InputsChanged { app: APP, stage: StageId(100), places };
    assert_eq!(story.hears(changed), "tell changed 100");
    assert_eq!(story.exits(), "say@1 executor lost [1/0]");
    assert_eq!(story.hears(launch_more(1, &[0])), "start executor of app-1.1");
    let effects =
        story.core.step(Timestamp(0), WorkerEvent::FromExecutor { app: APP, message: FromExecutor::Ready });
    let [WorkerEffect::SendExecutor { message: ToExecutor::Launch(launches), .. }] = effects.as_slice()
    else {
        panic!("not a launch: {effects:?}");
    };
    assert_eq!(launches.stages.len(), 1);
    assert_eq!(launches.inputs.first().unwrap().places, vec![Some(place(4))], "the newest place is told");
}

#[test]
fn an_executor_that_dies_before_it_is_ready_loses_what_waits() {
    let mut story = Story::registered();
    story.hears(launch(1, &[0, 1]));
    story.does(WorkerEvent::PluginReady { plugin: PLUGIN, path: Ok("path".into()) });
    assert_eq!(story.exits(), "say@1 executor lost [1/0,1/1]");
}

#[test]
fn an_attempt_that_does_not_stop_in_time_costs_its_executor_its_life() {
    let mut story = Story::running(&[0, 1, 2]);
    let kill = |grace_ms, partitions: &[u32]| ToWorker::KillTasks {
        tasks: partitions.iter().map(|p| task(1, *p)).collect(),
        grace_ms,
    };
    assert_eq!(story.hears(kill(2_000, &[0, 1])), "tell kill [1/0,1/1]");
    assert_eq!(story.says(finished(0, TaskOutcome::Killed)), "say@1 finished 1/0=killed");
    let at = |ms: u64| Timestamp(story.now + ms * 1_000);
    let (early, late) = (at(1_900), at(2_100));
    let stops = |effects: Vec<WorkerEffect>| {
        effects.iter().filter(|effect| matches!(effect, WorkerEffect::StopExecutor(_))).count()
    };
    assert_eq!(stops(story.core.step(early, WorkerEvent::Tick)), 0);
    assert_eq!(stops(story.core.step(late, WorkerEvent::Tick)), 1);
    assert_eq!(stops(story.core.step(late, WorkerEvent::Tick)), 0, "once is enough");
    assert_eq!(story.exits(), "say@1 executor lost [1/1,1/2] stopped");
}

#[test]
fn a_task_without_the_code_of_its_stage_fails_alone() {
    let mut story = Story::running(&[0]);
    assert_eq!(story.hears(launch_more(2, &[0])), "say@1 finished 2/0=INTERNAL");
    assert_eq!(story.says(finished(0, value())), "say@1 finished 1/0=value");
}

#[test]
fn attempts_are_killed_where_they_are() {
    let mut story = Story::running(&[0]);
    let kill = |partitions: &[u32]| ToWorker::KillTasks {
        tasks: partitions.iter().map(|p| task(1, *p)).collect(),
        grace_ms: 2_000,
    };
    assert_eq!(story.hears(kill(&[0, 5])), "tell kill [1/0]", "one that is not here is nobody's");
    let mut story = Story::registered();
    story.hears(launch(1, &[0, 1]));
    assert_eq!(story.hears(kill(&[1])), "say@1 finished 1/1=killed");
}

#[test]
fn reports_of_unknown_attempts_are_dropped() {
    let mut story = Story::running(&[0]);
    assert_eq!(story.says(finished(9, value())), "");
    assert_eq!(story.says(finished(0, value())), "say@1 finished 1/0=value");
    assert_eq!(story.says(finished(0, value())), "");
}

#[test]
fn a_map_output_is_held_until_it_is_freed() {
    let mut story = Story::running(&[0, 1]);
    let block = |partition| {
        let kind = BlockKind::MapOutput { stage: StageId(1), partition, attempt: 0 };
        BlockId { app: APP, kind }
    };
    assert_eq!(
        story.says(FromExecutor::MapOutput { task: task(1, 0), status: status(), frames: vec![] }),
        ""
    );
    story.says(finished(0, TaskOutcome::MapOutput(status())));
    assert!(story.core.holds(&block(0)));
    let open = |block| FromExecutor::OpenBlock { request: 1, block };
    assert_eq!(story.says(open(block(0))), "tell block true");
    assert_eq!(story.says(open(block(1))), "tell block false");
    assert_eq!(
        story.says(FromExecutor::MapOutput { task: task(1, 7), status: status(), frames: vec![] }),
        "free 1.1/map/1/7/0"
    );
    assert_eq!(story.hears(ToWorker::FreeOutputs(vec![task(1, 0), task(1, 1)])), "free 1.1/map/1/0/0");
    assert!(!story.core.holds(&block(0)));
}

#[test]
fn news_of_damage_take_nothing_away() {
    let mut story = Story::running(&[0]);
    story.says(FromExecutor::MapOutput { task: task(1, 0), status: status(), frames: vec![] });
    story.says(finished(0, TaskOutcome::MapOutput(status())));
    let kind = BlockKind::MapOutput { stage: StageId(1), partition: 0, attempt: 0 };
    let own = BlockId { app: APP, kind };
    let other = BlockId { app: AppAttemptId { app: AppId(APP.app.0 + 1), ..APP }, kind };
    // The store has looked at it by itself, and says so if it is lost.
    for block in [own, other] {
        assert_eq!(story.says(FromExecutor::Damaged(block)), "");
    }
    assert!(story.core.holds(&own) && !story.core.holds(&other));
    let open = FromExecutor::OpenBlock { request: 1, block: own };
    assert_eq!(story.says(open), "tell block true");
}

#[test]
fn what_an_attempt_left_without_success_is_freed() {
    let mut story = Story::running(&[0, 1]);
    story.says(FromExecutor::MapOutput { task: task(1, 0), status: status(), frames: vec![] });
    assert_eq!(story.says(finished(0, TaskOutcome::Killed)), "free 1.1/map/1/0/0; say@1 finished 1/0=killed");
    story.says(FromExecutor::MapOutput { task: task(1, 1), status: status(), frames: vec![] });
    assert_eq!(story.exits(), "free 1.1/map/1/1/0; say@1 executor lost [1/1]");
}

#[test]
fn stages_and_datasets_are_freed_with_all_their_blocks() {
    let mut story = Story::running(&[0, 1]);
    story.says(FromExecutor::MapOutput { task: task(1, 0), status: status(), frames: vec![] });
    story.says(finished(0, TaskOutcome::MapOutput(status())));
    let cached = BlockId { app: APP, kind: BlockKind::Cached { dataset: DatasetId(5), partition: 0 } };
    let store = FromExecutor::Store {
        request: 1,
        block: cached,
        bytes: 64,
        level: firesteel_common::block::StorageLevel::MemoryOnly,
    };
    assert_eq!(story.says(store), "tell stored true");
    let free = ToWorker::Free { app: APP, stages: vec![StageId(1)], datasets: vec![DatasetId(5)] };
    assert_eq!(story.hears(free), "free 1.1/map/1/0/0,1.1/cached/5/0; tell forget 1 1");
}

const MIB: u64 = 1024 * 1024;

/// A worker with two slots that has so many bytes, and runs two tasks.
fn with_memory(memory: u64) -> Story {
    let mut story = Story::running(&[0, 1]);
    story.core.options.memory = memory;
    story
}

#[test]
fn an_engine_always_gets_the_share_of_its_slot_and_other_things_what_is_left() {
    let mut story = with_memory(100 * MIB);
    let acquire = |held: Option<u64>, bytes| FromExecutor::AcquireMemory {
        request: 1,
        bytes: bytes * MIB,
        held: held.map(|held| held * MIB),
    };
    let made = |ticket, over| WorkerEvent::RoomMade { ticket, over: over * MIB };
    let memory = |granted: u64| format!("tell memory {}", granted * MIB);
    let execution = |bytes: u64| format!("execution {}", bytes * MIB);
    let asks = |bytes, ticket| format!("{}; make room {ticket}", execution(bytes));
    assert_eq!(story.says(acquire(Some(0), 30)), asks(30, 1));
    assert_eq!(story.does(made(1, 0)), memory(30));
    assert_eq!(story.says(acquire(Some(30), 30)), asks(50, 2), "no more than its share");
    assert_eq!(story.does(made(2, 80)), memory(20), "even if blocks do not give way");
    assert_eq!(story.says(acquire(Some(50), 1)), memory(0));
    assert_eq!(story.says(acquire(None, 40)), asks(90, 3));
    assert_eq!(story.does(made(3, 30)), format!("{}; {}", memory(10), execution(60)));
    // The other task.
    assert_eq!(story.says(acquire(Some(0), 90)), asks(110, 4), "its share, whatever others have");
    assert_eq!(story.does(made(4, 10)), memory(50));
    assert_eq!(story.says(acquire(None, 1)), memory(0));
    assert_eq!(story.says(FromExecutor::ReleaseMemory { bytes: 60 * MIB }), execution(50));
    assert_eq!(story.says(FromExecutor::ReleaseMemory { bytes: u64::MAX }), execution(0));
}

#[test]
fn even_a_small_worker_gives_each_slot_something_and_no_liar_gets_everything() {
    let mut story = with_memory(1000);
    let acquire = FromExecutor::AcquireMemory { request: 1, bytes: u64::MAX, held: Some(0) };
    for ticket in 1..=4 {
        assert!(story.says(acquire.clone()).ends_with(&format!("make room {ticket}")));
        let made = WorkerEvent::RoomMade { ticket, over: u64::MAX };
        assert_eq!(story.does(made), format!("tell memory {}", 4 * MIB));
    }
    assert_eq!(story.says(acquire), "tell memory 0");
}

#[test]
fn memory_comes_back_with_its_executor_and_its_requests_are_forgotten() {
    let mut story = with_memory(100 * MIB);
    let acquire = FromExecutor::AcquireMemory { request: 1, bytes: MIB, held: Some(0) };
    story.says(acquire.clone());
    story.says(acquire.clone());
    story.does(WorkerEvent::RoomMade { ticket: 1, over: 0 });
    assert!(story.exits().ends_with("execution 0"));
    assert_eq!(story.core.granted, 0);
    assert_eq!(story.does(WorkerEvent::RoomMade { ticket: 2, over: 0 }), "");
    assert_eq!(story.says(acquire), "", "it is not there");
}

#[test]
fn the_end_of_an_application_leaves_nothing() {
    let mut story = Story::running(&[0]);
    assert_eq!(story.hears(ToWorker::EndApp(APP)), "stop executor; free app");
    assert_eq!(story.says(finished(0, value())), "", "what the executor still says is nobody's");
    assert_eq!(
        story.says(FromExecutor::MapOutput { task: task(1, 0), status: status(), frames: vec![] }),
        "free 1.1/map/1/0/0"
    );
    assert_eq!(story.exits(), "");
    assert_eq!(story.core.apps().count(), 0);
    assert_eq!(story.core.dump().lines().count(), 2, "{}", story.core.dump());
}

#[test]
fn a_launch_for_an_executor_that_is_leaving_waits_for_its_end() {
    let mut story = Story::running(&[0]);
    story.hears(ToWorker::EndApp(APP));
    assert_eq!(story.hears(launch(1, &[0])), "");
    assert_eq!(story.exits(), "start executor of app-1.1");
    assert_eq!(story.says(FromExecutor::Ready), "tell launch [1/0] stages=1 inputs=1");
}
