//! What an application may take, and whose turn it is.

use super::check;

#[test]
fn an_application_takes_no_more_slots_than_it_may() {
    check(
        "worker w1; worker w2; submit spark.cores.max=3; attach; quiet; job map=1:5:1 want=1; finish 1/0",
        "worker-1: launch 1/0.0 1/2.0 code 1
         worker-2: launch 1/1.0 code 1
         worker-1: launch 1/3.0",
    );
}

#[test]
fn an_executor_takes_no_more_slots_than_it_may() {
    check(
        "worker w1 slots=3; worker w2 slots=3; submit spark.executor.cores=1; attach; quiet
         job map=1:4:1 want=1; finish 1/0",
        "worker-1: launch 1/0.0 code 1
         worker-2: launch 1/1.0 code 1
         worker-1: launch 1/2.0",
    );
}

#[test]
fn a_supervised_driver_is_started_again_but_not_for_ever() {
    check(
        "worker w1; submit spark.driver.supervise=true; attach; quiet; driver-exited w1; driver-closed
         attach; driver-exited w1; driver-closed",
        "app-1.1: kill
         worker-1: kill driver app-1.1
         worker-1: end app-1.1
         journal app-1.2
         worker-1: start driver app-1.2
         app-1.2: attached, 2 slots
         app-1.2: kill
         worker-1: kill driver app-1.2
         journal app-1 PROCESS_DIED
         app-1.2: kill
         worker-1: end app-1.2",
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped_and_tried_again() {
    check(
        "worker w1; submit firesteel.task.timeout=1s spark.task.maxFailures=2; attach
         job map=1:1:1 want=1; quiet; tick 900; tick 300; tick 1200",
        "worker-1: kill 1/0.0
         log 1/0.0 failed TIMED_OUT
         log 1/0.1 starts: Retry
         worker-1: launch 1/0.1
         worker-1: kill 1/0.1
         log 1/0.1 failed TIMED_OUT
         app-1.1: job-0 failed TASK_RETRIES_EXHAUSTED",
    );
}

#[test]
fn an_application_that_takes_too_long_is_stopped() {
    check(
        "worker w1; submit firesteel.app.timeout=1s; attach; quiet; tick 1500",
        "app-1.1: kill
         worker-1: kill driver app-1.1
         journal app-1 TIMED_OUT
         app-1.1: kill
         worker-1: end app-1.1",
    );
}

#[test]
fn pools_take_turns_in_fair_mode() {
    check(
        "fair a:1:0 b:3:0; worker w1 slots=4 drivers=2
         submit app=1 spark.scheduler.pool=a; attach; job map=1:8:1 want=1
         submit app=2 spark.scheduler.pool=b; as 2; attach; job map=1:8:1 want=1; quiet
         as 1; finish 1/0; finish 1/1; finish 1/2; finish 1/3",
        "worker-1: launch 1/0.0 code 1
         worker-1: launch 1/1.0
         worker-1: launch 1/2.0
         worker-1: launch 1/4.0",
    );
}
