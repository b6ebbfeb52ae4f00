//! The master as a process: real HTTP, real links, real kills. The scheduler and the journal have tests of
//! their own; what is looked at here is that the shell keeps its promises to clients, workers and drivers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod api;
mod crowd;
mod disk;
mod elf;
mod follow;
mod harness;
mod http;
mod life;
mod openapi;
mod pages;
mod restart;
mod retention;
mod roles;
mod slow;
mod spark;
mod worker;

/// Not a test: the master process that the tests start, in this very binary. Does nothing when it is run as
/// one.
#[test]
fn master_process() {
    harness::run_as_master();
}

/// Not a test either: a process that starts a master and is killed.
#[test]
fn parent_process() {
    harness::run_as_parent();
}
