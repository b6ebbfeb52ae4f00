//! Jobs that crash, hang and eat: each fails alone, with an error that says what it was, and the cluster goes
//! on as if nothing had been. The plugin that does it lies in `tests/plugins/naughty`.

use crate::{machine, request, stop, until};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::AppEvent;
use firesteel_common::http::{AppState, SubmitRequest, WorkerInfo};
use firesteel_common::id::{AppId, PluginHash};
use firesteel_common::sandbox::Sandbox;
use firesteel_tests::cluster::{Cluster, Setup, artifact, binary};
use std::path::PathBuf;

/// Bytes that a process of a greedy job may use.
const MEMORY: &str = "268435456";

pub fn plugin() -> PathBuf {
    artifact("libnaughty.so").unwrap()
}

/// Two workers with one slot, so that the naughty task has a neighbour in another executor.
fn start() -> (Cluster, PluginHash) {
    let cluster = Cluster::start(&Setup::new(2)).unwrap();
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    (cluster, plugin)
}

/// What is in force on the workers.
pub fn sandbox(cluster: &Cluster) -> Sandbox {
    let workers: Vec<WorkerInfo> = cluster.get_json("/workers").unwrap();
    workers.into_iter().next().unwrap().sandbox
}

/// A submission of the naughty plugin, whose tasks may fail twice.
fn deed(plugin: PluginHash, what: &str, place: &str, amount: u64, conf: &[(&str, &str)]) -> SubmitRequest {
    let amount = amount.to_string();
    let mut request = request(plugin, "naughty", &[("deed", what), ("place", place), ("amount", &amount)]);
    let conf = conf.iter().chain(&[("spark.task.maxFailures", "2")]);
    request.conf = conf.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    request
}

/// The processes that run code of users, also those that have lost their parents.
pub fn strangers() -> Vec<u32> {
    let binary = binary().unwrap().canonicalize().unwrap();
    let is_one = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut parts = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let program = parts.next().map(|program| PathBuf::from(program.into_owned()));
        program.is_some_and(|program| program == binary)
            && parts.next().is_some_and(|role| role == "executor" || role == "driver")
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| is_one(*pid)).collect()
}

/// Nothing of any application is left: no process, and no directory.
pub fn assert_clean(cluster: &Cluster) {
    let left = || -> Vec<String> {
        let workers = std::fs::read_dir(cluster.run_dir()).unwrap().flatten().map(|entry| entry.path());
        let workers = workers.filter(|path| path.join("plugins").is_dir());
        let inside = workers.flat_map(|path| std::fs::read_dir(path).into_iter().flatten().flatten());
        let names = inside.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.filter(|name| name.starts_with("app-"));
        names.chain(strangers().into_iter().map(|pid| format!("process {pid}"))).collect()
    };
    until(|| left().is_empty().then_some(()));
}

/// The cluster counts right, with all its slots.
pub fn assert_well(cluster: &Cluster, plugin: PluginHash) {
    let (_, counted) = cluster.run(&request(plugin, "honest", &[])).unwrap();
    assert_eq!(counted, b"1000");
}

/// How it failed, and how many attempts were lost or failed.
fn fails(cluster: &Cluster, request: &SubmitRequest) -> (AppId, Error, usize) {
    let app = cluster.submit(request).unwrap().app;
    let status = cluster.wait(app).unwrap();
    let deed = &request.args["deed"];
    assert_eq!(status.state, AppState::Failed, "{deed}: {status:?}");
    let is_end = |event: &AppEvent| matches!(event, AppEvent::TaskFailed { .. } | AppEvent::TaskLost { .. });
    let ends = cluster.events(app).unwrap().iter().filter(|line| is_end(&line.event)).count();
    (app, status.error.unwrap(), ends)
}

fn assert_says(what: &str, error: &Error, code: ErrorCode, words: &str) {
    let said = format!("{} {}", error.message, error.detail);
    assert_eq!(error.code, code, "{what}: {said}");
    assert!(said.contains(words), "{what}: '{said}' should say '{words}'");
}

#[test]
fn whoever_crashes_fails_alone_and_it_is_said_how() {
    use ErrorCode::{Panicked, ProcessDied, TaskRetriesExhausted};
    let _machine = machine();
    let (cluster, plugin) = start();
    let cases = [
        ("panic", 0, Panicked, "it was told to panic"),
        ("segfault", 0, ProcessDied, "SIGSEGV"),
        ("abort", 0, ProcessDied, "SIGABRT"),
        ("exit", 0, ProcessDied, "it exited with code 0"),
        ("exit", 7, ProcessDied, "it exited with code 7"),
        ("double-free", 0, ProcessDied, "double free"),
        ("overflow", u64::MAX, ProcessDied, "overflow"),
    ];
    for (what, amount, code, words) in cases {
        for place in ["task", "driver"] {
            let (_, error, ends) = fails(&cluster, &deed(plugin, what, place, amount, &[]));
            // What a task reports by itself is told with its code, when it has been tried often enough.
            let code = if place == "task" && code == Panicked { TaskRetriesExhausted } else { code };
            assert_says(&format!("{what} in the {place}"), &error, code, words);
            // Two attempts, and none of the neighbour's beside one that may have been running.
            assert!(if place == "task" { (2..=4).contains(&ends) } else { ends == 0 }, "{what}: {ends} ends");
            assert_well(&cluster, plugin);
        }
    }
    assert_clean(&cluster);
    assert!(cluster.wait_for_workers(2).is_ok());
    stop(cluster);
}

