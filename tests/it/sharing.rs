//! What jobs share, start and leave behind, over real processes: broadcast values, commands, checkpoints,
//! packed text, answers within a time. The plugin lies in `tests/plugins/sharing`.

use crate::faults::kill_executors;
use crate::{machine, request, setup, stop, until};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::{AppState, AppStatus};
use firesteel_common::id::{AppId, PluginHash, WorkerId};
use firesteel_tests::cluster::{Cluster, artifact};

/// Numbers of the shared table, of 8 bytes: three parts of at most 4 MiB.
const NUMBERS: u64 = 1_200_000;

fn start() -> (Cluster, PluginHash) {
    let cluster = Cluster::start(&setup()).unwrap();
    let plugin = cluster.upload(&artifact("libsharing.so").unwrap()).unwrap().hash;
    (cluster, plugin)
}

/// What the lookups find, by plain arithmetic.
fn looked_up(numbers: u64, rounds: u64) -> String {
    let at = |place: u64| place.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    let round = |round: u64| {
        let found = (0..64).map(|n| at((round + n) * 977 % numbers));
        (0..5).map(at).chain(found).fold(0_u64, u64::wrapping_add)
    };
    (0..rounds).map(round).fold(0_u64, u64::wrapping_add).to_string()
}

fn logged(cluster: &Cluster, app: AppId) -> Vec<LoggedEvent> {
    let lines = cluster.get(&format!("/applications/{app}/events")).unwrap();
    String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Bytes that tasks have read from other workers.
fn remote_bytes(events: &[LoggedEvent]) -> u64 {
    let read = events.iter().map(|line| match &line.event {
        AppEvent::TaskFinished { metrics, .. } => metrics.remote_read_bytes,
        _ => 0,
    });
    read.sum()
}

#[test]
fn a_broadcast_value_travels_once_and_outlives_a_worker() {
    let _machine = machine();
    let (mut cluster, plugin) = start();
    let (numbers, rounds) = (NUMBERS.to_string(), "60");
    let shared = request(plugin, "lookups", &[("numbers", &numbers), ("rounds", rounds)]);
    let expected = format!("\"{}\"", looked_up(NUMBERS, 60));
    let (app, found) = cluster.run(&shared).unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), expected);
    // Each of two workers fetches the parts that the other one has, once: not more than the whole together,
    // but for the small shuffles. (Encoded numbers take a byte more.)
    let remote = remote_bytes(&cluster.events(app).unwrap());
    let whole = NUMBERS * 9;
    assert!(whole / 2 < remote && remote < whole + whole / 4, "{remote} of {whole}");
    // Executors die: the next ones find the value with their own workers.
    let again = request(plugin, "lookups", &[("numbers", &numbers), ("rounds", "200")]);
    let app = cluster.submit(&again).unwrap().app;
    until(|| (remote_bytes(&logged(&cluster, app)) > whole - whole / 8).then_some(()));
    cluster.pids()[1..].iter().for_each(|worker| kill_executors(*worker));
    let ended = cluster.wait(app).unwrap();
    assert_eq!(ended.state, AppState::Succeeded, "{ended:?}");
    let events = cluster.events(app).unwrap();
    let lost = events.iter().filter(|line| matches!(line.event, AppEvent::ExecutorLost { .. })).count();
    let remote = remote_bytes(&events);
    assert!(lost >= 2 && remote < whole + whole / 4, "{lost} lost; {remote} of {whole}");
    // The worker without the driver dies: its executors' values and its parts with it.
    let longer = request(plugin, "lookups", &[("numbers", &numbers), ("rounds", "300")]);
    let app = cluster.submit(&longer).unwrap().app;
    until(|| (remote_bytes(&logged(&cluster, app)) > whole / 2).then_some(()));
    let status: AppStatus = cluster.get_json(&format!("/applications/{app}")).unwrap();
    assert_eq!(status.driver, Some(WorkerId(1)), "it is not disturbed itself");
    cluster.kill_worker(1);
    cluster.spawn_worker().unwrap();
    let ended = cluster.wait(app).unwrap();
    assert_eq!(ended.state, AppState::Succeeded, "{ended:?}");
    let found = cluster.get(&format!("/applications/{app}/result")).unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), format!("\"{}\"", looked_up(NUMBERS, 300)));
    stop(cluster);
}

#[test]
fn commands_checkpoints_and_packed_text() {
    let _machine = machine();
    let (cluster, plugin) = start();
    let dir = cluster.scratch().join("left");
    std::fs::create_dir(&dir).unwrap();
    let left = request(plugin, "leavings", &[("dir", dir.to_str().unwrap())]);
    let (_, found) = cluster.run(&left).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(found["piped"], serde_json::json!(["1249", "2499", "3749", "4999"]));
    let failed = found["failed"].as_str().unwrap();
    assert!(failed.contains("exit status: 1") && failed.contains("/no/such/file"), "{failed}");
    let sum: i64 = (0..5_000).sum();
    assert_eq!(found["sums"], serde_json::json!([sum, sum, sum]));
    let bytes: usize = (0..5_000).map(|n: i64| n.to_string().len() + 1).sum();
    assert_eq!(found["packed"], bytes);
    let names = std::fs::read_dir(dir.join("text")).unwrap().flatten();
    let packed = names.filter(|entry| entry.path().extension().is_some_and(|end| end == "gz"));
    assert_eq!(packed.count(), 4);
    stop(cluster);
}

#[test]
fn who_does_not_wait_gets_what_is_known() {
    let _machine = machine();
    let (cluster, plugin) = start();
    let (_, found) = cluster.run(&request(plugin, "impatience", &[("patience_ms", "8000")])).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let count = |at: usize| found["count"][at].as_f64().unwrap();
    assert_eq!(found["count"][3], false);
    assert!(count(1) < 8_000.0 && 8_000.0 < count(2) && count(2) < 10_000.0, "{found}");
    assert_eq!(found["cancelled"], "KILLED");
    stop(cluster);
}
