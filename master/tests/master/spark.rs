//! Spark's submission interface: what a client of Spark sends, and what it gets.

use crate::elf::plugin;
use crate::harness::Master;
use crate::roles::admin;
use crate::worker::{Driver, Worker};
use firesteel_common::http::{AppStatus, Role, SubmitRequest};
use firesteel_common::id::AppId;
use serde_json::{Value, json};

fn message(resource: &str) -> Value {
    json!({
        "action": "CreateSubmissionRequest",
        "appResource": resource,
        "mainClass": "count",
        "appArgs": ["path=/data/text", "n=3"],
        "sparkProperties": {
            "spark.app.name": "from Spark",
            "spark.master": "spark://127.0.0.1:6066",
            "spark.submit.deployMode": "cluster",
            "spark.driver.supervise": "false",
            "spark.executor.memory": "1g",
        },
        "environmentVariables": {"SPARK_ENV_LOADED": "1"},
        "clientSparkVersion": "4.0.0",
    })
}

fn post(master: &Master, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = master.ask("POST", &format!("/v1/submissions/{path}"), body);
    (status, serde_json::from_str(&text).unwrap())
}

fn state(master: &Master, id: &str) -> Value {
    let (status, text) = master.ask("GET", &format!("/v1/submissions/status/{id}"), "");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_submission_of_a_spark_client_runs_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let hash = master.upload_as(&plugin("one"), "count.so").hash;
    let mut wanted = message("count.so");
    wanted["somethingNew"] = json!({"a": 1});
    let (status, made) = post(&master, "create", &wanted.to_string());
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["action"], "CreateSubmissionResponse");
    assert_eq!((&made["success"], &made["submissionId"]), (&json!(true), &json!("driver-1")));
    assert_eq!(made["unknownFields"], json!(["somethingNew"]));
    assert!(made["serverSparkVersion"].is_string());
    let request: SubmitRequest = master.get("/applications/1/submission");
    assert_eq!(
        (request.plugin, request.name.as_str(), request.entry.as_str()),
        (Some(hash), "from Spark", "count")
    );
    assert_eq!((request.args["path"].as_str(), request.args["n"].as_str()), ("/data/text", "3"));
    assert_eq!(request.conf["spark.executor.memory"], "1g");
    assert_eq!(state(&master, "driver-1")["driverState"], "SUBMITTED");
    let worker = Worker::register(&master, Vec::new());
    let driver = Driver::attach(&master, worker.driver().app);
    let running = state(&master, "driver-1");
    assert_eq!((&running["driverState"], &running["success"]), (&json!("RUNNING"), &json!(true)));
    assert_eq!(running["workerId"], json!(worker.id.to_string()));
    assert_eq!(running["workerHostPort"], "127.0.0.1:1");
    driver.finish(Ok(b"1"));
    master.wait(AppId(1));
    assert_eq!(state(&master, "driver-1")["driverState"], "FINISHED");
    assert_eq!(post(&master, "kill/driver-1", "").1["success"], json!(false));
    assert_eq!(state(&master, "driver-99")["success"], json!(false));
    assert_eq!(post(&master, "kill/driver-99", "").1["success"], json!(false));
    assert_eq!(post(&master, "kill/x", "").0, 400);
    assert_eq!(post(&master, "clear", "").1["success"], json!(true));
    assert!(master.get::<Vec<AppStatus>>("/applications").is_empty());
}

