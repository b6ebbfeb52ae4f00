//! The daemon at its doors: who is let in, what is taken in, and what is refused in which words.

use crate::elf::plugin;
use crate::harness::{Master, error};
use firesteel_common::error::ErrorCode;
use firesteel_common::http::{AppStatus, PluginInfo};
use serde_json::json;

#[test]
fn a_plugin_is_kept_once_and_what_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let bytes = plugin("one");
    let (first, body) = master.post("/plugins", &bytes);
    assert_eq!(first, 201, "{}", String::from_utf8_lossy(&body));
    let info: PluginInfo = serde_json::from_slice(&body).unwrap();
    assert_eq!(info.bytes, bytes.len() as u64);
    assert_eq!(master.post("/plugins", &bytes), (200, body));
    assert_eq!(master.get::<Vec<PluginInfo>>("/plugins"), std::slice::from_ref(&info));
    assert_eq!(master.get::<PluginInfo>(&format!("/plugins/{}", info.hash)), info);

    let (code, text) = error(master.post("/plugins", b""), 400);
    assert_eq!(code, ErrorCode::PluginInvalid);
    assert!(text.contains("found an empty file"), "{text}");
    assert_eq!(error(master.post("/plugins", &[b'x'; 100]), 400).0, ErrorCode::PluginInvalid);
    assert_eq!(error(master.post("/plugins", &vec![0; 65 * 1024]), 413).0, ErrorCode::TooLarge);
    assert_eq!(error(master.get_raw(&format!("/plugins/{}", "0".repeat(64))), 404).0, ErrorCode::NotFound);
    for path in ["/plugins/..%2f..%2fsecret", "/plugins/%2e%2e", "/plugins/x"] {
        assert_eq!(error(master.get_raw(path), 400).0, ErrorCode::BadRequest, "{path}");
    }
    for path in ["/applications?limit=x", "/applications/x", "/applications/app-1x/result"] {
        assert_eq!(error(master.get_raw(path), 400).0, ErrorCode::BadRequest, "{path}");
    }
    assert_eq!(error(master.post("/workers", b""), 404).0, ErrorCode::NotFound);
    let left: Vec<_> =
        dir.path().join("plugins").read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, [std::ffi::OsString::from(info.hash.to_string())]);
}

#[test]
fn a_submission_is_checked_before_it_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let hash = master.upload(&plugin("one")).hash;
    let submit = |request: serde_json::Value, expected| {
        error(master.post("/applications", request.to_string().as_bytes()), expected)
    };
    let cases = [
        (json!({}), 400, ErrorCode::BadRequest, "neither a plugin nor a SQL text"),
        (json!({"sql": "x", "plugin": hash}), 400, ErrorCode::BadRequest, "a plugin and a SQL text"),
        (json!({"sql": " "}), 422, ErrorCode::SqlInvalid, "empty"),
        (json!({"spl": "x"}), 400, ErrorCode::BadRequest, "unknown field `spl`"),
        (json!({"plugin": "0".repeat(64)}), 404, ErrorCode::NotFound, "upload it first"),
        (json!({"plugin": hash, "entry": "cuont"}), 400, ErrorCode::EntryNotFound, "did you mean 'count'?"),
        (json!({"plugin": hash}), 400, ErrorCode::BadArgument, "argument 'path' is missing"),
        (json!({"plugin": hash, "args": {"path": "p", "n": "x"}}), 400, ErrorCode::BadArgument, "'n'"),
        (json!({"sql": "x", "name": "n".repeat(300)}), 400, ErrorCode::BadRequest, "longer than 256"),
    ];
    for (request, expected, code, words) in cases {
        let (found, text) = submit(request.clone(), expected);
        assert_eq!(found, code, "{request}: {text}");
        assert!(text.contains(words), "{request}: '{text}' should say '{words}'");
    }
    assert_eq!(error(master.post("/applications", &vec![b' '; 3 << 20]), 413).0, ErrorCode::TooLarge);

    let accepted = master.submit(&json!({"plugin": hash, "args": {"path": "p"}, "deploy_mode": "client"}));
    let driver = accepted.client_driver.unwrap();
    assert_eq!((driver.attempt, driver.master), (1, master.state.master.clone()));
    let status: AppStatus = master.get(&format!("/applications/{}", accepted.app));
    assert_eq!(status.name, "count");
}

