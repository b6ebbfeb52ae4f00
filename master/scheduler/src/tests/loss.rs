//! What is lost is made again: only that, and only if it is needed.

use super::check;

/// Two workers with two slots, one job: four map tasks, two reducers.
const BEGIN: &str = "worker w1; worker w2; client; attach; job map=1:4:2 result=2:2<1 want=2";

fn story(rest: &str, expected: &str) {
    check(&format!("{BEGIN}; quiet; {rest}"), expected);
}

#[test]
fn losing_a_worker_reruns_only_its_lost_outputs() {
    story(
        "finish all; quiet; close w2; tick 700; finish 1/1; finish 1/3; finish 2/0; finish 2/1
         empty",
        "log worker-2 lost: WorkerGone
         log 2/0.0 lost: WorkerGone
         log 2/1.0 lost: WorkerGone
         log output of 1/1.0 lost: WorkerGone
         log 1/1.1 starts: Recompute
         log output of 1/3.0 lost: WorkerGone
         log 1/3.1 starts: Recompute
         worker-1: launch 1/1.1 1/3.1
         log 2/0.1 starts: Lost
         log 2/1.1 starts: Lost
         worker-1: launch 2/0.1 2/1.1 code 2 tables 1
         app-1.1: job-0 result 2/0
         app-1.1: job-0 result 2/1
         app-1.1: job-0 finished
         empty false",
    );
}

#[test]
fn losing_a_worker_whose_outputs_nobody_needs_reruns_nothing() {
    story("finish all; finish all; quiet; close w2; tick 700", "log worker-2 lost: WorkerGone");
}

#[test]
fn a_reader_waits_for_a_lost_output_without_its_slot() {
    story(
        "finish all; quiet; miss 2/0 map=1/1 from=w2; miss 2/0 map=1/1 from=w2; dump; finish 1/1
         dump; finish all",
        "log 2/0.0 misses 1/1
         worker-2: free outputs 1/1.0
         log output of 1/1.0 lost: FetchFailed
         log 1/1.1 starts: Recompute
         worker-2: launch 1/1.1
         log 2/0.0 misses 1/1
         worker-1 0/2 slots used, drivers 0:
         worker-2 2/2 slots used, drivers 0: app-1.1/stage-2/0.0 app-1.1/stage-2/1.0 app-1.1/stage-1/1.1
         app-1.1 runs on a client, attached
         job-0 '' wants stage-2
         stage-1 open
         0: idle, output of attempt 0 on worker-1
         1: attempt 1 runs on worker-2, output lost
         2: idle, output of attempt 0 on worker-1
         3: idle, output of attempt 0 on worker-2
         stage-2 blocked stage-1
         0: attempt 0 waits on worker-2 for 1
         1: attempt 0 runs on worker-2
         worker-2: inputs of stage-1 1=worker-2.1
         worker-1 0/2 slots used, drivers 0:
         worker-2 2/2 slots used, drivers 0: app-1.1/stage-2/0.0 app-1.1/stage-2/1.0
         app-1.1 runs on a client, attached
         job-0 '' wants stage-2
         stage-1 rests
         0: idle, output of attempt 0 on worker-1
         1: idle, output of attempt 1 on worker-2
         2: idle, output of attempt 0 on worker-1
         3: idle, output of attempt 0 on worker-2
         stage-2 open
         0: attempt 0 runs on worker-2
         1: attempt 0 runs on worker-2
         app-1.1: job-0 result 2/0
         app-1.1: job-0 result 2/1
         app-1.1: job-0 finished",
    );
}

#[test]
fn a_reader_that_looked_in_an_old_place_is_told_the_new_one() {
    story(
        "finish all; miss 2/0 map=1/1 from=w2; finish 1/1; quiet; miss 2/1 map=1/1 from=w2",
        "log 2/1.0 misses 1/1
         worker-2: inputs of stage-1 1=worker-2.1",
    );
}

#[test]
fn an_output_that_cannot_be_read_again_and_again_fails_the_job() {
    story(
        "finish all; miss 2/0 map=1/1 from=w2; finish 1/1; miss 2/0 map=1/1 from=w2 attempt=1
         finish 1/1; miss 2/0 map=1/1 from=w2 attempt=2; finish 1/1
         miss 2/0 map=1/1 from=w2 attempt=3; finish 1/1; quiet; miss 2/0 map=1/1 from=w2 attempt=4",
        "log 2/0.0 misses 1/1
         worker-2: free outputs 1/1.4
         app-1.1: job-0 failed STAGE_RETRIES_EXHAUSTED
         log 2/0.0 lost: Cancelled
         log 2/1.0 lost: Cancelled
         worker-2: kill 2/0.0 2/1.0",
    );
}

#[test]
fn an_executor_takes_its_attempts_with_it_but_no_outputs() {
    story(
        "finish 1/1; finish 1/3; quiet; executor-lost w1",
        "log executor of worker-1 lost
         log 1/0.0 lost: ExecutorDied
         log 1/2.0 lost: ExecutorDied
         log 1/0.1 starts: Lost
         log 1/2.1 starts: Lost
         worker-1: launch 1/0.1 1/2.1",
    );
}

