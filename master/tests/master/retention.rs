//! What is kept no longer: ended applications with all that they left, and plugins that nobody uses.

use crate::api::wait_until;
use crate::elf::plugin;
use crate::harness::{Master, error};
use crate::worker::{Driver, Worker};
use firesteel_common::error::ErrorCode;
use firesteel_common::http::{AppStatus, PluginInfo};
use firesteel_common::protocol::worker::ToMaster;
use serde_json::json;
use std::path::Path;

fn files(dir: &Path) -> Vec<String> {
    let name = |file: std::io::Result<std::fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = dir.read_dir().unwrap().map(name).collect();
    names.sort();
    names
}

fn apps(master: &Master) -> Vec<u64> {
    master.get::<Vec<AppStatus>>("/applications").iter().map(|app| app.app.0).collect()
}

#[test]
fn an_ended_application_goes_with_all_that_it_left_and_a_waiting_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start_with(dir.path(), "ended_ms=0");
    let first = master.submit_sql(Some("key")).app;
    let worker = Worker::register(&master, Vec::new());
    let driver = Driver::attach(&master, worker.driver().app);
    driver.finish(Ok(&vec![b'x'; 17 << 20]));
    worker.say(ToMaster::DriverExited { app: worker_app(first), reason: "exit status 0".into() });
    master.wait(first);
    drop(worker);
    let second = master.submit_sql(Some("other")).app;
    let third = master.submit_sql(None).app;
    assert_eq!(master.post(&format!("/applications/{third}/kill"), b"").0, 202);
    master.wait(third);
    wait_until(|| files(&dir.path().join("events")) == ["app-1.jsonl", "app-3.jsonl"]);
    assert_eq!(files(&dir.path().join("results")), ["app-1"]);
    master.kill();

    // What a kill has left between the journal and the files.
    std::fs::write(dir.path().join("results/app-77"), "x").unwrap();
    std::fs::write(dir.path().join("events/app-77.jsonl"), "x").unwrap();
    std::fs::write(dir.path().join("plugins/upload-0"), "x").unwrap();
    let master = Master::start_with(dir.path(), "ended_ms=1");
    wait_until(|| apps(&master) == [second.0]);
    wait_until(|| files(&dir.path().join("events")).is_empty());
    assert!(files(&dir.path().join("results")).is_empty() && files(&dir.path().join("plugins")).is_empty());
    for path in ["", "/result", "/logs", "/events", "/submission"] {
        let path = format!("/applications/{first}{path}");
        assert_eq!(error(master.get_raw(&path), 404).0, ErrorCode::NotFound, "{path}");
    }
    // It is noted when it is done.
    wait_until(|| {
        let audit = String::from_utf8(master.get_raw("/audit").1).unwrap();
        audit.contains("2 ended applications, app-1 to app-3")
    });
    assert_eq!(master.submit_sql(Some("other")).app, second, "what waits keeps its key");
    assert!(master.submit_sql(Some("key")).app > third, "the key of what is forgotten is free");
    master.kill();
    assert_eq!(apps(&Master::start(dir.path())), [4, second.0]);
}

fn worker_app(app: firesteel_common::id::AppId) -> firesteel_common::id::AppAttemptId {
    firesteel_common::id::AppAttemptId { app, attempt: 1 }
}

#[test]
fn plugins_are_bounded_by_count_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start_with(dir.path(), "plugins_max=2");
    let hash = master.upload(&plugin("one")).hash;
    master.upload(&plugin("two"));
    let (code, text) = error(master.post("/plugins", &plugin("three")), 413);
    assert!(code == ErrorCode::TooLarge && text.contains("master.plugins_max"), "{text}");
    master.upload(&plugin("one"));
    assert_eq!(master.delete(&format!("/plugins/{hash}")).0, 204);
    master.upload(&plugin("three"));
    let bytes: u64 = master.get::<Vec<PluginInfo>>("/plugins").iter().map(|plugin| plugin.bytes).sum();
    master.kill();
    let master = Master::start_with(dir.path(), &format!("plugins_bytes_max={}", bytes + 10));
    assert_eq!(error(master.post("/plugins", &plugin("four")), 413).0, ErrorCode::TooLarge);
    assert_eq!(master.get::<Vec<PluginInfo>>("/plugins").len(), 2);
    assert_eq!(files(&dir.path().join("plugins")).len(), 2);
}

#[test]
fn a_plugin_that_nobody_uses_goes_and_one_that_is_needed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start_with(dir.path(), "plugin_unused_ms=1500");
    let needed = master.upload(&plugin("one")).hash;
    master.submit(&json!({"plugin": needed, "args": {"path": "p"}}));
    master.upload(&plugin("two"));
    wait_until(|| master.get::<Vec<PluginInfo>>("/plugins").len() == 1);
    assert_eq!(files(&dir.path().join("plugins")), [needed.to_string()]);
    let audit = String::from_utf8(master.get_raw("/audit").1).unwrap();
    assert!(audit.contains("remove plugin that nobody uses"), "{audit}");
    assert_eq!(master.post("/applications/1/kill", b"").0, 202);
    wait_until(|| master.get::<Vec<PluginInfo>>("/plugins").is_empty());
    assert!(files(&dir.path().join("plugins")).is_empty());
}
