//! Applications: their drivers wait, start, finish, are lost, come back after a restart of the master.

use super::check;

#[test]
fn a_driver_waits_for_a_place_and_the_emptiest_worker_takes_it() {
    check("submit app=1; submit app=2; submit app=3; worker w1; worker w2; as 1; attach; end; driver-exited w1", "");
}
#[test]
fn after_an_application_nothing_remains() {
    check("worker w1; submit; attach; job map=1:2:1 want=1; finish all; end; empty; dump", "");
}
#[test]
fn a_killed_application_stops_at_once() {
    check("worker w1; submit; attach; job map=1:3:1 want=1; quiet; kill; end; empty", "");
}
#[test]
fn a_driver_that_exits_without_an_outcome_fails_its_application() {
    check("worker w1; submit; attach; quiet; driver-exited w1; driver-closed", "");
}
#[test]
fn a_client_that_is_gone_fails_its_application() {
    check("worker w1; client; attach; job map=1:2:1 want=1; quiet; driver-closed; tick 700; empty", "");
}
#[test]
fn a_driver_that_attaches_again_says_what_it_still_wants() {
    check("worker w1; client; attach; job result=1:2 want=1; finish 1/0; quiet; driver-closed; tick 200; attach graph jobs=0 want=1 partitions=1; finish 1/1; quiet; driver-closed; attach graph jobs=0 want=1 partitions=1; finish 1/1", "");
}
#[test]
fn a_driver_lost_with_its_worker_is_started_again_once() {
    check("worker w1; worker w2; submit; attach; job map=1:4:1 want=1; quiet; close w1; tick 600; attach; close w2; tick 600", "");
}
#[test]
fn a_restarted_master_takes_over_drivers_and_outputs() {
    check("worker w1; worker w2; submit; attach; job map=1:4:2 result=2:2<1 want=2; finish 1/0; finish 1/1; quiet; master-restart; reconnect w1; attach graph jobs=0 want=2; reconnect w2; finish all; finish all; finish all; end; empty", "");
}
#[test]
fn an_application_that_nobody_reports_after_a_restart_starts_again() {
    check("worker w1; submit; attach; quiet; master-restart; worker w3; tick 1700; attach", "");
}
#[test]
fn a_client_that_does_not_come_back_after_a_restart_fails() {
    check("client; attach; quiet; master-restart client; tick 5200; empty", "");
}
#[test]
fn an_older_attempt_and_an_ended_application_are_answered() {
    check("client; attach; end; quiet; attach; end; job map=1:1:1 want=1", "");
}
