//! What people and programs write: requests, settings, ids, the event log, graphs.

use super::Target;
use crate::any::Source;
use crate::mutate::Rng;
use firesteel_common::block::BlockId;
use firesteel_common::config::{Config, DEFAULT_TOML};
use firesteel_common::event::LoggedEvent;
use firesteel_common::graph::{JobGraph, StageSpec};
use firesteel_common::http::SubmitRequest;
use firesteel_common::id::{AppId, DatasetId, JobId, PluginHash, StageId, WorkerId};
use firesteel_common::options::{self, AppOptions, KEYS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "submission", run: submission, seeds: submissions, base: 16 << 10, times: 64 },
        Target { name: "event_log", run: event_log, seeds: events, base: 64 << 10, times: 64 },
        Target { name: "config", run: config, seeds: configs, base: 256 << 10, times: 256 },
        Target { name: "conf", run: conf, seeds: confs, base: 64 << 10, times: 64 },
        Target { name: "ids", run: ids, seeds: id_texts, base: 16 << 10, times: 16 },
        Target { name: "graph", run: graph, seeds: bytes_of_graphs, base: 256 << 10, times: 1024 },
    ]
}

fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let again = serde_json::to_vec(&value).unwrap_or_default();
    assert_eq!(serde_json::from_slice::<T>(&again).ok().as_ref(), Some(&value), "it is not read as written");
    Some(value)
}

/// The body of `POST /applications`, and what the journal keeps of it.
fn submission(bytes: &[u8]) {
    if let Some(request) = json::<SubmitRequest>(bytes) {
        drop(AppOptions::from_conf(&request.conf));
    }
}

fn submissions(_: &mut Rng) -> Vec<Vec<u8>> {
    let hash = "ab".repeat(32);
    let texts = [
        r#"{"sql":"select 1","tables":{"t":"/data/t"},"conf":{"spark.executor.memory":"1g"}}"#.to_owned(),
        format!(r#"{{"plugin":"{hash}","entry":"e","args":{{"a":"1"}},"deploy_mode":"client"}}"#),
        r#"{"name":"n","idempotency_key":"k","tags":{"a":"b"},"conf":{"spark.cores.max":"4"}}"#.to_owned(),
        "[".repeat(1000),
        r#"{"args":"#.repeat(1000),
    ];
    texts.map(String::into_bytes).to_vec()
}

/// Lines of an event log.
fn event_log(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        drop(serde_json::from_slice::<LoggedEvent>(line));
    }
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter::<LoggedEvent>();
    assert!(lines.take_while(Result::is_ok).count() <= bytes.len());
}

fn events(_: &mut Rng) -> Vec<Vec<u8>> {
    let app = r#""at":5,"app":{"app":1,"attempt":1}"#;
    let task = r#"{"app":{"app":1,"attempt":1},"stage":0,"partition":3,"attempt":0}"#;
    let all = [
        format!(r#"{{{app},"event":"app_started","version":1,"worker":2}}"#),
        format!(r#"{{{app},"event":"task_started","task":{task},"worker":1,"cause":"first"}}"#),
        format!(r#"{{{app},"event":"stage_added","stage":1,"name":"s","tasks":4,"inputs":[0]}}"#),
        format!(r#"{{{app},"event":"app_ended","error":null}}"#),
    ];
    all.iter().map(|line| line.clone().into_bytes()).chain([all.join("\n").into_bytes()]).collect()
}

/// A file of settings.
fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(toml::from_str::<Config>(text));
    drop(toml::from_str::<toml::Table>(text));
}

fn configs(_: &mut Rng) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        DEFAULT_TOML.split("\n\n").map(|section| section.as_bytes().to_vec()).collect();
    all.push(DEFAULT_TOML.as_bytes().to_vec());
    for deep in ["a=[", "a={b=", "[a.", "[["] {
        all.push(deep.repeat(1000).into_bytes());
    }
    all.push(b"pools = [{ name = \"x\", weight = 4294967296 }]".to_vec());
    all
}

/// Keys and values of a submission: `KEY=VALUE` lines.
fn conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let all: BTreeMap<String, String> =
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if let Ok(options) = AppOptions::from_conf(&all) {
        assert!(options.driver.memory < u64::MAX);
    }
    for (_, value) in all {
        let found = (options::bytes(&value), options::millis(&value));
        assert!(value.chars().any(|c| c.is_ascii_digit()) || (found.0.is_err() && found.1.is_err()));
    }
}

fn confs(_: &mut Rng) -> Vec<Vec<u8>> {
    let line = |value: &'static str| move |key: &options::OptionKey| format!("{}={value}", key.name);
    let values = ["1g", "18446744073709551615t", "10min", "true", "-1", "0", "\u{212a}g", "4"];
    let mut all: Vec<Vec<u8>> = Vec::new();
    for value in values {
        all.extend(KEYS.iter().map(line(value)).map(String::into_bytes));
    }
    all
}

/// Ids and names in paths.
fn ids(bytes: &[u8]) {
    fn id<T: std::str::FromStr + ToString>(text: &str) {
        if let Ok(id) = text.parse::<T>() {
            let shown = id.to_string();
            assert!(shown.parse::<T>().is_ok_and(|again| again.to_string() == shown), "{shown}");
        }
    }
    let text = String::from_utf8_lossy(bytes);
    id::<AppId>(&text);
    id::<JobId>(&text);
    id::<StageId>(&text);
    id::<DatasetId>(&text);
    id::<WorkerId>(&text);
    id::<PluginHash>(&text);
    id::<BlockId>(&text);
}

fn id_texts(_: &mut Rng) -> Vec<Vec<u8>> {
    let hash = "0f".repeat(32);
    [
        "app-1",
        "7",
        "stage-4294967295",
        "worker-18446744073709551615",
        "1.2/map/3/4/5",
        "1.2/cached/3/4",
        &hash,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Stages of a driver, some of them twice.
fn graph(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut graph = JobGraph::default();
    while !source.is_empty() {
        let before = graph.stages().count();
        if graph.extend(source.any()).is_err() {
            assert_eq!(graph.stages().count(), before, "a part of what was refused is kept");
        }
        for stage in graph.stages() {
            let read = |input: &firesteel_common::graph::StageInput| input.ranges(0, 3, 3);
            drop(stage.inputs.iter().map(read).collect::<Vec<_>>());
        }
        let stage: Vec<StageSpec> = graph.stages().take(1).cloned().collect();
        assert!(graph.extend(stage).is_ok(), "the same stage again is refused");
    }
}

fn bytes_of_graphs(rng: &mut Rng) -> Vec<Vec<u8>> {
    (0..64).map(|_| rng.bytes(512)).collect()
}