#[test]
fn whoever_does_not_end_is_ended() {
    let _machine = machine();
    let (cluster, plugin) = start();
    for what in ["loop", "ignore-sigterm"] {
        let request = deed(plugin, what, "task", 0, &[("firesteel.task.timeout", "300ms")]);
        let (_, error, ends) = fails(&cluster, &request);
        assert_says(
            what,
            &error,
            ErrorCode::TaskRetriesExhausted,
            "[TIMED_OUT] it ran longer than the 300 ms",
        );
        assert!((2..=4).contains(&ends), "{what}: {ends} ends");
        assert_well(&cluster, plugin);
        let request = deed(plugin, what, "driver", 0, &[("firesteel.app.timeout", "700ms")]);
        let (_, error, _) = fails(&cluster, &request);
        assert_says(what, &error, ErrorCode::TimedOut, "700 ms");
        assert_well(&cluster, plugin);
    }
    assert_clean(&cluster);
    stop(cluster);
}

#[test]
fn whoever_eats_too_much_is_told_the_limit() {
    eats_too_much(true);
}

#[test]
fn the_worker_itself_watches_where_no_cgroup_does() {
    eats_too_much(false);
}

fn eats_too_much(cgroups: bool) {
    let _machine = machine();
    let cluster = Cluster::start(&Setup::new(2).set("worker.cgroups", cgroups)).unwrap();
    assert!(cgroups || sandbox(&cluster).cgroup.is_none());
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    for what in ["memory-slowly", "memory-at-once"] {
        for (place, key) in [("task", "spark.executor.memory"), ("driver", "spark.driver.memory")] {
            let request = deed(plugin, what, place, 1 << 30, &[(key, MEMORY)]);
            let (_, error, _) = fails(&cluster, &request);
            let words = format!("memory limit {MEMORY} exceeded");
            assert_says(&format!("{what} in the {place}"), &error, ErrorCode::OutOfMemory, &words);
            assert_well(&cluster, plugin);
        }
    }
    let (_, left) = cluster.run(&deed(plugin, "leave", "task", 0, &[])).unwrap();
    let left: Vec<String> = serde_json::from_slice(&left).unwrap();
    until(|| (!PathBuf::from(format!("/proc/{}", left[0])).exists()).then_some(()));
    assert_clean(&cluster);
    stop(cluster);
}

#[test]
fn whoever_opens_and_forks_without_end_meets_a_limit() {
    let _machine = machine();
    let (cluster, plugin) = start();
    let answer = |what: &str, place: &str| {
        let (_, answer) = cluster.run(&deed(plugin, what, place, u64::MAX, &[])).unwrap();
        String::from_utf8(answer).unwrap()
    };
    for place in ["task", "driver"] {
        let said = answer("descriptors", place);
        assert!(said.contains("Too many open files"), "{said}");
        if sandbox(&cluster).cgroup.is_some() {
            let said = answer("forks", place);
            assert!(said.contains("Resource temporarily unavailable"), "{said}");
        } else {
            println!("no cgroup here: nothing bounds the processes of root, so none are made");
        }
        let left: u32 =
            serde_json::from_str::<Vec<String>>(&answer("leave", place)).unwrap()[0].parse().unwrap();
        until(|| (!PathBuf::from(format!("/proc/{left}")).exists()).then_some(()));
        assert_well(&cluster, plugin);
    }
    assert_clean(&cluster);
    stop(cluster);
}

#[test]
fn whoever_prints_without_end_is_cut() {
    let _machine = machine();
    let (cluster, plugin) = start();
    for place in ["task", "driver"] {
        let (app, _) = cluster.run(&deed(plugin, "print", place, 80 << 20, &[])).unwrap();
        let printed = until(|| {
            let printed = cluster.get(&format!("/applications/{app}/logs")).unwrap();
            String::from_utf8_lossy(&printed).contains("truncated").then_some(printed)
        });
        assert!(printed.len() < 8 << 20, "{} bytes", printed.len());
        assert_well(&cluster, plugin);
    }
    assert_clean(&cluster);
    stop(cluster);
}

#[test]
fn whoever_babbles_to_its_worker_is_ended() {
    let _machine = machine();
    let (cluster, plugin) = start();
    let (_, error, _) = fails(&cluster, &deed(plugin, "babble", "task", 0, &[]));
    assert_says("babble", &error, ErrorCode::ProcessDied, "SIGKILL");
    // The master hangs up on a driver that babbles, and takes it back when it dials again.
    let (_, answer) = cluster.run(&deed(plugin, "babble", "driver", 0, &[])).unwrap();
    assert!(String::from_utf8(answer).unwrap().contains("heard nonsense"));
    assert_well(&cluster, plugin);
    assert_clean(&cluster);
    assert!(cluster.wait_for_workers(2).unwrap().len() == 2);
    stop(cluster);
}
