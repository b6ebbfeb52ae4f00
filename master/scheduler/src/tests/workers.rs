//! Workers register, fall silent, come back, are fenced.

use super::check;

const BEGIN: &str = "worker w1; worker w2; client; attach; job map=1:4:2 result=2:2<1 want=2";

fn story(rest: &str, expected: &str) {
    check(&format!("{BEGIN}; quiet; {rest}"), expected);
}

#[test]
fn a_silent_worker_is_lost_and_its_late_reports_are_fenced() {
    story(
        "silence w2; tick 1200; stale 1/1 from=w2; counters",
        "worker-2 is dropped
         log worker-2 lost: WorkerSilent
         log 1/1.0 lost: WorkerSilent
         log 1/3.0 lost: WorkerSilent
         fenced 1 stale 0",
    );
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_what_it_has() {
    story(
        "finish 1/1; quiet; close w2; tick 300; reconnect w2; finish all",
        "worker-2 is bound
         app-1.1: job-0 stage-1 finished
         worker-2: launch 2/0.0 2/1.0 code 2 tables 1",
    );
}

#[test]
fn what_a_worker_that_comes_back_does_not_report_is_lost() {
    story(
        "finish 1/1; quiet; close w2; reconnect w2 forgetful; dump",
        "worker-2 is bound
         log 1/3.0 lost: WorkerGone
         log output of 1/1.0 lost: WorkerGone
         log 1/1.1 starts: Recompute
         log 1/3.1 starts: Lost
         worker-2: launch 1/1.1 1/3.1 code 1
         worker-1 2/2 slots used, drivers 0: app-1.1/stage-1/0.0 app-1.1/stage-1/2.0
         worker-2 2/2 slots used, drivers 0: app-1.1/stage-1/1.1 app-1.1/stage-1/3.1
         app-1.1 runs on a client, attached
         job-0 '' wants stage-2
         stage-1 open
         0: attempt 0 runs on worker-1
         1: attempt 1 runs on worker-2, output lost
         2: attempt 0 runs on worker-1
         3: attempt 1 runs on worker-2
         stage-2 blocked stage-1
         0: pending (first)
         1: pending (first)",
    );
}

#[test]
fn a_restarted_worker_is_another_one() {
    story(
        "finish 1/1; quiet; restart w2; dump",
        "worker-2 is dropped
         log worker-2 lost: WorkerRestarted
         log 1/3.0 lost: WorkerRestarted
         worker-3 is bound
         log output of 1/1.0 lost: WorkerRestarted
         log 1/1.1 starts: Recompute
         log 1/3.1 starts: Lost
         worker-3: launch 1/1.1 1/3.1 code 1
         worker-1 2/2 slots used, drivers 0: app-1.1/stage-1/0.0 app-1.1/stage-1/2.0
         worker-3 2/2 slots used, drivers 0: app-1.1/stage-1/1.1 app-1.1/stage-1/3.1
         app-1.1 runs on a client, attached
         job-0 '' wants stage-2
         stage-1 open
         0: attempt 0 runs on worker-1
         1: attempt 1 runs on worker-3, output lost
         2: attempt 0 runs on worker-1
         3: attempt 1 runs on worker-3
         stage-2 blocked stage-1
         0: pending (first)
         1: pending (first)",
    );
}

#[test]
fn a_stale_attempt_is_dropped_and_its_output_freed() {
    story(
        "executor-lost w1; quiet; stale 1/0 from=w1 attempt=0; counters",
        "worker-1: free outputs 1/0.0
         fenced 0 stale 1",
    );
}

#[test]
fn a_pause_of_the_master_kills_nobody() {
    story(
        "tick 100; pause 60000; tick 200; dump",
        "worker-1 2/2 slots used, drivers 0: app-1.1/stage-1/0.0 app-1.1/stage-1/2.0
         worker-2 2/2 slots used, drivers 0: app-1.1/stage-1/1.0 app-1.1/stage-1/3.0
         app-1.1 runs on a client, attached
         job-0 '' wants stage-2
         stage-1 open
         0: attempt 0 runs on worker-1
         1: attempt 0 runs on worker-2
         2: attempt 0 runs on worker-1
         3: attempt 0 runs on worker-2
         stage-2 blocked stage-1
         0: pending (first)
         1: pending (first)",
    );
}

#[test]
fn without_workers_jobs_and_waiting_applications_fail() {
    check(
        "client; attach; job map=1:1:1 want=1; submit app=2; quiet; tick 5300",
        "app-1.1: job-0 failed NO_WORKERS
         app-2.1: kill
         journal app-2 NO_WORKERS
         app-2.1: kill",
    );
}
