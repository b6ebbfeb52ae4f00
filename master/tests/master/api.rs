//! What the routes answer: filters, parameters that are none, ids in both forms, and answers that are as the
//! description says.

use crate::elf::plugin;
use crate::harness::{Master, error};
use crate::worker::{Driver, Worker};
use firesteel_common::error::ErrorCode;
use firesteel_common::http::{AppProgress, AppStatus, ExecutorInfo, SubmitRequest};
use firesteel_common::protocol::worker::ToMaster;
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn a_list_is_filtered_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    for (name, pool, tags) in [
        ("Count", "a", json!({"team": "x"})),
        ("sort", "b", json!({"team": "y"})),
        ("counter", "b", json!({})),
    ] {
        let conf = json!({"spark.scheduler.pool": pool});
        master.submit(&json!({"sql": "SELECT 1", "name": name, "conf": conf, "tags": tags}));
    }
    assert_eq!(master.post("/applications/2/kill", b"").0, 202);
    master.wait(firesteel_common::id::AppId(2));
    let found = |query: &str| {
        let apps: Vec<AppStatus> = master.get(&format!("/applications?{query}"));
        apps.iter().map(|app| app.app.0).collect::<Vec<_>>()
    };
    for (query, apps) in [
        ("", vec![3, 2, 1]),
        ("state=waiting", vec![3, 1]),
        ("state=waiting,killed&limit=2", vec![3, 2]),
        ("state=waiting%2Ckilled&offset=2", vec![1]),
        ("name=count", vec![3, 1]),
        ("owner=cluster&pool=b", vec![3, 2]),
        ("owner=ann", vec![]),
        ("tag=team", vec![2, 1]),
        ("tag=team%3Dx", vec![1]),
        ("since_ms=1&until_ms=99999999999999", vec![3, 2, 1]),
        ("until_ms=1", vec![]),
    ] {
        assert_eq!(found(query), apps, "{query}");
    }
    let total = master.head("/applications?name=count&limit=1");
    assert!(total.to_ascii_lowercase().contains("x-total-count: 2\r\n"), "{total}");
}

#[test]
fn a_parameter_that_a_route_does_not_have_is_refused_by_every_route() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let (code, text) = error(master.get_raw("/applications?sate=running"), 400);
    assert_eq!(code, ErrorCode::BadRequest);
    assert!(text.contains("no parameter 'sate' here (did you mean 'state'?)"), "{text}");
    let (_, text) = error(master.get_raw("/applications?state=runing"), 400);
    assert!(text.contains("did you mean 'running'?"), "{text}");
    for (method, path, _) in firesteel_master::route_table() {
        let path = path.replace("{app}", "app-1").replace("{name}", "x").replace("{worker}", "1");
        let answer = master.ask(&method, &format!("{path}?no_such=1"), "");
        assert!(answer.0 == 400 && answer.1.contains("no_such"), "{method} {path}: {answer:?}");
    }
}

#[test]
fn executors_are_shown_while_they_run() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let conf = json!({"spark.executor.memory": "1g", "spark.executor.cores": "1"});
    master.submit(&json!({"sql": "SELECT 1", "conf": conf}));
    let worker = Worker::register(&master, Vec::new());
    let app = worker.driver().app;
    let driver = Driver::attach(&master, app);
    worker.say(ToMaster::ExecutorStarted { app, pid: 4711 });
    let executors = || master.get::<Vec<ExecutorInfo>>("/executors");
    wait_until(|| executors().len() == 1);
    let found = executors().remove(0);
    assert_eq!((found.app, found.attempt, found.worker), (app.app, 1, worker.id));
    assert_eq!((found.pid, found.slots, found.memory, found.host.as_str()), (4711, 1, 1 << 30, "here"));
    assert_eq!(master.get::<Vec<ExecutorInfo>>("/applications/1/executors"), [found]);
    let reason = "signal 9".into();
    worker.say(ToMaster::ExecutorLost { app, reason, tasks: Vec::new(), stopped: false });
    wait_until(|| executors().is_empty());
    worker.say(ToMaster::ExecutorStarted { app, pid: 4712 });
    wait_until(|| executors().iter().any(|executor| executor.pid == 4712));
    driver.finish(Ok(b"1"));
    wait_until(|| executors().is_empty());
}

/// Waits for something that the master comes to know.
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_id_is_taken_as_it_is_printed_and_as_it_stands_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let hash = master.upload(&plugin("one")).hash;
    let app = master.submit(&json!({"plugin": hash, "args": {"path": "p"}})).app;
    let by_number: AppStatus = master.get(&format!("/applications/{}", app.0));
    assert_eq!(by_number, master.get::<AppStatus>(&format!("/applications/{app}")));
    let submission: SubmitRequest = master.get(&format!("/applications/{}/submission", app.0));
    assert_eq!((submission.plugin, submission.entry.as_str()), (Some(hash), "count"));
    let worker = Worker::register(&master, Vec::new());
    let _driver = Driver::attach(&master, worker.driver().app);
    let progress: AppProgress = master.get(&format!("/applications/{}/progress", app.0));
    assert!(progress.now_ms >= by_number.submitted_ms && progress.at.0 > 0, "{progress:?}");
    let (status, body) = master.post(&format!("/workers/{}/drain", worker.id.0), b"");
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
}
