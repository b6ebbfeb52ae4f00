//! The document itself, and the test that the committed file says the same.

use super::trace::{Content, Schemas, schema};
use crate::http::routes::{Entry, TABLE};
use crate::http::{PREFIX, health};
use firesteel_common::http::ErrorBody;
use serde_json::{Map, Value, json};

/// What stands between braces in paths.
const PATH_PARAMETERS: &[(&str, &str)] = &[
    ("app", "The application: `app-2`, or `2`"),
    ("hash", "The SHA-256 of the plugin: 64 hexadecimal digits"),
    ("worker", "The worker: `worker-2`, or `2`"),
    ("name", "The name of the token"),
    ("id", "The submission: `driver-2`"),
];

fn document() -> Value {
    let mut schemas = Schemas::default();
    let error = schema::<ErrorBody>(&mut schemas);
    let mut paths = Map::new();
    for entry in TABLE {
        let operation = operation(entry, &error, &mut schemas);
        paths.entry(entry.path).or_insert_with(|| json!({}))[entry.method] = operation;
    }
    for path in health::PATHS {
        let answers = json!({ "200": { "description": "Yes", "content": body(&Content::Other("text/plain"),
            &mut schemas) }, "503": { "description": "No", "content":
            { "application/json": { "schema": error } } } });
        let operation = json!({ "summary": "Whether the master lives and can be asked something",
            "operationId": path.trim_start_matches('/'), "security": [], "responses": answers });
        paths.insert(format!("{PREFIX}{path}"), json!({ "get": operation }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Firesteel",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The HTTP daemon of a Firesteel master. Ids in paths are written `app-2` or `2`; \
                in JSON they are numbers. A parameter that a route does not have is refused.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.found,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(entry: &Entry, error: &Value, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    for (status, content) in entry.answers {
        let answer = match body(content, schemas) {
            Value::Null => json!({ "description": meaning(*status) }),
            content => json!({ "description": meaning(*status), "content": content }),
        };
        let known = responses.entry(status.to_string()).or_insert_with(|| answer.clone());
        if let (Some(known), Some(more)) = (known["content"].as_object_mut(), answer["content"].as_object()) {
            known.extend(more.clone());
        }
    }
    let error = match entry.answers.first() {
        Some((_, Content::Json(describe))) if entry.path.starts_with("/v1/") => describe(schemas),
        _ => error.clone(),
    };
    let failed = json!({ "application/json": { "schema": error } });
    responses.insert("default".to_owned(), json!({ "description": "An error", "content": failed }));
    let mut operation = json!({
        "summary": entry.about.trim(),
        "description": format!("Needs a token with the role `{}`.", entry.role.as_str()),
        "operationId": operation_id(entry),
        "parameters": parameters(entry, schemas),
        "responses": responses,
    });
    if !matches!(entry.body, Content::Nothing) {
        operation["requestBody"] = json!({ "required": true, "content": body(&entry.body, schemas) });
    }
    operation
}

fn body(content: &Content, schemas: &mut Schemas) -> Value {
    match content {
        Content::Nothing => Value::Null,
        Content::Json(describe) => json!({ "application/json": { "schema": describe(schemas) } }),
        Content::Other(media) if media.starts_with("text/") => {
            json!({ *media: { "schema": { "type": "string" } } })
        }
        Content::Other(media) => json!({ *media: {} }),
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        200 => "Here it is",
        201 => "Made",
        202 => "Accepted",
        204 => "Done, or nothing more to come",
        _ => "See the description",
    }
}

fn operation_id(entry: &Entry) -> String {
    let path = entry.path.strip_prefix(PREFIX).unwrap_or(entry.path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(entry.method).chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(entry: &Entry, schemas: &mut Schemas) -> Vec<Value> {
    let names = entry.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let about = |name: &str| PATH_PARAMETERS.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut parameters: Vec<Value> = names
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "description": about(name),
            "schema": { "type": "string" } })
        })
        .collect();
    let reference = (entry.parameters)(schemas);
    let Some(name) = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next()) else {
        return parameters;
    };
    // The struct is no part of any body.
    let found = schemas.found.remove(name).unwrap();
    for (name, schema) in found["properties"].as_object().unwrap() {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().unwrap().remove("description");
        if let Some([kind, _]) = schema["type"].as_array().map(Vec::as_slice) {
            schema["type"] = kind.clone();
        }
        let required = found["required"].as_array().unwrap().contains(&json!(name));
        parameters.push(json!({ "name": name, "in": "query", "required": required,
            "description": description, "schema": schema }));
    }
    parameters
}

/// Set to write the file anew.
const WRITE: &str = "FIRESTEEL_WRITE_OPENAPI";

#[test]
fn the_committed_description_is_that_of_the_code() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let differs = text.lines().zip(committed.lines()).find(|(made, found)| made != found);
    assert!(text == committed, "{differs:?}: run `{WRITE}=1 cargo test -p firesteel-master openapi`");
}

#[test]
fn every_parameter_and_every_field_is_explained() {
    let document = document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{method} {path}: {parameter}");
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{field}");
        }
    }
}
