//! One application from submission to result, and the ends that are not results.

use crate::elf::plugin;
use crate::harness::{Master, error, start_in_vain, start_parent};
use crate::worker::{Driver, Worker, fetch_plugin};
use firesteel_common::Payload;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::{AppState, AppStatus, LogPiece, WorkerInfo};
use firesteel_common::id::{AppAttemptId, AppId, PluginHash};
use firesteel_common::protocol::driver::ToDriver;
use firesteel_common::protocol::worker::{DriverProgram, ToMaster};
use firesteel_net::Key;
use serde_json::json;
use std::io::Read;

fn attempt(app: AppId, attempt: u32) -> AppAttemptId {
    AppAttemptId { app, attempt }
}

fn events(master: &Master, app: AppId) -> Vec<AppEvent> {
    let (status, lines) = master.get_raw(&format!("/applications/{app}/events?from=0"));
    assert_eq!(status, 200);
    let events = serde_json::Deserializer::from_slice(&lines).into_iter::<LoggedEvent>();
    events.map(|event| event.unwrap().event).collect()
}

#[test]
fn an_application_runs_and_leaves_its_result_its_output_and_its_events() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let bytes = plugin("one");
    let hash = master.upload(&bytes).hash;
    let app = master.submit(&json!({"plugin": hash, "args": {"path": "p"}, "name": "mine"})).app;
    let (code, _) = error(master.get_raw(&format!("/applications/{app}/result")), 409);
    assert_eq!(code, ErrorCode::NotFinished);

    let worker = Worker::register(&master, Vec::new());
    let workers: Vec<WorkerInfo> = master.get("/workers?alive=1&wait_ms=10000");
    assert_eq!((workers[0].worker, workers[0].slots, workers[0].alive), (worker.id, 2, true));
    let launch = worker.driver();
    assert_eq!(launch.app, attempt(app, 1));
    let DriverProgram::Plugin { plugin, entry, .. } = launch.program else { panic!("not a plugin") };
    assert_eq!((plugin, entry.as_str()), (hash, "count"));
    assert_eq!(fetch_plugin(&master, hash).unwrap(), bytes);
    assert_eq!(fetch_plugin(&master, PluginHash([0; 32])), None);

    let driver = Driver::attach(&master, launch.app);
    let status: AppStatus = master.get(&format!("/applications/{app}"));
    assert_eq!((status.state, status.attempt), (AppState::Running, 1));
    let print = |bytes: &[u8]| {
        let source = "driver".to_owned();
        worker.say(ToMaster::Output { app: launch.app, source, bytes: Payload::from(bytes) });
    };
    print(b"counting\n");
    let piece: LogPiece = master.get(&format!("/applications/{app}/logs?from=0&wait_ms=10000"));
    assert_eq!((piece.text.as_str(), piece.end), ("counting\n", false));
    driver.finish(Ok(b"{\"words\":3}"));
    let status = master.wait(app);
    assert_eq!((status.state, status.result_bytes), (AppState::Succeeded, Some(11)));
    assert_eq!(master.get_raw(&format!("/applications/{app}/result")), (200, b"{\"words\":3}".to_vec()));

    print(b"counted\n");
    worker.say(ToMaster::DriverExited { app: launch.app, reason: "exit status 0".into() });
    let path = format!("/applications/{app}/logs?from={}&wait_ms=10000", piece.next);
    let piece: LogPiece = master.get(&path);
    assert_eq!(piece.text, "counted\n");
    let piece: LogPiece = master.get(&format!("/applications/{app}/logs?from={}&wait_ms=10000", piece.next));
    assert!(piece.end && piece.text.is_empty());
    let events = events(&master, app);
    let names: Vec<bool> =
        events.iter().map(|event| matches!(event, AppEvent::AppEnded { error: None })).collect();
    assert!(matches!(events[0], AppEvent::AppStarted { worker: Some(on), .. } if on == worker.id));
    assert_eq!(names.iter().filter(|ended| **ended).count(), 1);
}

#[test]
fn a_failure_is_the_answer_to_who_asks_for_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let app = master.submit_sql(None).app;
    let worker = Worker::register(&master, Vec::new());
    let driver = Driver::attach(&master, worker.driver().app);
    driver.finish(Err(Error::new(ErrorCode::SqlInvalid, "no table t").with_help("name it")));
    assert_eq!(master.wait(app).state, AppState::Failed);
    let (code, text) = error(master.get_raw(&format!("/applications/{app}/result")), 422);
    assert_eq!((code, text.as_str()), (ErrorCode::SqlInvalid, "[SQL_INVALID] no table t (name it)"));
}

#[test]
fn a_client_mode_driver_attaches_with_the_key_of_its_application_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let accepted = master.submit(&json!({"sql": "SELECT 1", "deploy_mode": "client"}));
    let key = Key::from_hex(&accepted.client_driver.unwrap().key).unwrap();
    let mine = attempt(accepted.app, 1);
    for other in [attempt(accepted.app, 2), attempt(AppId(9), 1)] {
        assert!(Driver::attach_with(&master, other, &key).is_err());
    }
    assert!(Driver::attach_with(&master, mine, &Key::generate().unwrap()).is_err());
    let driver = Driver::attach_with(&master, mine, &key).unwrap();
    let large = vec![b'x'; 17 << 20];
    driver.finish(Ok(&large));
    assert_eq!(master.wait(accepted.app).result_bytes, Some(17 << 20));
    assert!(master.get_raw(&format!("/applications/{}/result", accepted.app)) == (200, large));
}

#[test]
fn a_killed_application_ends_whether_it_waits_or_runs() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let waiting = master.submit_sql(None).app;
    assert_eq!(master.post(&format!("/applications/{waiting}/kill"), b"").0, 202);
    assert_eq!(master.wait(waiting).state, AppState::Killed);
    assert_eq!(master.post(&format!("/applications/{waiting}/kill"), b"").0, 200);

    let running = master.submit_sql(None).app;
    let worker = Worker::register(&master, Vec::new());
    let driver = Driver::attach(&master, worker.driver().app);
    assert_eq!(master.post(&format!("/applications/{running}/kill"), b"").0, 202);
    assert!(matches!(driver.hears(), ToDriver::Kill { .. }));
    assert_eq!(master.wait(running).state, AppState::Killed);
    assert_eq!(error(master.get_raw(&format!("/applications/{running}/result")), 410).0, ErrorCode::Killed);
    assert_eq!(error(master.post("/applications/app-99/kill", b""), 404).0, ErrorCode::NotFound);
}

#[test]
fn two_masters_never_share_a_run_directory() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let words = start_in_vain(dir.path());
    assert!(words.contains("[CONFLICT] another master runs in"), "{words}");
    assert!(master.terminate().success());
}

#[test]
fn a_master_that_is_told_to_stop_tidies_up() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    assert!(Master::start(&run_dir).terminate().success());
    assert!(run_dir.join("journal.redb").exists() && !run_dir.join("master.json").exists());
    assert!(Master::start_temporary(&run_dir).terminate().success());
    assert!(!run_dir.exists());
}

#[test]
fn a_master_ends_with_its_parent_and_removes_a_temporary_run_directory() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let mut parent = start_parent(&run_dir);
    assert!(run_dir.join("master.json").exists());
    parent.kill().unwrap();
    let mut words = String::new();
    parent.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    parent.wait().unwrap();
    assert!(!run_dir.exists(), "{words}");
}
