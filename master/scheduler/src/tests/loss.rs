//! What is lost is made again: only that, and only if it is needed.

use super::check;

/// Two workers with two slots, one job: four map tasks, two reducers.
const BEGIN: &str = "worker w1; worker w2; client; attach; job map=1:4:2 result=2:2<1 want=2";

fn story(rest: &str, expected: &str) {
    check(&format!("{BEGIN}; quiet; {rest}"), expected);
}

#[test]
fn losing_a_worker_reruns_only_its_lost_outputs() {
    story("finish all; quiet; close w2; tick 700; finish 1/1; finish 1/3; finish 2/0; finish 2/1; empty", "");
}
#[test]
fn losing_a_worker_whose_outputs_nobody_needs_reruns_nothing() {
    story("finish all; finish all; quiet; close w2; tick 700", "");
}
#[test]
fn a_reader_waits_for_a_lost_output_without_its_slot() {
    story("finish all; quiet; miss 2/0 map=1/1 from=w2; miss 2/0 map=1/1 from=w2; dump; finish 1/1; dump; finish all", "");
}
#[test]
fn a_reader_that_looked_in_an_old_place_is_told_the_new_one() {
    story("finish all; miss 2/0 map=1/1 from=w2; finish 1/1; quiet; miss 2/1 map=1/1 from=w2", "");
}
#[test]
fn an_output_that_cannot_be_read_again_and_again_fails_the_job() {
    story("finish all; miss 2/0 map=1/1 from=w2; finish 1/1; miss 2/0 map=1/1 from=w1 attempt=1; finish 1/1; miss 2/0 map=1/1 from=w1 attempt=2; finish 1/1; miss 2/0 map=1/1 from=w1 attempt=3; finish 1/1; quiet; miss 2/0 map=1/1 from=w1 attempt=4", "");
}
#[test]
fn an_executor_takes_its_attempts_with_it_but_no_outputs() {
    story("finish 1/1; finish 1/3; quiet; executor-lost w1", "");
}
#[test]
fn a_task_that_kills_its_executor_four_times_fails_its_job() {
    story("executor-lost w1; executor-lost w1; executor-lost w1; quiet; executor-lost w1", "");
}
#[test]
fn a_task_that_fails_four_times_fails_its_job() {
    story("fail 1/0; fail 1/0; fail 1/0; quiet; fail 1/0", "");
}
#[test]
fn an_error_that_cannot_be_mended_fails_the_job_at_once() {
    story("fail 1/0 code=OUTPUT_EXISTS", "");
}
#[test]
fn a_recomputed_output_that_differs_rolls_its_consumers_back() {
    check("worker w1; worker w2; client; attach; job map=1:2:2 map=2:2:2<1 result=3:2<2 want=3; finish all; finish 2/0; quiet; miss 2/1 map=1/0 from=w1; finish 1/0 other; dump", "");
}
#[test]
fn a_recomputed_output_that_differs_after_a_result_left_fails_the_job() {
    story("finish all; finish 2/1; quiet; miss 2/0 map=1/1 from=w2; finish 1/1 other", "");
}
#[test]
fn a_lost_cached_partition_is_made_again_through_its_input() {
    check("worker w1; worker w2; client; attach; job map=1:2:2 want=1; finish all; job id=1 cached result=2:2<1 want=2; finish 2/0 stored=0; finish 2/1 stored=1; quiet; job id=2 cached result=3:2<1 want=3; finish all; quiet; close w2; tick 600; quiet; job id=3 cached result=4:2<1 want=4; dump", "");
}
