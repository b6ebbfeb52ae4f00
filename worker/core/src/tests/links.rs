//! The link to the master, and drivers.

use super::*;

#[test]
fn a_registration_says_all_that_is_held() {
    let mut story = Story::running(&[0, 1]);
    story.says(FromExecutor::MapOutput { task: task(1, 0), status: status(), frames: vec![] });
    story.says(finished(0, TaskOutcome::MapOutput(status())));
    story.does(WorkerEvent::MasterLost);
    assert_eq!(
        story.does(WorkerEvent::MasterConnected),
        "say@0 register worker=Some(3) drivers=0 running=[1/1] outputs=1 cached=0 apps=1"
    );
}

#[test]
fn reports_without_a_connection_are_kept_and_sent_under_the_new_epoch() {
    let mut story = Story::running(&[0, 1]);
    story.does(WorkerEvent::MasterLost);
    assert_eq!(story.says(finished(0, value())), "");
    assert_eq!(
        story.does(WorkerEvent::MasterConnected),
        "say@0 register worker=Some(3) drivers=0 running=[1/0,1/1] outputs=0 cached=0 apps=1",
        "an attempt whose report is kept counts as running"
    );
    assert_eq!(story.says(finished(1, value())), "", "nobody has answered the registration yet");
    assert_eq!(story.hears(registered(2)), "say@2 finished 1/0=value; say@2 finished 1/1=value");
}

#[test]
fn a_fetch_failure_is_said_again_until_it_is_answered() {
    let mut story = Story::running(&[0]);
    let failed = FromExecutor::FetchFailed {
        task: task(1, 0),
        stage: StageId(100),
        map: 0,
        place: Some(place(0)),
        cause: FetchCause::Missing,
    };
    assert_eq!(story.says(failed), "say@1 1/0 misses 100/0");
    story.does(WorkerEvent::MasterLost);
    story.does(WorkerEvent::MasterConnected);
    assert_eq!(story.hears(registered(1)), "say@1 1/0 misses 100/0");
    let places = vec![(0, place(1))];
    story.hears(ToWorker::InputsChanged { app: APP, stage: StageId(100), places });
    story.does(WorkerEvent::MasterConnected);
    assert_eq!(story.hears(registered(1)), "");
}

#[test]
fn heartbeats_come_when_it_is_time_and_only_when_registered() {
    let mut story = Story::new();
    story.does(WorkerEvent::MasterConnected);
    assert_eq!(story.does(WorkerEvent::Tick), "");
    story.hears(registered(1));
    story.now = 199_999;
    assert_eq!(story.does(WorkerEvent::Tick), "");
    story.now = 200_000;
    assert_eq!(story.does(WorkerEvent::Tick), "say@1 heartbeat");
    assert_eq!(story.does(WorkerEvent::Tick), "");
}

#[test]
fn output_without_a_connection_is_kept_up_to_a_bound() {
    let mut story = Story::new();
    for _ in 0..5 {
        let bytes = Payload::from(vec![0; 400 * 1024]);
        story.does(WorkerEvent::Output { app: APP, source: "driver".into(), bytes });
    }
    story.does(WorkerEvent::MasterConnected);
    let said = story.hears(registered(1));
    assert_eq!(said, "say@1 output of driver, 409600; say@1 output of driver, 409600");
}

#[test]
fn drivers_wait_for_their_plugin_and_are_reported() {
    let mut story = Story::registered();
    let program = DriverProgram::Plugin { plugin: PLUGIN, entry: "main".into(), args: BTreeMap::new() };
    let start = || {
        ToWorker::StartDriver(DriverLaunch {
            app: APP,
            submitted_ms: 0,
            program: program.clone(),
            limits: Limits::default(),
        })
    };
    assert_eq!(story.hears(start()), "fetch plugin");
    assert_eq!(story.hears(start()), "", "one driver of an attempt");
    let ready = WorkerEvent::PluginReady { plugin: PLUGIN, path: Ok("path".into()) };
    assert_eq!(story.does(ready), "start driver Some(\"path\")");
    assert_eq!(story.hears(ToWorker::KillDriver(APP)), "stop driver");
    assert_eq!(story.hears(ToWorker::KillDriver(APP)), "");
    let exited = || WorkerEvent::DriverExited { app: APP, reason: "signal 15".into() };
    assert_eq!(story.does(exited()), "say@1 driver exited: signal 15");
    assert_eq!(story.does(exited()), "");
    assert_eq!(story.hears(ToWorker::KillDriver(APP)), "say@1 driver exited: it is not on this worker");
}

#[test]
fn a_refused_worker_exits() {
    let mut story = Story::new();
    story.does(WorkerEvent::MasterConnected);
    let refused = ToWorker::Refused(Error::new(ErrorCode::VersionMismatch, "another version"));
    assert_eq!(story.hears(refused), "exit VERSION_MISMATCH");
}
