//! Workers and hosts that are left out after failures there.

use super::check;

#[test]
fn a_task_does_not_go_where_it_has_failed() {
    check(
        "worker w1; worker w2; submit spark.excludeOnFailure.enabled=true; attach
         job map=1:1:1 want=1; quiet; fail 1/0",
        "log 1/0.0 failed PANICKED
         log 1/0.1 starts: Retry
         worker-2: launch 1/0.1 code 1",
    );
}

#[test]
fn a_task_that_can_run_nowhere_ends_with_an_error_that_names_the_workers() {
    check(
        "worker w1; worker w2; submit spark.excludeOnFailure.enabled=true; attach
         job map=1:1:1 want=1; quiet; fail 1/0; fail 1/0",
        "log 1/0.0 failed PANICKED
         log 1/0.1 starts: Retry
         worker-2: launch 1/0.1 code 1
         log 1/0.1 failed PANICKED
         app-1.1: job-0 failed WORKERS_EXCLUDED",
    );
}

#[test]
fn a_stage_leaves_out_a_worker_and_then_its_host() {
    check(
        "worker w1 host=h1 slots=1; worker w2 host=h1 slots=1; worker w3 host=h3 slots=1
         submit spark.excludeOnFailure.enabled=true spark.excludeOnFailure.stage.maxFailedTasksPerExecutor=1
         attach; job map=1:3:1 want=1; quiet; fail 1/0; fail 1/1; finish 1/2; finish all; finish all",
        "log 1/0.0 failed PANICKED
         log worker-1 excluded by stage-1 after 1
         log 1/1.0 failed PANICKED
         log worker-2 excluded by stage-1 after 1
         log h1 excluded by stage-1 after 2
         log 1/0.1 starts: Retry
         worker-3: launch 1/0.1
         log 1/1.1 starts: Retry
         worker-3: launch 1/1.1
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished",
    );
}

#[test]
fn an_application_takes_a_worker_back_after_a_while() {
    check(
        "worker w1 slots=1; worker w2 slots=1
         submit spark.excludeOnFailure.enabled=true spark.excludeOnFailure.timeout=1s \
         spark.excludeOnFailure.application.maxFailedTasksPerExecutor=1
         attach; job map=1:1:1 want=1; fail 1/0; quiet; finish 1/0; job map=2:2:1 want=2; tick 900; tick 300",
        "log worker-1 excluded by the application after 1
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished
         worker-2: launch 2/0.0 code 2
         log worker-1 included
         worker-1: launch 2/1.0 code 2",
    );
}

#[test]
fn nobody_is_left_out_unless_it_is_asked_for() {
    check(
        "worker w1; worker w2; submit; attach; job map=1:1:1 want=1; quiet; fail 1/0",
        "log 1/0.0 failed PANICKED
         log 1/0.1 starts: Retry
         worker-1: launch 1/0.1",
    );
}
