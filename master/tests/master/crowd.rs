//! Many clients at once, and a master that is killed among them.

use crate::harness::Master;
use firesteel_common::http::AppStatus;
use firesteel_common::id::AppId;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const CLIENTS: usize = 8;

/// Clients submit under keys of their own until the master is gone, or until there are `enough`; the master
/// is killed after `kill_after` answers.
fn crowd(master: &Master, round: usize, enough: usize, kill_after: Option<usize>) -> BTreeMap<String, AppId> {
    let answered = Mutex::new(BTreeMap::new());
    let (started, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = started.fetch_add(1, Ordering::SeqCst);
                    if number >= enough {
                        return;
                    }
                    let key = format!("{round}-{number}");
                    let Some(app) = master.try_submit_sql(&key) else { return };
                    answered.lock().unwrap().insert(key, app);
                    if kill_after == Some(count.fetch_add(1, Ordering::SeqCst)) {
                        master.kill();
                    }
                }
            });
        }
    });
    answered.into_inner().unwrap()
}

/// How many rounds or applications, if somebody wants more than a test needs.
fn wanted(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_accepted_application_is_lost_when_the_master_is_killed_among_submissions() {
    let dir = tempfile::tempdir().unwrap();
    let mut answered = BTreeMap::new();
    for round in 0..wanted("FIRESTEEL_TEST_KILLS", 5) {
        let master = Master::start_roomy(dir.path());
        assert_eq!(master.state.epoch, round as u64 + 1);
        answered.extend(crowd(&master, round, usize::MAX, Some(1 + round * 7 % 50)));
    }
    let master = Master::start_roomy(dir.path());
    let mut apps: Vec<AppId> = answered.values().copied().collect();
    for (key, app) in answered {
        assert_eq!(master.try_submit_sql(&key), Some(app), "{key}");
    }
    apps.sort();
    let before = apps.len();
    apps.dedup();
    assert_eq!(apps.len(), before, "two keys, one application");
}

#[test]
fn a_long_queue_is_accepted_listed_and_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let count = wanted("FIRESTEEL_TEST_QUEUE", 1000);
    let master = Master::start_roomy(dir.path());
    let start = Instant::now();
    assert_eq!(crowd(&master, 0, count, None).len(), count);
    let submitted = start.elapsed();
    master.kill();
    let start = Instant::now();
    let master = Master::start_roomy(dir.path());
    let ready = start.elapsed();
    let start = Instant::now();
    let mut seen = 0;
    while seen < count {
        let page: Vec<AppStatus> = master.get(&format!("/applications?offset={seen}&limit=1000"));
        assert!(!page.is_empty());
        seen += page.len();
    }
    println!(
        "{count} applications: submitted in {submitted:?}, ready after {ready:?}, listed in {:?}",
        start.elapsed()
    );
}
