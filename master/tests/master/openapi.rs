//! Real answers of every route, held against the committed description: status, media type, schema.

use crate::elf::plugin;
use crate::harness::Master;
use crate::worker::{Driver, Worker};
use firesteel_common::protocol::worker::ToMaster;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PREFIX: &str = "/api/firesteel/v1";

/// What is wrong with a value, if anything.
fn check(value: &Value, schema: &Value, document: &Value) -> Result<(), String> {
    if let Some(path) = schema["$ref"].as_str() {
        return check(value, document.pointer(&path[1..]).unwrap(), document);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = options.iter().any(|option| check(value, option, document).is_ok());
        return if fits { Ok(()) } else { Err(format!("{value} is none of {schema}")) };
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |kind: &Value| kind == name || (kind == "number" && name == "integer");
    let fits = schema["type"].as_array().map_or_else(|| is(&schema["type"]), |kinds| kinds.iter().any(is));
    if !fits {
        return Err(format!("{value} is not of the type {}", schema["type"]));
    }
    if let Some(names) = schema["enum"].as_array().filter(|names| !names.contains(value)) {
        return Err(format!("{value} is none of {names:?}"));
    }
    if value.as_i64().is_some_and(|number| schema["minimum"].as_i64().is_some_and(|min| number < min)) {
        return Err(format!("{value} is too small"));
    }
    for item in value.as_array().into_iter().flatten() {
        check(item, &schema["items"], document)?;
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    let properties = schema["properties"].as_object();
    for (name, field) in fields {
        let known = properties.and_then(|properties| properties.get(name));
        match known.or(schema.get("additionalProperties")) {
            Some(Value::Bool(_)) | None => return Err(format!("the field {name} is not described")),
            Some(schema) => check(field, schema, document).map_err(|what| format!("{name}: {what}"))?,
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match required.into_iter().find(|name| !fields.contains_key(*name)) {
        Some(name) => Err(format!("the field {name} is missing")),
        None => Ok(()),
    }
}

struct Described<'a> {
    master: &'a Master,
    document: Value,
    seen: BTreeSet<(String, String)>,
}

impl Described<'_> {
    /// Asks, and holds the answer against the description. `path` is `template` with everything filled in.
    fn ask(&mut self, method: &str, template: &str, path: &str, body: &str, expected: u16) -> Value {
        let under = |path: &str| match path.strip_prefix('^') {
            Some(root) => root.to_owned(),
            None => format!("{PREFIX}{path}"),
        };
        let (template, path) = (under(template), under(path));
        let operation = &self.document["paths"][&template][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not described");
        let (status, head, text) = self.master.whole(method, &path, body);
        assert_eq!(status, expected, "{method} {path}: {text}");
        let answer = match &operation["responses"][status.to_string()] {
            Value::Null => &operation["responses"]["default"],
            answer => answer,
        };
        if status < 400 {
            assert!(operation["responses"][status.to_string()].is_object(), "{method} {path}: {status}");
            self.seen.insert((method.to_lowercase(), template));
        }
        let head = head.to_ascii_lowercase();
        let media = head.split("content-type: ").nth(1).and_then(|rest| rest.split(['\r', ';']).next());
        let Some(content) = answer["content"].as_object() else {
            assert_eq!(text, "", "{method} {path}");
            return Value::Null;
        };
        let schema = media.and_then(|media| content.get(media));
        assert!(schema.is_some(), "{method} {path}: {media:?} is none of {content:?}");
        if media != Some("application/json") {
            return Value::Null;
        }
        let value: Value = serde_json::from_str(&text).unwrap();
        if let Some(schema) = schema.and_then(|schema| schema.get("schema")) {
            check(&value, schema, &self.document)
                .unwrap_or_else(|what| panic!("{method} {path}: {what}\n{value}"));
        }
        value
    }

    fn get(&mut self, template: &str, path: &str) -> Value {
        self.ask("GET", template, path, "", 200)
    }
}

#[test]
fn real_answers_of_every_route_are_as_described() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let (status, text) = master.ask("GET", &format!("{PREFIX}/openapi.json"), "");
    assert_eq!(status, 200);
    let document = serde_json::from_str(&text).unwrap();
    let mut api = Described { master: &master, document, seen: BTreeSet::new() };
    let info = master.upload(&plugin("one"));
    let hash = info.hash.to_string();
    let bytes = String::from_utf8(plugin("one")).ok();
    if let Some(bytes) = bytes {
        api.ask("POST", "/plugins", "/plugins?name=one.so", &bytes, 200);
    }
    for path in
        ["/whoami", "/plugins", "/openapi.json", "/tokens", "/workers", "/executors", "/audit", "/metrics"]
    {
        api.get(path, path);
    }
    api.get("^/metrics/master/prometheus", "^/metrics/master/prometheus");
    api.get("/healthz", "/healthz");
    api.get("/readyz", "/readyz");
    api.get("/plugins/{hash}", &format!("/plugins/{hash}"));
    api.ask("POST", "/login-links", "/login-links", "", 201);
    let token = json!({"name": "ann", "role": "viewer"}).to_string();
    api.ask("POST", "/tokens", "/tokens", &token, 201);
    api.ask("POST", "/tokens", "/tokens", &token, 409);
    api.get("/tokens", "/tokens");
    api.ask("DELETE", "/tokens/{name}", "/tokens/ann", "", 204);

    let request = json!({"plugin": hash, "args": {"path": "p"}, "deploy_mode": "client"});
    api.ask("POST", "/applications", "/applications", &request.to_string(), 202);
    let request = json!({"plugin": hash, "args": {"path": "p"}, "idempotency_key": "k", "tags": {"a": "b"}});
    api.ask("POST", "/applications", "/applications", &request.to_string(), 202);
    api.ask("POST", "/applications", "/applications", "{}", 400);
    let worker = Worker::register(&master, Vec::new());
    let app = worker.driver().app;
    let driver = Driver::attach(&master, app);
    worker.say(ToMaster::ExecutorStarted { app, pid: 7 });
    crate::api::wait_until(|| master.get::<Vec<Value>>("/executors").len() == 1);
    for path in ["", "/submission", "/progress", "/executors", "/logs", "/logs/sources", "/events"] {
        let (template, path) = (format!("/applications/{{app}}{path}"), format!("/applications/2{path}"));
        api.get(&template, &path);
    }
    for path in ["/workers", "/executors"] {
        assert_eq!(api.get(path, path).as_array().unwrap().len(), 1);
    }
    api.ask("GET", "/applications/{app}/result", "/applications/2/result", "", 409);
    driver.finish(Ok(b"{}"));
    api.ask("POST", "/applications/{app}/kill", "/applications/1/kill", "", 202);
    master.wait(firesteel_common::id::AppId(1));
    master.wait(firesteel_common::id::AppId(2));
    api.ask("POST", "/applications/{app}/kill", "/applications/1/kill", "", 200);
    assert_eq!(api.get("/applications", "/applications").as_array().unwrap().len(), 2);
    api.get("/applications/{app}/events", "/applications/2/events?follow=1");
    let result = master.whole("GET", &format!("{PREFIX}/applications/2/result"), "");
    assert_eq!((result.0, result.2.as_str()), (200, "{}"));
    api.seen.insert(("get".to_owned(), format!("{PREFIX}/applications/{{app}}/result")));
    api.ask("POST", "/workers/{worker}/drain", &format!("/workers/{}/drain", worker.id.0), "", 202);

    spark(&mut api, &hash);
    api.ask("DELETE", "/plugins/{hash}", &format!("/plugins/{hash}"), "", 204);
    api.ask("DELETE", "/plugins/{hash}", &format!("/plugins/{hash}"), "", 404);
    for (path, operations) in api.document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let is_upload = bytes_are_no_text(method, path);
            assert!(is_upload || api.seen.contains(&(method.clone(), path.clone())), "{method} {path}");
        }
    }
}

