//! Tests over real processes: the one binary as master, workers, executors, drivers and commands.
//!
//! Clusters never overlap: the machine has few cores, and a test that waits for a core measures the wrong
//! thing.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod browser;
mod cached;
mod commands;
mod faults;
mod http;
mod local;
mod memory;
mod naughty;
mod netns;
mod pages;
#[path = "../../sql/tests/it/queries.rs"]
mod queries;
mod sandbox;
mod scripts;
mod security;
mod sharing;
mod sql;
mod text;
#[path = "../../sql/tests/tpch/mod.rs"]
mod tpch;

use firesteel_common::http::{DeployMode, SubmitRequest};
use firesteel_common::id::PluginHash;
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long something may take to come to be, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

static MACHINE: Mutex<()> = Mutex::new(());

/// The machine, until the value is dropped.
fn machine() -> MutexGuard<'static, ()> {
    // A test that failed while it had the machine is no reason for the next one not to have it.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two one-core workers that fetch from each other over TCP, as if they were two machines.
fn setup() -> Setup {
    Setup::new(2).set("shuffle.same_host", "tcp")
}

fn wordcount() -> PathBuf {
    artifact("libwordcount.so").unwrap()
}

/// A submission of an entry point of the word count's plugin.
fn request(plugin: PluginHash, entry: &str, args: &[(&str, &str)]) -> SubmitRequest {
    SubmitRequest {
        name: String::new(),
        plugin: Some(plugin),
        entry: entry.to_owned(),
        args: args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        sql: None,
        tables: BTreeMap::new(),
        deploy_mode: DeployMode::Cluster,
        idempotency_key: None,
        conf: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}

/// Asks until there is an answer.
fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come to be in time");
        std::thread::sleep(LOOK);
    }
}

/// Ends a cluster, which must leave nothing.
fn stop(cluster: Cluster) {
    cluster.stop().unwrap();
}
