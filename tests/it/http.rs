//! The whole way over plain HTTP: upload, submit, status, result, output files; and what is refused.

use crate::text::{self, Counts};
use crate::{machine, request, setup, stop, wordcount};
use firesteel_common::error::{ErrorCode, Result};
use firesteel_common::event::AppEvent;
use firesteel_common::http::{AppState, AppStatus, ExecutorInfo, PluginInfo};
use firesteel_tests::cluster::Cluster;
use std::time::{Duration, Instant};

fn code<T>(result: Result<T>) -> ErrorCode {
    result.err().expect("it must be refused").code
}

#[test]
fn a_word_count_is_that_of_tr_sort_uniq() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let (input, output) = (cluster.scratch().join("text"), cluster.scratch().join("counts"));
    text::write(&input, 3, 8 << 20, 1);
    let counts = text::counted_by_others(&input);
    let plugin = cluster.upload(&wordcount()).unwrap();
    assert!(plugin.descriptor.entry("wordcount").is_ok());
    let (path, out) = (input.to_str().unwrap(), output.to_str().unwrap());
    let args = [("input", path), ("top", "50"), ("output", out)];
    let (app, result) = cluster.run(&request(plugin.hash, "wordcount", &args)).unwrap();
    let found: Counts = serde_json::from_slice(&result).unwrap();
    assert_eq!(found, text::expected(&counts, 50));
    assert!(text::counted_by_job(&output) == counts);
    // The same again: the same bytes, and a directory that exists is not written to.
    let args = [("input", path), ("top", "50")];
    let (_, again) = cluster.run(&request(plugin.hash, "wordcount", &args)).unwrap();
    assert_eq!(again, result);
    let args = [("input", path), ("output", out)];
    assert_eq!(code(cluster.run(&request(plugin.hash, "wordcount", &args))), ErrorCode::OutputExists);
    let log = cluster.events(app).unwrap();
    let is_end = |line: &&_| {
        matches!(line, firesteel_common::event::LoggedEvent { event: AppEvent::AppEnded { .. }, .. })
    };
    assert_eq!(log.iter().filter(is_end).count(), 1);
    stop(cluster);
}

#[test]
fn what_is_wrong_is_refused_with_its_name() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    for bytes in [&b""[..], b"#!/bin/sh\n", &[0x7f; 4096]] {
        assert_eq!(code(cluster.upload_bytes(bytes)), ErrorCode::PluginInvalid);
    }
    let whole = std::fs::read(wordcount()).unwrap();
    assert_eq!(code(cluster.upload_bytes(&whole[..whole.len() / 2])), ErrorCode::PluginInvalid);
    let unknown = request(firesteel_common::id::PluginHash([7; 32]), "wordcount", &[]);
    assert_eq!(code(cluster.submit(&unknown)), ErrorCode::NotFound);
    let plugin = cluster.upload_bytes(&whole).unwrap().hash;
    let error = cluster.submit(&request(plugin, "wordcuont", &[])).unwrap_err();
    assert_eq!(error.code, ErrorCode::EntryNotFound);
    assert!(error.help.contains("wordcount"), "{error}");
    for args in [&[][..], &[("input", "x"), ("tpo", "1")], &[("input", "x"), ("top", "many")]] {
        assert_eq!(code(cluster.submit(&request(plugin, "wordcount", args))), ErrorCode::BadArgument);
    }
    assert_eq!(code(cluster.get("/applications/app-99")), ErrorCode::NotFound);
    assert!(cluster.get("/applications/..%2f..%2ftoken").is_err());
    let error = cluster.run(&request(plugin, "wordcount", &[("input", "/no/such/text")])).unwrap_err();
    assert_eq!(error.code, ErrorCode::InputNotReadable, "{error}");
    let plugins: Vec<PluginInfo> = cluster.get_json("/plugins").unwrap();
    assert_eq!(plugins.len(), 1);
    stop(cluster);
}

#[test]
fn without_the_token_there_is_no_way_in() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    for path in ["/plugins", "/applications", "/applications/app-1", "/workers", "/nothing"] {
        for header in ["", "Bearer ", "Bearer 00", &format!("bearer{}", cluster.token())] {
            let url = format!("{}/api/firesteel/v1{path}", cluster.http());
            let status = agent.get(url).header("Authorization", header).call().unwrap().status();
            assert_eq!(status, 401, "{path} with '{header}'");
        }
    }
    let ready = agent.get(format!("{}/readyz", cluster.http())).call().unwrap();
    assert_eq!(ready.status(), 200);
    stop(cluster);
}

#[test]
fn a_killed_application_frees_its_slots() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let plugin = cluster.upload(&wordcount()).unwrap().hash;
    let app = cluster.submit(&request(plugin, "empty_tasks", &[("count", "300000")])).unwrap().app;
    let executor = || cluster.get_json::<Vec<ExecutorInfo>>("/executors").unwrap().pop();
    let deadline = Instant::now() + Duration::from_secs(30);
    let found = loop {
        if let Some(found) = executor() {
            break found;
        }
        assert!(Instant::now() < deadline, "no executor is shown");
        std::thread::sleep(Duration::from_millis(10));
    };
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", found.pid)).unwrap();
    assert!(found.app == app && command.contains("executor"), "{found:?} {command}");
    cluster.post(&format!("/applications/{app}/kill"), &()).unwrap();
    let status = cluster.wait(app).unwrap();
    assert_eq!(status.state, AppState::Killed);
    let (_, result) = cluster.run(&request(plugin, "empty_tasks", &[("count", "4")])).unwrap();
    assert_eq!(executor(), None);
    assert_eq!(String::from_utf8(result).unwrap().trim(), "0");
    let apps: Vec<AppStatus> = cluster.get_json("/applications").unwrap();
    assert_eq!(apps.len(), 2);
    stop(cluster);
}
