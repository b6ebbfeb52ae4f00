//! Jobs: what they compute, share, deliver, cancel and release.

use super::check;

#[test]
fn a_finished_stage_is_not_computed_again() {
    check("worker w1 slots=4; client; attach; job map=1:2:2 result=2:2<1 want=2; finish all; finish all; quiet; job id=1 result=3:1<1 want=3; finish all; job id=2 want=3; finish all; job id=3 want=1", "");
}
#[test]
fn jobs_share_a_stage_that_is_being_computed() {
    check("worker w1 slots=4; client; attach; job map=1:2:2 result=2:2<1 want=2; job id=1 result=3:2<1 want=3; quiet; cancel id=0; finish all; finish all", "");
}
#[test]
fn a_cancelled_job_stops_its_tasks_and_its_groups() {
    check("worker w1 slots=4; client; attach; job map=1:2:2 want=1 group=g; job id=1 map=2:2:2 want=2 group=g; quiet; cancel-group g; dump", "");
}
#[test]
fn accumulators_count_the_first_success_only() {
    check("worker w1; worker w2; client; attach; job map=1:2:1 result=2:1<1 want=2; quiet; finish 1/0 counting; finish 1/1 counting; miss 2/0 map=1/0 from=w1; finish 1/0 counting; finish 2/0 counting", "");
}
#[test]
fn an_open_job_grows_until_it_is_closed() {
    check("worker w1; client; attach; job map=1:1:1 want=1 open; finish all; extend result=2:1<1 want=2; finish all; empty", "");
}
#[test]
fn only_wanted_partitions_run() {
    check("worker w1 slots=4; client; attach; job result=1:9 want=1 partitions=3,7; finish all", "");
}
#[test]
fn a_released_stage_is_freed_when_no_job_needs_it() {
    check("worker w1 slots=4; client; attach; job map=1:2:2 result=2:2<1 want=2; finish all; quiet; release stages=1; finish all; release stages=2; dump", "");
}
#[test]
fn a_released_dataset_is_freed() {
    check("worker w1 slots=4; client; attach; job map=1:1:1 want=1; finish all; job id=1 cached result=2:1<1 want=2; finish all stored=0; quiet; release datasets=1; dump", "");
}
#[test]
fn a_block_result_comes_after_the_address_of_its_worker() {
    check("worker w1; client; attach; job result=1:2 want=1; quiet; finish 1/0 block; finish 1/1 block; release stages=1", "");
}
#[test]
fn a_graph_that_breaks_a_rule_fails_its_job() {
    check("worker w1; client; attach; job result=2:2<1 want=2; job id=1 want=9", "");
}
