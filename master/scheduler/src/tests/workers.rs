//! Workers register, fall silent, come back, are fenced.

use super::check;

const BEGIN: &str = "worker w1; worker w2; client; attach; job map=1:4:2 result=2:2<1 want=2";

fn story(rest: &str, expected: &str) {
    check(&format!("{BEGIN}; quiet; {rest}"), expected);
}

#[test]
fn a_silent_worker_is_lost_and_its_late_reports_are_fenced() {
    story("silence w2; tick 1200; stale 1/1 from=w2; counters", "");
}
#[test]
fn a_worker_that_comes_back_in_time_keeps_what_it_has() {
    story("finish 1/1; quiet; close w2; tick 300; reconnect w2; finish all", "");
}
#[test]
fn what_a_worker_that_comes_back_does_not_report_is_lost() {
    story("finish 1/1; quiet; close w2; reconnect w2 forgetful; dump", "");
}
#[test]
fn a_restarted_worker_is_another_one() {
    story("finish 1/1; quiet; restart w2; dump", "");
}
#[test]
fn a_stale_attempt_is_dropped_and_its_output_freed() {
    story("executor-lost w1; quiet; stale 1/0 from=w1 attempt=0; counters", "");
}
#[test]
fn a_pause_of_the_master_kills_nobody() {
    story("tick 100; pause 60000; tick 200; dump", "");
}
#[test]
fn without_workers_jobs_and_waiting_applications_fail() {
    check("client; attach; job map=1:1:1 want=1; submit app=2; quiet; tick 5300", "");
}
