//! Cached partitions outlive what has made them: their executor, and the worker that is asked to leave. A
//! worker that dies costs its own and no others.

use crate::faults::kill_executors;
use crate::{machine, request, setup, stop, until};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::{AppState, AppStatus, SubmitRequest};
use firesteel_common::id::{AppId, WorkerId};
use firesteel_tests::cluster::{Cluster, artifact};
use std::collections::BTreeMap;

/// What the points are split into.
const PARTITIONS: usize = 4;

/// A cluster, and a job that caches its points and reads them again and again.
fn iterating() -> (Cluster, SubmitRequest) {
    let cluster = Cluster::start(&setup()).unwrap();
    let plugin = cluster.upload(&artifact("libkmeans.so").unwrap()).unwrap().hash;
    let args = [("points", "20000"), ("k", "3"), ("iterations", "150")];
    (cluster, request(plugin, "kmeans", &args))
}

fn events(cluster: &Cluster, app: AppId) -> Vec<LoggedEvent> {
    let lines = cluster.get(&format!("/applications/{app}/events")).unwrap();
    String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Where tasks have stored a partition: no other task of this job writes records.
fn stores(events: &[LoggedEvent]) -> Vec<WorkerId> {
    let mut places = BTreeMap::new();
    let mut stores = Vec::new();
    for line in events {
        match &line.event {
            AppEvent::TaskStarted { task, worker, .. } => drop(places.insert(*task, *worker)),
            AppEvent::TaskFinished { task, metrics } if metrics.written_records > 0 => {
                stores.push(places[task]);
            }
            _ => {}
        }
    }
    stores
}

/// Disturbs the job once all its partitions are stored; gives where tasks have stored one, in all.
fn disturbed(
    cluster: &mut Cluster,
    request: &SubmitRequest,
    expected: &[u8],
    disturb: impl FnOnce(&mut Cluster),
) -> Vec<WorkerId> {
    let app = cluster.submit(request).unwrap().app;
    until(|| (stores(&events(cluster, app)).len() == PARTITIONS).then_some(()));
    let status: AppStatus = cluster.get_json(&format!("/applications/{app}")).unwrap();
    assert_eq!(status.driver, Some(WorkerId(1)), "it is not disturbed itself");
    disturb(cluster);
    let ended = cluster.wait(app).unwrap();
    assert_eq!(ended.state, AppState::Succeeded, "{ended:?}");
    let found = cluster.get(&format!("/applications/{app}/result")).unwrap();
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(expected));
    stores(&cluster.events(app).unwrap())
}

#[test]
fn cached_partitions_outlive_their_executors_and_a_worker_that_leaves() {
    let _machine = machine();
    let (mut cluster, request) = iterating();
    let (app, expected) = cluster.run(&request).unwrap();
    assert_eq!(stores(&cluster.events(app).unwrap()).len(), PARTITIONS);
    let killed = disturbed(&mut cluster, &request, &expected, |cluster| {
        cluster.pids()[1..].iter().for_each(|worker| kill_executors(*worker));
    });
    assert_eq!(killed.len(), PARTITIONS, "nothing is computed again");
    let left = disturbed(&mut cluster, &request, &expected, |cluster| {
        cluster.post("/workers/worker-2/drain", &()).unwrap();
        cluster.wait_for_workers(1).unwrap();
    });
    assert_eq!(left.len(), PARTITIONS, "nothing is computed again");
    cluster.spawn_worker().unwrap();
    cluster.wait_for_workers(2).unwrap();
    let died = disturbed(&mut cluster, &request, &expected, |cluster| cluster.kill_worker(2));
    let on_it = died[..PARTITIONS].iter().filter(|worker| **worker == WorkerId(3)).count();
    assert!(on_it > 0, "{died:?}");
    assert_eq!(died.len(), PARTITIONS + on_it, "what the worker had is computed again, and nothing else");
    stop(cluster);
}