#[test]
fn a_task_that_kills_its_executor_four_times_fails_its_job() {
    story(
        "executor-lost w1; executor-lost w1; executor-lost w1; quiet; executor-lost w1",
        "log executor of worker-1 lost
         log 1/0.3 lost: ExecutorDied
         log 1/2.3 lost: ExecutorDied
         app-1.1: job-0 failed PROCESS_DIED
         log 1/1.0 lost: Cancelled
         log 1/3.0 lost: Cancelled
         worker-2: kill 1/1.0 1/3.0",
    );
}

#[test]
fn a_task_that_fails_four_times_fails_its_job() {
    story(
        "fail 1/0; fail 1/0; fail 1/0; quiet; fail 1/0",
        "log 1/0.3 failed PANICKED
         app-1.1: job-0 failed TASK_RETRIES_EXHAUSTED
         log 1/1.0 lost: Cancelled
         log 1/2.0 lost: Cancelled
         log 1/3.0 lost: Cancelled
         worker-1: kill 1/2.0
         worker-2: kill 1/1.0 1/3.0",
    );
}

#[test]
fn an_error_that_cannot_be_mended_fails_the_job_at_once() {
    story(
        "fail 1/0 code=OUTPUT_EXISTS",
        "log 1/0.0 failed OUTPUT_EXISTS
         app-1.1: job-0 failed OUTPUT_EXISTS
         log 1/1.0 lost: Cancelled
         log 1/2.0 lost: Cancelled
         log 1/3.0 lost: Cancelled
         worker-1: kill 1/2.0
         worker-2: kill 1/1.0 1/3.0",
    );
}

#[test]
fn a_recomputed_output_that_differs_rolls_its_consumers_back() {
    check(
        "worker w1; worker w2; client; attach; job map=1:2:2 map=2:2:2<1 result=3:2<2 want=3
         finish all; finish 2/0; quiet; miss 2/1 map=1/0 from=w1; finish 1/0 other; dump",
        "log 2/1.0 misses 1/0
         worker-1: free outputs 1/0.0
         log output of 1/0.0 lost: FetchFailed
         log 1/0.1 starts: Recompute
         worker-2: launch 1/0.1
         worker-2: free outputs 2/0.0
         log stage-1 rolls back stage-2
         log 2/1.0 lost: RolledBack
         worker-2: kill 2/1.0
         worker-2: inputs of stage-1 0=worker-2.1
         app-1.1: job-0 stage-1 finished
         log 2/0.1 starts: RollBack
         log 2/1.1 starts: RollBack
         worker-2: launch 2/0.1 2/1.1
         worker-1 0/2 slots used, drivers 0:
         worker-2 2/2 slots used, drivers 0: app-1.1/stage-2/0.1 app-1.1/stage-2/1.1
         app-1.1 runs on a client, attached
         job-0 '' wants stage-3
         stage-1 rests
         0: idle, output of attempt 1 on worker-2
         1: idle, output of attempt 0 on worker-2
         stage-2 open
         0: attempt 1 runs on worker-2, output lost
         1: attempt 1 runs on worker-2
         stage-3 blocked stage-2
         0: pending (first)
         1: pending (first)",
    );
}

#[test]
fn a_recomputed_output_that_differs_after_a_result_left_fails_the_job() {
    story(
        "finish all; finish 2/1; quiet; miss 2/0 map=1/1 from=w2; finish 1/1 other",
        "log 2/0.0 misses 1/1
         worker-2: free outputs 1/1.0
         log output of 1/1.0 lost: FetchFailed
         log 1/1.1 starts: Recompute
         worker-2: launch 1/1.1
         log stage-1 rolls back stage-2
         log 2/0.0 lost: RolledBack
         worker-2: kill 2/0.0
         app-1.1: job-0 failed NOT_DETERMINISTIC
         worker-2: inputs of stage-1 1=worker-2.1",
    );
}

#[test]
fn a_lost_cached_partition_is_made_again_through_its_input() {
    check(
        "worker w1; worker w2; client; attach; job map=1:2:2 want=1; finish all
         job id=1 cached result=2:2<1 want=2; finish 2/0 stored=0; finish 2/1 stored=1; quiet
         job id=2 cached result=3:2<1 want=3; finish all; quiet; close w2; tick 600; quiet
         job id=3 cached result=4:2<1 want=4; dump",
        "log output of 1/1.0 lost: WorkerGone
         log 1/1.1 starts: Recompute
         worker-1: launch 1/1.1
         worker-1 1/2 slots used, drivers 0: app-1.1/stage-1/1.1
         app-1.1 runs on a client, attached
         job-3 '' wants stage-4
         stage-1 open
         0: idle, output of attempt 0 on worker-1
         1: attempt 1 runs on worker-1, output lost
         stage-2 rests
         0: idle
         1: idle
         stage-3 rests
         0: idle
         1: idle
         stage-4 blocked stage-1
         0: pending (first)
         1: pending (first)
         dataset-1 partition 0 on worker-1",
    );
}
