//! Which task runs where, and in which order.

use super::check;

#[test]
fn applications_then_jobs_then_stages_are_served_in_order() {
    check("worker w1 slots=1; client app=1; attach; client app=2; attach; quiet; job map=1:1:1 want=1; as 1; job id=0 map=1:1:1 map=2:1:1 want=1,2; job id=1 map=3:1:1 want=3; as 2; finish 1/0; as 1; finish 1/0; finish 2/0; finish 3/0", "");
}
#[test]
fn tasks_without_preference_are_spread() {
    check("worker w1 slots=3; worker w2 slots=2; worker w3 slots=1; client; attach; quiet; job map=1:5:1 want=1", "");
}
#[test]
fn a_task_waits_for_its_place_and_then_goes_anywhere() {
    check("worker w1 slots=1; worker w2 slots=1; client; attach; quiet; job map=1:3:1 prefer=1 want=1; tick 100; dump", "");
}
#[test]
fn a_task_prefers_its_host() {
    check("worker w1 host=a; worker w2 host=b; client; attach; quiet; job map=1:4:1 prefer=b,a,nowhere want=1", "");
}
#[test]
fn a_task_goes_where_its_cached_partition_is() {
    check("worker w1; worker w2; client; attach; job cached result=1:2 want=1; finish 1/0 stored=0; finish 1/1 stored=1; quiet; job id=1 want=1; finish all; job id=2 want=1 partitions=1; finish all; job id=3 want=1 partitions=1,0", "");
}
#[test]
fn what_was_told_is_not_told_again() {
    check("worker w1 slots=1; client; attach; quiet; job map=1:2:2 result=2:2<1 want=2; finish all; finish all; finish all; finish all", "");
}
