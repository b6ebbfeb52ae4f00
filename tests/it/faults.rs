//! Processes that die at a chosen moment: the answer is the same, and only what was lost runs again.

use crate::local::children;
use crate::{machine, request, setup, stop, text, until, wordcount};
use firesteel_common::event::{AppEvent, LoggedEvent, StartCause};
use firesteel_common::http::{AppState, AppStatus, SubmitRequest, WorkerInfo};
use firesteel_common::id::{AppId, WorkerId};
use firesteel_tests::cluster::Cluster;
use firesteel_tests::fault::{Cost, Token};
use rustix::process::{Signal, kill_process};
use std::path::Path;

/// A cluster with a directory for faults, and a word count of several map tasks on each worker.
fn counting() -> (Cluster, tempfile::TempDir, SubmitRequest) {
    let faults = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&setup().set("faults.dir", faults.path().display())).unwrap();
    let input = cluster.scratch().join("text");
    text::write(&input, 12, 12 << 20, 2);
    let plugin = cluster.upload(&wordcount()).unwrap().hash;
    let request = request(plugin, "wordcount", &[("input", input.to_str().unwrap()), ("top", "1000")]);
    (cluster, faults, request)
}

/// Waits until no driver is anywhere: the next one then starts where the one before did.
fn idle(cluster: &Cluster) {
    until(|| {
        let workers: Vec<WorkerInfo> = cluster.get_json("/workers").ok()?;
        workers.iter().all(|worker| worker.drivers == 0).then_some(())
    });
}

fn disturbed(
    cluster: &Cluster,
    faults: &Path,
    request: &SubmitRequest,
    token: (&str, u32, WorkerId),
) -> (AppId, Cost) {
    idle(cluster);
    let (_, expected) = cluster.run(request).unwrap();
    let (point, nth, worker) = token;
    let token = Token::plant(faults, point, nth, Some(worker), "die").unwrap();
    idle(cluster);
    let (app, found) = cluster.run(request).unwrap();
    assert!(token.fired(), "the fault did not happen");
    assert!(found == expected, "the answer is another one");
    (app, Cost::of(&cluster.events(app).unwrap()))
}

#[test]
fn an_executor_that_dies_costs_its_running_attempts() {
    let _machine = machine();
    let (cluster, faults, request) = counting();
    let (_, cost) = disturbed(&cluster, faults.path(), &request, ("executor.task_end", 3, WorkerId(1)));
    // One for its slot, and what it was given ahead because the tasks are short.
    assert!((1..=4).contains(&cost.lost) && cost.reran == cost.lost, "{cost:?}");
    stop(cluster);
}

#[test]
fn a_worker_that_dies_costs_what_it_held() {
    let _machine = machine();
    let (mut cluster, faults, request) = counting();
    idle(&cluster);
    let (app, _) = cluster.run(&request).unwrap();
    let status: AppStatus = cluster.get_json(&format!("/applications/{app}")).unwrap();
    let workers = cluster.wait_for_workers(2).unwrap();
    let other = workers.iter().find(|worker| Some(worker.worker) != status.driver).unwrap().worker;
    let (_, cost) = disturbed(&cluster, faults.path(), &request, ("worker.map_output", 3, other));
    assert!(cost.lost > 0 && cost.reran == cost.lost, "{cost:?}");
    // The cluster is whole again with a new worker.
    cluster.spawn_worker().unwrap();
    cluster.wait_for_workers(2).unwrap();
    cluster.run(&request).unwrap();
    stop(cluster);
}

#[test]
fn an_acknowledged_submission_survives_the_master() {
    let _machine = machine();
    let (mut cluster, _faults, request) = counting();
    let (_, expected) = cluster.run(&request).unwrap();
    let request = SubmitRequest { idempotency_key: Some("once".into()), ..request };
    let app = cluster.submit(&request).unwrap().app;
    cluster.kill_master();
    cluster.restart_master().unwrap();
    assert_eq!(cluster.submit(&request).unwrap().app, app);
    let status = cluster.wait(app).unwrap();
    assert_eq!((status.state, status.error), (AppState::Succeeded, None));
    assert!(cluster.get(&format!("/applications/{app}/result")).unwrap() == expected);
    assert_eq!(cluster.submit(&request).unwrap().app, app);
    let other = SubmitRequest { name: "another".into(), ..request };
    assert!(cluster.submit(&other).is_err(), "the same key with another content");
    let ends = cluster.events(app).unwrap();
    let ends = ends.iter().filter(|line| matches!(line.event, AppEvent::AppEnded { .. })).count();
    assert_eq!(ends, 1);
    let apps: Vec<AppStatus> = cluster.get_json("/applications").unwrap();
    assert_eq!(apps.len(), 2);
    stop(cluster);
}

