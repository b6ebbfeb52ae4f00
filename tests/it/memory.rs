//! Jobs whose data are several times the memory of their workers: right answers, a bound that holds for
//! workers and executors together, and nothing that stays on disk.

use crate::{machine, request, setup, stop, until, wordcount};
use firesteel_common::event::AppEvent;
use firesteel_common::http::{AppState, AppStatus, SubmitRequest};
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use firesteel_tests::process::{Footprint, footprint, open_files};
use std::io::{BufWriter, Write};

const MIB: u64 = 1024 * 1024;
/// The memory of a worker.
const BUDGET: u64 = 24 * MIB;
/// What a worker and its executors may use together: the budget, a quarter of it, and what processes need
/// for themselves.
const BOUND: u64 = BUDGET + BUDGET / 4 + 64 * MIB;

fn small(setup: Setup) -> Cluster {
    Cluster::start(&setup.set("worker.memory", BUDGET)).unwrap()
}

/// Runs an application to its end, and looks at the memory of its workers all the time. Gives its answer.
fn run_watched(cluster: &mut Cluster, request: &SubmitRequest) -> String {
    let workers: Vec<u32> = (0..2).map(|index| cluster.worker_pid(index).unwrap()).collect();
    let app = cluster.submit(request).unwrap().app;
    let mut peak = Footprint::default();
    let ended = loop {
        for used in workers.iter().map(|worker| footprint(*worker)) {
            if used.total() > peak.total() {
                peak = used;
            }
        }
        let status: AppStatus = cluster.get_json(&format!("/applications/{app}")).unwrap();
        if status.state.is_final() {
            break status;
        }
    };
    assert_eq!(ended.state, AppState::Succeeded, "{ended:?}");
    let spilled: u64 = cluster
        .events(app)
        .unwrap()
        .iter()
        .map(|line| match &line.event {
            AppEvent::TaskFinished { metrics, .. } => metrics.spilled_bytes,
            _ => 0,
        })
        .sum();
    println!("{}: at most {peak:?}, {spilled} bytes spilled", request.entry);
    assert!(spilled > BUDGET, "only {spilled} bytes were spilled");
    assert!(peak.total() <= BOUND, "{peak:?} is more than {BOUND}");
    for worker in workers {
        let on_disk = || {
            let unnamed = |(name, _): &(String, _)| name.ends_with("(deleted)") && name.contains("/worker-");
            open_files(worker).iter().filter(|file| unnamed(file)).count()
        };
        until(|| (on_disk() == 0).then_some(()));
    }
    let result = cluster.get(&format!("/applications/{app}/result")).unwrap();
    String::from_utf8(result).unwrap()
}

#[test]
fn a_sort_of_several_times_the_memory_stays_within_it() {
    let _machine = machine();
    // Workers that read each other's blocks from memory and from files.
    let mut cluster = small(Setup::new(2));
    let plugin = cluster.upload(&artifact("libsort.so").unwrap()).unwrap().hash;
    let output = cluster.scratch().join("sorted").display().to_string();
    // The job itself reads what it has written, and compares.
    let request = request(plugin, "sort", &[("lines", "2000000"), ("output", &output)]);
    let answer = run_watched(&mut cluster, &request);
    assert!(answer.starts_with(r#"{"lines":2000000,"#), "{answer}");
    stop(cluster);
}

#[test]
fn an_aggregation_of_several_times_the_memory_stays_within_it() {
    let _machine = machine();
    let mut cluster = small(setup());
    let plugin = cluster.upload(&wordcount()).unwrap().hash;
    let path = cluster.scratch().join("words.txt");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    for number in 0..1_000_000_u64 {
        // Each word twice, far from each other.
        let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 500_000;
        let word = if number < 500_000 { number } else { word };
        writeln!(file, "a-word-that-is-long-enough-{word}").unwrap();
    }
    file.flush().unwrap();
    let input = path.display().to_string();
    let request = request(plugin, "wordcount", &[("input", &input), ("top", "1")]);
    let answer = run_watched(&mut cluster, &request);
    assert!(answer.starts_with(r#"{"words":1000000,"distinct":500000,"#), "{answer}");
    stop(cluster);
}
