//! Rivals of slow attempts: when they start and where, and that the work of one of the two is used.

use super::check;

/// Four tasks; three are done within 100 ms, the fourth is not.
const SLOW: &str = "worker w1; worker w2; submit spark.speculation=true spark.speculation.quantile=0.75 \
                    spark.speculation.minTaskRuntime=200ms; attach; job map=1:4:1 want=1; tick 100
                    finish 1/0; finish 1/1; finish 1/2; quiet; tick 200; tick 100; ";

fn after_slow(story: &str, expect: &str) {
    check(&format!("{SLOW} {story}"), expect);
}

#[test]
fn a_slow_attempt_gets_a_rival_on_another_worker_and_no_second_one() {
    after_slow(
        "tick 1000",
        "log 1/3.1 starts: Speculation
         worker-1: launch 1/3.1",
    );
}

#[test]
fn nothing_is_speculated_unless_it_is_asked_for() {
    check(
        "worker w1; worker w2; submit; attach; job map=1:4:1 want=1; tick 100
         finish 1/0; finish 1/1; finish 1/2; quiet; tick 5000",
        "",
    );
}

#[test]
fn the_first_success_counts_and_stops_the_other() {
    after_slow(
        "quiet; finish 1/3 on=w1",
        "log 1/3.0 lost: Superseded
         worker-2: kill 1/3.0
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished",
    );
    after_slow(
        "quiet; finish 1/3 on=w2",
        "log 1/3.1 lost: Superseded
         worker-1: kill 1/3.1
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished",
    );
}

#[test]
fn what_the_loser_says_later_is_not_used() {
    after_slow(
        "finish 1/3 on=w2; quiet; stale 1/3 attempt=1 from=w1; counters",
        "worker-1: free outputs 1/3.1
         fenced 0 stale 1",
    );
}

#[test]
fn a_lost_rival_leaves_the_first_attempt_alone_and_the_other_way_round() {
    after_slow(
        "quiet; fail 1/3 on=w1; finish 1/3 on=w2",
        "log 1/3.1 failed PANICKED
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished",
    );
    after_slow(
        "quiet; fail 1/3 on=w2; finish 1/3 on=w1",
        "log 1/3.0 failed PANICKED
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished",
    );
}

#[test]
fn the_end_of_an_executor_after_the_race_counts_against_nobody() {
    after_slow("finish 1/3 on=w2; quiet; executor-lost w1", "log executor of worker-1 lost");
}

#[test]
fn results_and_accumulators_arrive_once() {
    check(
        "worker w1; worker w2; submit spark.speculation=true spark.speculation.task.duration.threshold=300ms
         attach; job result=1:1 want=1; quiet; tick 500; finish 1/0 counting on=w2; \
         stale 1/0 counting attempt=0 from=w1",
        "log 1/0.1 starts: Speculation
         worker-2: launch 1/0.1 code 1
         log 1/0.0 lost: Superseded
         worker-1: kill 1/0.0
         app-1.1: job-0 result 1/0 accumulated
         app-1.1: job-0 finished",
    );
}