#[test]
fn an_attempt_that_hangs_is_overtaken_and_its_output_is_committed_once() {
    let _machine = machine();
    let (cluster, faults, mut request) = counting();
    let output = cluster.scratch().join("counts");
    request.args.insert("output".into(), output.display().to_string());
    let conf = [
        ("spark.speculation", "true"),
        ("spark.speculation.quantile", "0.5"),
        ("spark.speculation.multiplier", "1.5"),
    ];
    request.conf = conf.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    // One that never ends at the begin of the job, and one later.
    for nth in [2, 5] {
        let point = "executor.task_start";
        let hang = Token::plant(faults.path(), point, nth, Some(WorkerId(1)), "hang").unwrap();
        let (app, found) = cluster.run(&request).unwrap();
        assert!(hang.fired(), "the fault did not happen");
        let log = cluster.events(app).unwrap();
        let overtaking = log.iter().find_map(|line| match line.event {
            AppEvent::TaskStarted { task, worker, cause: StartCause::Speculation, .. } => {
                Some((task, worker))
            }
            _ => None,
        });
        let (task, worker) = overtaking.unwrap();
        assert_eq!((worker, task.attempt), (WorkerId(2), 1), "another worker");
        let names = std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert!(
            names[0] == "_SUCCESS" && names[1..].iter().all(|name| name.starts_with("part-")),
            "{names:?}"
        );
        let text = names[1..].iter().map(|name| std::fs::read_to_string(output.join(name)).unwrap());
        let mut lines: Vec<String> = text.collect::<String>().lines().map(str::to_owned).collect();
        let all = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), all, "a word is there twice");
        let counted: serde_json::Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(counted["distinct"].as_u64(), Some(all as u64));
        std::fs::remove_dir_all(&output).unwrap();
    }
    stop(cluster);
}

#[test]
fn a_worker_that_leaves_costs_nothing() {
    let _machine = machine();
    let (cluster, faults, request) = counting();
    // One attempt hangs on worker 1, so the job cannot end before worker 2 has left with all its outputs.
    let hang = Token::plant(faults.path(), "executor.task_start", 1, Some(WorkerId(1)), "hang").unwrap();
    let app = cluster.submit(&request).unwrap().app;
    let events = || -> Vec<LoggedEvent> {
        let lines = cluster.get(&format!("/applications/{app}/events")).unwrap();
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let tasks = until(|| {
        let tasks = events().iter().find_map(|line| match &line.event {
            AppEvent::StageAdded { tasks, .. } => Some(*tasks as usize),
            _ => None,
        })?;
        let is_end = |event: &AppEvent| matches!(event, AppEvent::TaskFinished { .. });
        let finished = events().iter().filter(|line| is_end(&line.event)).count();
        (finished + 1 == tasks).then_some(tasks)
    });
    assert!(hang.fired() && tasks > 2, "{tasks}");
    let status: AppStatus = cluster.get_json(&format!("/applications/{app}")).unwrap();
    assert_eq!(status.driver, Some(WorkerId(1)));
    cluster.post("/workers/worker-2/drain", &()).unwrap();
    until(|| {
        let workers = cluster.wait_for_workers(1).unwrap();
        workers.iter().all(|worker| worker.worker == WorkerId(1) || !worker.alive).then_some(())
    });
    cluster.pids()[1..].iter().for_each(|worker| kill_executors(*worker));
    let ended = cluster.wait(app).unwrap();
    assert_eq!(ended.state, AppState::Succeeded, "{ended:?}");
    let found = cluster.get(&format!("/applications/{app}/result")).unwrap();
    assert!(cluster.run(&request).unwrap().1 == found, "another answer");
    let again = events().into_iter().filter(|line| {
        matches!(line.event, AppEvent::OutputLost { .. })
            || matches!(line.event, AppEvent::TaskStarted { cause: StartCause::Recompute, .. })
    });
    assert_eq!(again.collect::<Vec<_>>(), [], "nothing is lost or made again");
    stop(cluster);
}

/// Kills the executors of a worker.
pub fn kill_executors(worker: u32) {
    for pid in children(worker) {
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
        if line.contains("\0executor") {
            kill_process(pid, Signal::KILL).unwrap();
        }
    }
}
