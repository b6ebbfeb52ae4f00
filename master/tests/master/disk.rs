//! Full disks under a running master: what is refused says why, what runs goes on, and with room again all is
//! as before. Each is a small file system in memory, which only root can mount; otherwise the tests say so.

use crate::harness::{Master, error};
use crate::worker::{Driver, Worker};
use firesteel_common::error::ErrorCode;
use firesteel_common::event::LoggedEvent;
use firesteel_common::http::AppState;
use firesteel_common::id::{AppAttemptId, AppId};
use firesteel_master::verify_audit;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file system of a few MiB; unmounted when it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("skipped: only root can mount a small file system");
        None
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        for size in [64 * 1024, 1] {
            let piece = vec![0; size];
            while filler.write_all(&piece).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn attempt(app: AppId) -> AppAttemptId {
    AppAttemptId { app, attempt: 1 }
}

const SQL: &[u8] = br#"{"sql": "SELECT 1"}"#;

#[test]
fn a_full_disk_under_the_journal_refuses_submissions_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let Some(disk) = Small::mount(&run_dir) else { return };
    let master = Master::start(&run_dir);
    let worker = Worker::register(&master, Vec::new());
    let app = master.submit_sql(None).app;
    worker.driver();
    let driver = Driver::attach(&master, attempt(app));
    assert_eq!(master.get_raw("/readyz").0, 200);

    disk.fill();
    // A transaction may fit into what the journal's file has left.
    until("a submission that finds no room", || master.post("/applications", SQL).0 != 202);
    let (code, text) = error(master.post("/applications", SQL), 507);
    assert_eq!(code, ErrorCode::DiskFull, "{text}");
    assert!(text.contains("make room"), "{text}");
    until("a master that is not ready", || master.get_raw("/readyz").0 == 503);
    let (code, text) = error(master.get_raw("/readyz"), 503);
    assert_eq!(code, ErrorCode::DiskFull, "{text}");
    assert!(!text.contains(run_dir.to_str().unwrap()), "no path is told without a token: {text}");
    assert_eq!(master.get_raw("/healthz").0, 200);
    // What runs goes on, and its end waits for room.
    let ended = std::thread::spawn(move || driver.finish(Ok(b"1")));
    let status: firesteel_common::http::AppStatus = master.get(&format!("/applications/{app}"));
    assert_eq!(status.state, AppState::Running);

    disk.free();
    ended.join().unwrap();
    assert_eq!(master.wait(app).state, AppState::Succeeded);
    until("a master that is ready", || master.get_raw("/readyz").0 == 200);
    let after = master.submit_sql(None).app;
    master.kill();
    let master = Master::start(&run_dir);
    assert_eq!(master.wait(app).state, AppState::Succeeded);
    assert_eq!(master.get_raw(&format!("/applications/{after}")).0, 200);
    assert_eq!(master.terminate().code(), Some(0));
}

#[test]
fn a_full_disk_under_the_event_logs_loses_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(&dir.path().join("events")) else { return };
    let master = Master::start(dir.path());
    let worker = Worker::register(&master, Vec::new());
    disk.fill();
    let app = master.submit_sql(None).app;
    worker.driver();
    Driver::attach(&master, attempt(app)).finish(Ok(b"1"));
    assert_eq!(master.wait(app).state, AppState::Succeeded);
    assert!(master.get_raw(&format!("/applications/{app}/events")).1.is_empty());
    disk.free();
    until("the events", || {
        let (_, lines) = master.get_raw(&format!("/applications/{app}/events"));
        let events = serde_json::Deserializer::from_slice(&lines).into_iter::<LoggedEvent>();
        let events: Vec<LoggedEvent> = events.map(|event| event.unwrap()).collect();
        events.len() >= 2
            && matches!(events.last().unwrap().event, firesteel_common::event::AppEvent::AppEnded { .. })
    });
    assert_eq!(master.terminate().code(), Some(0));
}

#[test]
fn a_full_disk_under_the_plugins_refuses_an_upload_and_keeps_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = dir.path().join("plugins");
    let Some(disk) = Small::mount(&plugins) else { return };
    let master = Master::start(dir.path());
    disk.fill();
    let plugin = crate::elf::plugin("full");
    let (code, text) = error(master.post("/plugins", &plugin), 507);
    assert_eq!(code, ErrorCode::DiskFull, "{text}");
    let names = || plugins.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), ["filler"]);
    assert_eq!(master.get_raw("/readyz").0, 200, "a submission needs no room here");
    disk.free();
    let hash = master.upload(&plugin).hash;
    assert_eq!(names(), [hash.to_string().as_str()]);
}

#[test]
fn the_audit_log_waits_for_room_and_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let Some(disk) = Small::mount(&run_dir) else { return };
    let master = Master::start(&run_dir);
    disk.fill();
    for number in 0..40 {
        let path = format!("/api/firesteel/v1/number-{number}");
        let host = [("Host", master.state.http.as_str())];
        assert_eq!(crate::roles::request(&master, "GET", &path, &host, "").0, 401);
    }
    disk.free();
    until("all entries", || {
        let text = String::from_utf8(master.get_raw("/audit?limit=1000").1).unwrap();
        (0..40).all(|number| text.contains(&format!("/number-{number}\"")))
    });
    assert_eq!(master.terminate().code(), Some(0));
    let report = verify_audit(&run_dir).unwrap();
    assert_eq!((report.files, report.passed_over), (1, 0));
}

#[test]
fn a_large_result_waits_for_room_in_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    let Some(disk) = Small::mount(&results) else { return };
    // The result alone is larger than this file system, so that room is made by unmounting it.
    let master = Master::start(dir.path());
    let worker = Worker::register(&master, Vec::new());
    let app = master.submit_sql(None).app;
    worker.driver();
    let driver = Driver::attach(&master, attempt(app));
    let result = vec![b'7'; 17 << 20];
    let expected = result.clone();
    let ended = std::thread::spawn(move || driver.finish(Ok(&result)));
    // It was tried: the file that found no room is gone again.
    until("an attempt at the file", || {
        let modified = std::fs::metadata(&results).unwrap().modified().unwrap();
        modified > std::fs::metadata(dir.path().join("token")).unwrap().modified().unwrap()
            && results.read_dir().unwrap().next().is_none()
    });
    let status: firesteel_common::http::AppStatus = master.get(&format!("/applications/{app}"));
    assert_eq!(status.state, AppState::Running);
    drop(disk);
    ended.join().unwrap();
    assert_eq!(master.wait(app).state, AppState::Succeeded);
    let (status, found) = master.get_raw(&format!("/applications/{app}/result"));
    assert!(status == 200 && found == expected);
}