#[test]
fn a_key_names_one_application_and_a_full_queue_refuses_only_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let first = master.submit_sql(Some("k")).app;
    assert_eq!(master.submit_sql(Some("k")).app, first);
    let other = json!({"sql": "SELECT 2", "idempotency_key": "k"}).to_string();
    let (code, text) = error(master.post("/applications", other.as_bytes()), 409);
    assert_eq!(code, ErrorCode::Conflict);
    assert!(text.contains("'k' belongs to app-1"), "{text}");
    let by_header = |key| {
        let (status, body) = master.post_with_key("/applications", br#"{"sql": "SELECT 1"}"#, key);
        (status, String::from_utf8(body).unwrap())
    };
    assert_eq!(by_header("k"), (202, format!("{{\"app\":{}}}", first.0)));
    assert_eq!(by_header("").0, 400);
    master.submit_sql(None);
    master.submit_sql(None);
    let (code, text) = error(master.post("/applications", br#"{"sql": "SELECT 1"}"#), 503);
    assert_eq!(code, ErrorCode::QueueFull);
    assert!(text.contains("master.queue_max (now 3)"), "{text}");
    assert_eq!(master.submit_sql(Some("k")).app, first);
    let page: Vec<AppStatus> = master.get("/applications?offset=1&limit=1");
    assert_eq!(page.iter().map(|app| app.app.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_plugin_that_nobody_needs_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let hash = master.upload(&plugin("one")).hash;
    master.submit(&json!({"plugin": hash, "args": {"path": "p"}}));
    let path = format!("/plugins/{hash}");
    assert_eq!(error(master.delete(&path), 409).0, ErrorCode::Conflict);
    assert_eq!(master.post("/applications/app-1/kill", b"").0, 202);
    master.wait(firesteel_common::id::AppId(1));
    assert_eq!(master.delete(&path).0, 204);
    assert_eq!(error(master.delete(&path), 404).0, ErrorCode::NotFound);
    assert_eq!(error(master.get_raw(&path), 404).0, ErrorCode::NotFound);
    assert_eq!(dir.path().join("plugins").read_dir().unwrap().count(), 0);
}

#[test]
fn the_master_tells_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    master.submit_sql(None);
    let (status, body) = master.get_raw("/metrics");
    let text = String::from_utf8(body).unwrap();
    assert!(status == 200 && text.contains("\nfiresteel_applications{state=\"waiting\"} 1\n"), "{text}");
    for line in text.lines() {
        let is_comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
        let value = line.rsplit(' ').next().unwrap();
        assert!(is_comment || value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn uploads_removals_and_submissions_at_once_agree_on_a_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let bytes = plugin("one");
    let hash = master.upload(&bytes).hash;
    let path = format!("/plugins/{hash}");
    let request = json!({"plugin": hash, "args": {"path": "p"}}).to_string();
    for _ in 0..10 {
        let submitted = std::thread::scope(|scope| {
            scope.spawn(|| master.post("/plugins", &bytes));
            scope.spawn(|| master.delete(&path));
            scope.spawn(|| master.post("/plugins", &bytes));
            scope.spawn(|| master.post("/applications", request.as_bytes())).join().unwrap()
        });
        let is_listed = master.get_raw(&path).0 == 200;
        assert_eq!(is_listed, dir.path().join(format!("plugins/{hash}")).is_file());
        if submitted.0 == 202 {
            assert!(is_listed, "an accepted application has lost its plugin");
            let app = master.get::<Vec<AppStatus>>("/applications?limit=1").remove(0);
            assert_eq!(master.post(&format!("/applications/{}/kill", app.app), b"").0, 202);
            master.wait(app.app);
        }
        master.upload(&bytes);
    }
}

#[test]
fn tags_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let submit = |tags: serde_json::Value| {
        master.post("/applications", json!({"sql": "select 1", "tags": tags}).to_string().as_bytes())
    };
    let many: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), json!(""))).collect();
    for tags in [json!({"k": "v".repeat(257)}), json!({"k".repeat(257): ""}), json!({"": "v"}), json!(many)] {
        let (code, text) = error(submit(tags), 400);
        assert!(code == ErrorCode::BadRequest && text.contains("tag"), "{text}");
    }
    assert_eq!(submit(json!({"k".repeat(256): "v".repeat(256)})).0, 202);
}
