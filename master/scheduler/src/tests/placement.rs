//! Which task runs where, and in which order.

use super::check;

#[test]
fn applications_then_jobs_then_stages_are_served_in_order() {
    check(
        "worker w1 slots=1; client app=1; attach; client app=2; attach; quiet; job map=1:1:1 want=1
         as 1; job id=0 map=1:1:1 map=2:1:1 want=1,2; job id=1 map=3:1:1 want=3; as 2; finish 1/0
         as 1; finish 1/0; finish 2/0; finish 3/0",
        "worker-1: launch 1/0.0 code 1
         app-2.1: job-0 stage-1 finished
         app-2.1: job-0 finished
         worker-1: launch 1/0.0 code 1
         app-1.1: job-0 stage-1 finished
         worker-1: launch 2/0.0 code 2
         app-1.1: job-0 stage-2 finished
         app-1.1: job-0 finished
         worker-1: launch 3/0.0 code 3
         app-1.1: job-1 stage-3 finished
         app-1.1: job-1 finished",
    );
}

#[test]
fn tasks_without_preference_are_spread() {
    check(
        "worker w1 slots=3; worker w2 slots=2; worker w3 slots=1; client; attach; quiet
         job map=1:5:1 want=1",
        "worker-1: launch 1/0.0 1/1.0 1/3.0 code 1
         worker-2: launch 1/2.0 1/4.0 code 1",
    );
}

#[test]
fn tasks_are_sent_ahead_as_long_as_they_are_short() {
    check(
        "worker w1 slots=1; client; attach; quiet; job map=1:7:1 want=1
         finish 1/0 run=2000; finish 1/1 run=200; finish 1/2 run=90000; finish 1/3 run=90000; finish 1/4
         finish 1/5",
        "worker-1: launch 1/0.0 code 1
         worker-1: launch 1/1.0 1/2.0
         worker-1: launch 1/3.0 1/4.0
         worker-1: launch 1/5.0
         worker-1: launch 1/6.0",
    );
}

#[test]
fn no_worker_is_given_tasks_ahead_while_another_stands_still() {
    check(
        "worker w1 slots=1; worker w2 slots=1; client; attach; quiet; job map=1:2:1 want=1
         finish 1/0 run=20; finish 1/1 run=20; job id=1 map=2:4:1 want=2; finish 2/0 run=20",
        "worker-1: launch 1/0.0 code 1
         worker-2: launch 1/1.0 code 1
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished
         worker-1: launch 2/0.0 code 2
         worker-2: launch 2/1.0 code 2
         worker-1: launch 2/2.0 2/3.0",
    );
}

#[test]
fn a_task_waits_for_its_place_and_then_goes_anywhere() {
    check(
        "worker w1 slots=1; worker w2 slots=1; client; attach; quiet; job map=1:3:1 prefer=1 want=1
         tick 100; dump",
        "worker-1: launch 1/0.0 code 1
         worker-2: launch 1/1.0 code 1
         worker-1 1/1 slots used, drivers 0: app-1.1/stage-1/0.0
         worker-2 1/1 slots used, drivers 0: app-1.1/stage-1/1.0
         app-1.1 runs on a client, attached
         job-0 '' wants stage-1
         stage-1 open
         0: attempt 0 runs on worker-1
         1: attempt 0 runs on worker-2
         2: pending (first)",
    );
}

#[test]
fn a_task_waits_on_while_others_go_where_they_had_better_run() {
    check(
        "worker w1 host=a slots=1; worker w2 host=b slots=1; client; attach; quiet
         job map=1:5:1 prefer=a want=1
         pause 40; finish 1/0; pause 40; finish 1/1; pause 40; pause 20",
        "worker-1: launch 1/0.0 code 1
         worker-1: launch 1/1.0
         worker-1: launch 1/2.0
         worker-2: launch 1/3.0 code 1",
    );
}

#[test]
fn a_task_prefers_its_host() {
    check(
        "worker w1 host=a; worker w2 host=b; client; attach; quiet
         job map=1:4:1 prefer=b,a,nowhere want=1",
        "worker-2: launch 1/0.0 1/3.0 code 1
         worker-1: launch 1/1.0 1/2.0 code 1",
    );
}

#[test]
fn a_task_goes_where_its_cached_partition_is() {
    check(
        "worker w1; worker w2; client; attach; job cached result=1:2 want=1; finish 1/0 stored=0
         finish 1/1 stored=1; quiet; job id=1 want=1; finish all; job id=2 want=1 partitions=1
         finish all; job id=3 want=1 partitions=1,0",
        "worker-1: launch 1/0.1
         worker-2: launch 1/1.1
         app-1.1: job-1 result 1/0
         app-1.1: job-1 result 1/1
         app-1.1: job-1 finished
         worker-2: launch 1/1.2
         app-1.1: job-2 result 1/1
         app-1.1: job-2 finished
         worker-1: launch 1/0.2
         worker-2: launch 1/1.3",
    );
}

#[test]
fn what_was_told_is_not_told_again() {
    check(
        "worker w1 slots=1; client; attach; quiet; job map=1:2:2 result=2:2<1 want=2; finish all
         finish all; finish all; finish all",
        "worker-1: launch 1/0.0 code 1
         worker-1: launch 1/1.0
         app-1.1: job-0 stage-1 finished
         worker-1: launch 2/0.0 code 2 tables 1
         app-1.1: job-0 result 2/0
         worker-1: launch 2/1.0
         app-1.1: job-0 result 2/1
         app-1.1: job-0 finished",
    );
}