#[test]
fn what_means_nothing_here_is_refused_with_its_reason_and_nothing_local_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let hash = master.upload(&plugin("one")).hash.to_string();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut message = message(&hash);
        change(&mut message);
        post(&master, "create", &message.to_string())
    };
    let resources = [
        "/etc/passwd",
        "file:/etc/passwd",
        "http://169.254.169.254/x.jar",
        "../secret",
        "hdfs://n/x",
        "..\\x",
    ];
    for resource in resources {
        let (status, answer) = with(&|message| message["appResource"] = json!(resource));
        assert_eq!((status, &answer["action"]), (400, &json!("ErrorResponse")), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("opens no path"), "{answer}");
    }
    type Change = Box<dyn Fn(&mut Value)>;
    let set = |pointer: &'static str, key: &'static str, value: Value| -> Change {
        Box::new(move |message| message.pointer_mut(pointer).unwrap()[key] = value.clone())
    };
    let cases: Vec<(Change, u16, &str)> = vec![
        (set("", "appResource", json!("none.so")), 404, "no plugin of the name 'none.so'"),
        (set("", "action", json!("KillSubmissionRequest")), 400, "the action is"),
        (set("", "mainClass", json!("cuont")), 400, "did you mean 'count'"),
        (set("", "appArgs", json!(["text"])), 400, "write NAME=VALUE"),
        (set("", "appArgs", json!(["path=p", "n=x"])), 400, "'n'"),
        (set("", "appArgs", Value::Null), 400, "'appArgs' is missing"),
        (set("", "clientSparkVersion", Value::Null), 400, "'clientSparkVersion' is missing"),
        (set("/environmentVariables", "LD_PRELOAD", json!("/x.so")), 400, "empty environment"),
        (set("/sparkProperties", "spark.submit.deployMode", json!("client")), 400, "in the cluster"),
        (set("/sparkProperties", "spark.jars.packages", json!("a:b:1")), 400, "no package repository"),
        (set("/sparkProperties", "spark.executor.memroy", json!("1g")), 400, "spark.executor.memory"),
        (set("/sparkProperties", "spark.master.rest.enabled", json!("true")), 400, "settings of the cluster"),
    ];
    for (change, expected, words) in cases {
        let (status, answer) = with(&*change);
        let text = answer["message"].as_str().unwrap();
        assert!(status == expected && text.contains(words), "{words}: {status} {text}");
    }
    assert_eq!(post(&master, "create", "[1").0, 400);
    assert!(master.get::<Vec<AppStatus>>("/applications").is_empty());
    master.upload_as(&plugin("two"), "same.so");
    master.upload_as(&plugin("three"), "same.so");
    let (status, answer) = with(&|message| message["appResource"] = json!("same.so"));
    assert!(status == 409 && answer["message"].as_str().unwrap().contains("give the hash"), "{answer}");
    assert_eq!(master.post("/plugins?name=a%2Fb", &plugin("four")).0, 400);
}

#[test]
fn everybody_kills_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let hash = master.upload(&plugin("one")).hash.to_string();
    let admin = admin(&master, dir.path());
    let (ann, bob, eve) =
        (admin.make("ann", Role::Submit), admin.make("bob", Role::Submit), admin.make("eve", Role::Viewer));
    for user in [&ann, &bob] {
        assert_eq!(user.ask_root("POST", "/v1/submissions/create", &message(&hash).to_string()).0, 200);
    }
    let (status, body) = bob.ask_root("POST", "/v1/submissions/kill/driver-1", "");
    assert!(status == 403 && body.contains("ErrorResponse"), "{body}");
    for path in ["create", "killall", "kill/driver-1", "clear"] {
        assert_eq!(eve.ask_root("POST", &format!("/v1/submissions/{path}"), "").0, 403, "{path}");
    }
    assert_eq!(ann.ask_root("POST", "/v1/submissions/clear", "").0, 403);
    assert_eq!(eve.ask_root("GET", "/v1/submissions/status/driver-1", "").0, 200);
    let (_, body) = bob.ask_root("POST", "/v1/submissions/killall", "");
    assert!(body.contains("(1 of them)"), "{body}");
    master.wait(AppId(2));
    assert_eq!(state(&master, "driver-2")["driverState"], "KILLED");
    assert_eq!(state(&master, "driver-1")["driverState"], "SUBMITTED");
    assert_eq!(post(&master, "killall", "").1["success"], json!(true));
    master.wait(AppId(1));
}
