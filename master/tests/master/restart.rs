//! A master that is killed comes back knowing everything it has said.

use crate::elf::plugin;
use crate::harness::Master;
use crate::worker::{Driver, Worker};
use firesteel_common::http::{AppState, AppStatus, PluginInfo};
use firesteel_common::id::AppAttemptId;

#[test]
fn what_was_accepted_and_what_ended_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    assert_eq!(master.state.epoch, 1);
    let plugin = master.upload(&plugin("one"));
    let done = master.submit_sql(Some("done")).app;
    let worker = Worker::register(&master, Vec::new());
    Driver::attach(&master, worker.driver().app).finish(Ok(b"rows"));
    let open = master.submit_sql(Some("open")).app;
    let launch = worker.driver();
    assert_eq!(launch.app, AppAttemptId { app: open, attempt: 1 });
    let killed = master.submit_sql(Some("killed")).app;
    assert_eq!(master.post(&format!("/applications/{killed}/kill"), b"").0, 202);
    master.kill();

    let master = Master::start(dir.path());
    assert_eq!(master.state.epoch, 2);
    assert_eq!(master.get::<Vec<PluginInfo>>("/plugins"), [plugin]);
    let status: AppStatus = master.get(&format!("/applications/{done}"));
    assert_eq!((status.state, status.result_bytes), (AppState::Succeeded, Some(4)));
    assert_eq!(master.get_raw(&format!("/applications/{done}/result")), (200, b"rows".to_vec()));
    assert_eq!(master.submit_sql(Some("done")).app, done);
    assert_eq!(master.submit_sql(Some("open")).app, open);
    assert_eq!(master.wait(killed).state, AppState::Killed);
    // Nobody reports the driver of the open one, so it is started again, as a further attempt.
    let worker = Worker::register(&master, Vec::new());
    assert_eq!(worker.epoch(), 2);
    let launch = worker.driver();
    assert_eq!(launch.app, AppAttemptId { app: open, attempt: 2 });
    Driver::attach(&master, launch.app).finish(Ok(b"again"));
    assert_eq!(master.wait(open).attempt, 2);
}

#[test]
fn a_driver_that_lives_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let app = master.submit_sql(None).app;
    let worker = Worker::register(&master, Vec::new());
    let attempt = worker.driver().app;
    let driver = Driver::attach(&master, attempt);
    master.kill();
    drop(driver);

    let master = Master::start(dir.path());
    let _worker = Worker::register(&master, vec![attempt]);
    let driver = Driver::attach(&master, attempt);
    let status: AppStatus = master.get(&format!("/applications/{app}"));
    assert_eq!((status.state, status.attempt), (AppState::Running, 1));
    driver.finish(Ok(b"rows"));
    master.kill();

    // It did not hear that its outcome is durable; it asks again.
    let master = Master::start(dir.path());
    let driver = Driver::attach(&master, attempt);
    driver.finish(Ok(b"rows"));
    assert_eq!(master.wait(app).state, AppState::Succeeded);
}
