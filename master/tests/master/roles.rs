//! Who may ask for what: every route with every method, for all that a request can lack; and two users who
//! want each other's applications.

use crate::elf::plugin;
use crate::harness::Master;
use firesteel_common::http::{AppStatus, Identity, Role, TokenCreated, TokenInfo};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const PREFIX: &str = "/api/firesteel/v1";
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"];

/// Sends a request by hand; the status, the head and the body of the answer.
pub fn request(
    master: &Master,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(&master.state.http).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// Somebody with a token.
pub struct User<'a> {
    pub master: &'a Master,
    pub token: String,
}

impl User<'_> {
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.ask_root(method, &format!("{PREFIX}{path}"), body)
    }

    /// The same with a path that begins at the root.
    pub fn ask_root(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Host", self.master.state.http.as_str()), ("Authorization", bearer.as_str())];
        let (status, _, body) = request(self.master, method, path, &headers, body);
        (status, body)
    }

    pub fn make(&self, name: &str, role: Role) -> User<'_> {
        let (status, body) = self.ask("POST", "/tokens", &json!({"name": name, "role": role}).to_string());
        assert_eq!(status, 201, "{body}");
        let made: TokenCreated = serde_json::from_str(&body).unwrap();
        User { master: self.master, token: made.token }
    }
}

pub fn admin<'a>(master: &'a Master, dir: &std::path::Path) -> User<'a> {
    User { master, token: firesteel_master::read_token(dir).unwrap() }
}

/// Every path of the table, with something in place of what varies, and one that does not exist.
fn paths() -> Vec<String> {
    let filled = |path: &str| path.replace("{app}", "app-1").replace("{hash}", "0").replace("{name}", "x");
    let mut paths: Vec<String> =
        firesteel_master::route_table().iter().map(|(_, path, _)| filled(path)).collect();
    paths.extend([format!("{PREFIX}/none"), format!("{PREFIX}/applications/app-1/ki%6cl")]);
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn nothing_but_health_is_answered_without_a_token_and_a_right_host_and_origin() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let bearer = format!("Bearer {}", admin(&master, dir.path()).token);
    let host = ("Host", master.state.http.as_str());
    let right = ("Authorization", bearer.as_str());
    let status =
        |method: &str, path: &str, headers: &[(&str, &str)]| request(&master, method, path, headers, "").0;
    for method in METHODS {
        for path in paths() {
            let what = format!("{method} {path}");
            assert_eq!(status(method, &path, &[host]), 401, "{what}");
            for wrong in ["Bearer wrong", "Bearer ", "Basic eDp5", "fst_0"] {
                assert_eq!(status(method, &path, &[host, ("Authorization", wrong)]), 401, "{what} {wrong}");
            }
            assert_eq!(status(method, &path, &[("Host", "evil.example:80"), right]), 400, "{what}");
            let origin = ("Origin", "http://evil.example");
            assert_eq!(status(method, &path, &[host, right, origin]), 400, "{what}");
        }
    }
    for path in ["/healthz", "/readyz", "/api/firesteel/v1/readyz", "/api/firesteel/v1/healthz"] {
        assert_eq!(status("GET", path, &[host]), 200, "{path}");
        assert_eq!(status("GET", path, &[("Host", "evil.example")]), 400, "{path}");
    }
    let own = format!("http://{}", host.1);
    assert_eq!(status("GET", "/api/firesteel/v1/workers", &[host, right, ("Origin", &own)]), 200);
}

#[test]
fn every_route_wants_its_role() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let admin = admin(&master, dir.path());
    let users =
        [(Role::Viewer, admin.make("eve", Role::Viewer)), (Role::Submit, admin.make("ann", Role::Submit))];
    for (method, path, wanted) in firesteel_master::route_table() {
        let path = path.replace("{app}", "app-1").replace("{name}", "x");
        for (role, user) in &users {
            let (status, body) = user.ask_root(&method, &path, "");
            assert_eq!(status == 403, *role < wanted, "{method} {path} as {role:?}: {status} {body}");
        }
    }
    let (status, _) = users[0].1.ask("POST", "/applications/app-1/ki%6cl", "");
    assert_eq!(status, 403, "another spelling of a path is the same path");
}

