//! Jobs: what they compute, share, deliver, cancel and release.

use super::check;

#[test]
fn a_finished_stage_is_not_computed_again() {
    check(
        "worker w1 slots=4; client; attach; job map=1:2:2 result=2:2<1 want=2; finish all
         finish all; quiet; job id=1 result=3:1<1 want=3; finish all; job id=2 want=3; finish all
         job id=3 want=1",
        "worker-1: launch 3/0.0 code 3
         app-1.1: job-1 result 3/0
         app-1.1: job-1 finished
         worker-1: launch 3/0.1
         app-1.1: job-2 result 3/0
         app-1.1: job-2 finished
         app-1.1: job-3 stage-1 finished
         app-1.1: job-3 finished",
    );
}

#[test]
fn jobs_share_a_stage_that_is_being_computed() {
    check(
        "worker w1 slots=4; client; attach; job map=1:2:2 result=2:2<1 want=2
         job id=1 result=3:2<1 want=3; quiet; cancel id=0; finish all; finish all",
        "app-1.1: job-0 failed KILLED
         app-1.1: job-1 stage-1 finished
         worker-1: launch 3/0.0 3/1.0 code 3 tables 1
         app-1.1: job-1 result 3/0
         app-1.1: job-1 result 3/1
         app-1.1: job-1 finished",
    );
}

#[test]
fn a_cancelled_job_stops_its_tasks_and_its_groups() {
    check(
        "worker w1 slots=4; client; attach; job map=1:2:2 want=1 group=g
         job id=1 map=2:2:2 want=2 group=g; quiet; cancel-group g; dump",
        "app-1.1: job-0 failed KILLED
         log 1/0.0 lost: Cancelled
         log 1/1.0 lost: Cancelled
         worker-1: kill 1/0.0 1/1.0
         app-1.1: job-1 failed KILLED
         log 2/0.0 lost: Cancelled
         log 2/1.0 lost: Cancelled
         worker-1: kill 2/0.0 2/1.0
         worker-1 0/4 slots used, drivers 0:
         app-1.1 runs on a client, attached
         stage-1 rests
         0: idle
         1: idle
         stage-2 rests
         0: idle
         1: idle",
    );
}

#[test]
fn accumulators_count_the_first_success_only() {
    check(
        "worker w1; worker w2; client; attach; job map=1:2:1 result=2:1<1 want=2; quiet
         finish 1/0 counting; finish 1/1 counting; miss 2/0 map=1/0 from=w1; finish 1/0 counting
         finish 2/0 counting",
        "app-1.1: job-0 accumulated
         app-1.1: job-0 accumulated
         app-1.1: job-0 stage-1 finished
         worker-2: launch 2/0.0 code 2 tables 1
         log 2/0.0 misses 1/0
         worker-1: free outputs 1/0.0
         log output of 1/0.0 lost: FetchFailed
         log 1/0.1 starts: Recompute
         worker-2: launch 1/0.1
         worker-2: inputs of stage-1 0=worker-2.1
         app-1.1: job-0 result 2/0 accumulated
         app-1.1: job-0 finished",
    );
}

#[test]
fn an_open_job_grows_until_it_is_closed() {
    check(
        "worker w1; client; attach; job map=1:1:1 want=1 open; finish all
         extend result=2:1<1 want=2; finish all; empty",
        "worker-1 is bound
         app-1.1: attached, 2 slots
         worker-1: launch 1/0.0 code 1
         app-1.1: job-0 stage-1 finished
         worker-1: launch 2/0.0 code 2 tables 1
         app-1.1: job-0 result 2/0
         app-1.1: job-0 finished
         empty false",
    );
}

#[test]
fn only_wanted_partitions_run() {
    check(
        "worker w1 slots=4; client; attach; job result=1:9 want=1 partitions=3,7; finish all",
        "worker-1 is bound
         app-1.1: attached, 4 slots
         worker-1: launch 1/3.0 1/7.0 code 1
         app-1.1: job-0 result 1/3
         app-1.1: job-0 result 1/7
         app-1.1: job-0 finished",
    );
}

#[test]
fn a_released_stage_is_freed_when_no_job_needs_it() {
    check(
        "worker w1 slots=4; client; attach; job map=1:2:2 result=2:2<1 want=2; finish all; quiet
         release stages=1; finish all; release stages=2; dump",
        "app-1.1: job-0 result 2/0
         app-1.1: job-0 result 2/1
         app-1.1: job-0 finished
         worker-1: free stage-1
         worker-1: free stage-2
         worker-1 0/4 slots used, drivers 0:
         app-1.1 runs on a client, attached",
    );
}

#[test]
fn a_released_dataset_is_freed() {
    check(
        "worker w1 slots=4; client; attach; job map=1:1:1 want=1; finish all
         job id=1 cached result=2:1<1 want=2; finish 2/0 stored=0; quiet; release datasets=1; dump",
        "worker-1: free  dataset-1
         worker-1 0/4 slots used, drivers 0:
         app-1.1 runs on a client, attached
         stage-1 rests
         0: idle, output of attempt 0 on worker-1
         stage-2 rests
         0: idle",
    );
}

#[test]
fn a_block_result_comes_after_the_address_of_its_worker() {
    check(
        "worker w1; client; attach; job result=1:2 want=1; quiet; finish 1/0 block
         finish 1/1 block; release stages=1",
        "app-1.1: address of worker-1
         app-1.1: job-0 result 1/0
         app-1.1: job-0 result 1/1
         app-1.1: job-0 finished
         worker-1: free stage-1",
    );
}

#[test]
fn a_graph_that_breaks_a_rule_fails_its_job() {
    check(
        "worker w1; client; attach; job result=2:2<1 want=2; job id=1 want=9",
        "worker-1 is bound
         app-1.1: attached, 2 slots
         app-1.1: job-0 failed GRAPH_INVALID
         app-1.1: job-1 failed GRAPH_INVALID",
    );
}
