//! Applications: their drivers wait, start, finish, are lost, come back after a restart of the master.

use super::check;

#[test]
fn a_driver_waits_for_a_place_and_the_emptiest_worker_takes_it() {
    check(
        "submit app=1; submit app=2; submit app=3; worker w1; worker w2; as 1; attach; end
         driver-exited w1",
        "worker-1 is bound
         worker-1: start driver app-1.1
         worker-2 is bound
         worker-2: start driver app-2.1
         app-1.1: attached, 4 slots
         journal app-1 ok
         app-1.1: committed
         worker-1: end app-1.1
         worker-1: start driver app-3.1",
    );
}

#[test]
fn after_an_application_nothing_remains() {
    check(
        "worker w1; submit; attach; job map=1:2:1 want=1; finish all; end; empty; dump",
        "worker-1 is bound
         worker-1: start driver app-1.1
         app-1.1: attached, 2 slots
         worker-1: launch 1/0.0 1/1.0 code 1
         app-1.1: job-0 stage-1 finished
         app-1.1: job-0 finished
         journal app-1 ok
         app-1.1: committed
         worker-1: end app-1.1
         empty true
         worker-1 0/2 slots used, drivers 1:",
    );
}

#[test]
fn a_killed_application_stops_at_once() {
    check(
        "worker w1; submit; attach; job map=1:3:1 want=1; quiet; kill; end; empty",
        "log 1/0.0 lost: Cancelled
         log 1/1.0 lost: Cancelled
         worker-1: kill 1/0.0 1/1.0
         app-1.1: kill
         worker-1: kill driver app-1.1
         journal app-1 KILLED
         app-1.1: kill
         worker-1: end app-1.1
         app-1.1: committed
         empty true",
    );
}

#[test]
fn a_driver_that_exits_without_an_outcome_fails_its_application() {
    check(
        "worker w1; submit; attach; quiet; driver-exited w1; driver-closed",
        "app-1.1: kill
         worker-1: kill driver app-1.1
         journal app-1 PROCESS_DIED
         app-1.1: kill
         worker-1: end app-1.1",
    );
}

#[test]
fn a_client_that_is_gone_fails_its_application() {
    check(
        "worker w1; client; attach; job map=1:2:1 want=1; quiet; driver-closed; tick 700; empty",
        "log 1/0.0 lost: Cancelled
         log 1/1.0 lost: Cancelled
         worker-1: kill 1/0.0 1/1.0
         app-1.1: kill
         journal app-1 PROCESS_DIED
         app-1.1: kill
         worker-1: end app-1.1
         empty true",
    );
}

#[test]
fn a_driver_that_attaches_again_says_what_it_still_wants() {
    check(
        "worker w1; client; attach; job result=1:2 want=1; finish 1/0; quiet; driver-closed
         tick 200; attach graph jobs=0 want=1 partitions=1; finish 1/1; quiet; driver-closed
         attach graph jobs=0 want=1 partitions=1; finish 1/1",
        "app-1.1: attached, 2 slots
         worker-1: launch 1/1.1
         app-1.1: job-0 result 1/1
         app-1.1: job-0 finished",
    );
}

#[test]
fn a_driver_lost_with_its_worker_is_started_again_once() {
    check(
        "worker w1; worker w2; submit; attach; job map=1:4:1 want=1; quiet; close w1; tick 600
         attach; close w2; tick 600",
        "log worker-1 lost: WorkerGone
         log 1/0.0 lost: WorkerGone
         log 1/2.0 lost: WorkerGone
         app-1.1: kill
         log 1/1.0 lost: Cancelled
         log 1/3.0 lost: Cancelled
         worker-2: kill 1/1.0 1/3.0
         worker-2: end app-1.1
         journal app-1.2
         worker-2: start driver app-1.2
         app-1.2: attached, 2 slots
         log worker-2 lost: WorkerGone
         app-1.2: kill
         journal app-1 PROCESS_DIED
         app-1.2: kill",
    );
}

#[test]
fn a_restarted_master_takes_over_drivers_and_outputs() {
    check(
        "worker w1; worker w2; submit; attach; job map=1:4:2 result=2:2<1 want=2; finish 1/0
         finish 1/1; quiet; master-restart; reconnect w1; attach graph jobs=0 want=2; reconnect w2
         tick 700; finish all; finish all; end; empty",
        "worker-1 is bound
         app-1.1: attached, 2 slots
         worker-2 is bound
         log 1/2.0 goes on on worker-1
         log 1/3.0 goes on on worker-2
         app-1.1: job-0 stage-1 finished
         worker-2: launch 2/0.2000 2/1.2000 code 2 tables 1
         app-1.1: job-0 result 2/0
         app-1.1: job-0 result 2/1
         app-1.1: job-0 finished
         journal app-1 ok
         app-1.1: committed
         worker-1: end app-1.1
         worker-2: end app-1.1
         empty true",
    );
}

#[test]
fn an_application_that_nobody_reports_after_a_restart_starts_again() {
    check(
        "worker w1; submit; attach; quiet; master-restart; worker w3; tick 1700; attach",
        "worker-1000001 is bound
         journal app-1.2
         worker-1000001: start driver app-1.2
         app-1.2: attached, 2 slots",
    );
}

#[test]
fn a_client_that_does_not_come_back_after_a_restart_fails() {
    check(
        "client; attach; quiet; master-restart client; tick 5200; empty",
        "app-1.1: kill
         journal app-1 PROCESS_DIED
         app-1.1: kill
         empty true",
    );
}

#[test]
fn an_older_attempt_and_an_ended_application_are_answered() {
    check(
        "client; attach; end; quiet; attach; end; job map=1:1:1 want=1",
        "app-1.1: attached, 0 slots
         app-1.1: committed
         app-1.1: kill",
    );
}