/// The upload is held against the description by its typed answer: a plugin is no text.
fn bytes_are_no_text(method: &str, path: &str) -> bool {
    method == "post" && path.ends_with("/plugins")
}

fn spark(api: &mut Described<'_>, hash: &str) {
    let create = json!({
        "action": "CreateSubmissionRequest", "appResource": hash, "mainClass": "count",
        "appArgs": ["path=p"], "sparkProperties": {"spark.app.name": "n"}, "environmentVariables": {},
        "clientSparkVersion": "4.0.0", "extra": 1
    });
    let path = "^/v1/submissions/create";
    let made = api.ask("POST", path, path, &create.to_string(), 200);
    api.ask("POST", path, path, "{}", 400);
    let id = made["submissionId"].as_str().unwrap();
    api.get("^/v1/submissions/status/{id}", &format!("^/v1/submissions/status/{id}"));
    api.ask("POST", "^/v1/submissions/kill/{id}", &format!("^/v1/submissions/kill/{id}"), "", 200);
    api.ask("POST", "^/v1/submissions/killall", "^/v1/submissions/killall", "", 200);
    api.get("^/v1/submissions/readyz", "^/v1/submissions/readyz");
    api.master.wait(firesteel_common::id::AppId(3));
    api.ask("POST", "^/v1/submissions/clear", "^/v1/submissions/clear", "", 200);
}