#[test]
fn a_submitter_has_nothing_to_do_with_what_others_have_submitted() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let admin = admin(&master, dir.path());
    let (ann, bob) = (admin.make("ann", Role::Submit), admin.make("bob", Role::Submit));
    let hash = master.upload(&plugin("one")).hash;
    let body = json!({"plugin": hash, "args": {"path": "p"}, "idempotency_key": "k"}).to_string();
    let submit = |user: &User<'_>| {
        let (status, answer) = user.ask("POST", "/applications", &body);
        assert_eq!(status, 202, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["app"].clone()
    };
    let of_ann = submit(&ann);
    assert_eq!(submit(&ann), of_ann);
    assert_ne!(submit(&bob), of_ann, "everybody has keys of their own");
    let status: AppStatus = master.get("/applications/app-1");
    assert_eq!(status.owner, "ann");
    for (method, path) in [("POST", "kill"), ("GET", "result"), ("GET", "logs")] {
        let path = format!("/applications/app-1/{path}");
        let (status, answer) = bob.ask(method, &path, "");
        assert_eq!(status, 403, "{path}");
        assert!(answer.contains("PERMISSION_DENIED") && answer.contains("'bob'"), "{answer}");
    }
    assert_eq!(bob.ask("GET", "/applications/app-1", "").0, 200);
    assert_eq!(ann.ask("POST", "/applications/app-1/kill", "").0, 202);
    assert_eq!(admin.ask("POST", "/applications/app-2/kill", "").0, 202);
    let audit = admin.ask("GET", "/audit", "").1;
    for (who, action, decision) in [
        ("ann", "submit", "allowed"),
        ("bob", "kill", "PERMISSION_DENIED"),
        ("bob", "logs", "PERMISSION_DENIED"),
        ("cluster", "kill", "allowed"),
    ] {
        let line = |line: &Value| {
            line["principal"] == who && line["action"] == action && line["decision"] == decision
        };
        let found = audit.lines().any(|text| line(&serde_json::from_str(text).unwrap()));
        assert!(found, "{who} {action} {decision} is not in\n{audit}");
    }
}

#[test]
fn tokens_outlive_a_restart_until_they_are_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let token = {
        let admin = admin(&master, dir.path());
        assert_eq!(admin.ask("POST", "/tokens", "{\"name\":\"a b\",\"role\":\"admin\"}").0, 400);
        let ann = admin.make("ann", Role::Submit);
        let (status, _) = admin.ask("POST", "/tokens", "{\"name\":\"ann\",\"role\":\"admin\"}");
        assert_eq!(status, 409);
        ann.token
    };
    master.kill();
    let master = Master::start(dir.path());
    let (admin, ann) = (admin(&master, dir.path()), User { master: &master, token });
    let who: Identity = serde_json::from_str(&ann.ask("GET", "/whoami", "").1).unwrap();
    assert_eq!(who, Identity { name: "ann".into(), role: Role::Submit });
    let list: Vec<TokenInfo> = master.get("/tokens");
    assert!(list.len() == 1 && list[0].last_used_ms.is_some(), "{list:?}");
    assert!(!admin.ask("GET", "/tokens", "").1.contains("fst_"), "secrets are not told again");
    assert_eq!(admin.ask("DELETE", "/tokens/ann", "").0, 204);
    assert_eq!(admin.ask("DELETE", "/tokens/ann", "").0, 404);
    assert_eq!(ann.ask("GET", "/whoami", "").0, 401);
}

#[test]
fn one_name_is_one_token_whoever_asks_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let admin = admin(&master, dir.path());
    let body = json!({"name": "ann", "role": "submit"}).to_string();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..8).map(|_| scope.spawn(|| admin.ask("POST", "/tokens", &body).0)).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    let made = answers.iter().filter(|status| **status == 201).count();
    assert!(made == 1 && answers.iter().all(|status| [201, 409].contains(status)), "{answers:?}");
    assert_eq!(master.get::<Vec<TokenInfo>>("/tokens").len(), 1);
}
