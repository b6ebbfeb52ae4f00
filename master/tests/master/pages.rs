//! The pages at their doors: what they may load, who logs in, and what a session may do.

use crate::harness::Master;
use crate::roles::{admin, request};
use firesteel_common::http::{LoginLink, Role};
use serde_json::Value;

/// The status, the head and the body of an answer to a request without a token.
fn open(master: &Master, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let host = ("Host", master.state.http.as_str());
    request(master, method, path, &[&[host], headers].concat(), "")
}

/// A cookie of somebody who may do what `role` allows.
fn log_in(master: &Master, token: &str) -> String {
    let bearer = format!("Bearer {token}");
    let path = "/api/firesteel/v1/login-links";
    let (status, _, body) = open(master, "POST", path, &[("Authorization", &bearer)]);
    assert_eq!(status, 201, "{body}");
    let link: LoginLink = serde_json::from_str(&body).unwrap();
    let (status, head, _) = open(master, "GET", &link.path, &[]);
    assert_eq!(status, 303, "{head}");
    assert_eq!(open(master, "GET", &link.path, &[]).0, 401, "a link counts once");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn pages_load_nothing_but_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    for path in ["/ui/", "/ui/app.js", "/ui/app.css"] {
        let (status, head, body) = open(&master, "GET", path, &[]);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
        assert!(head.contains("nosniff") && head.contains("no-referrer"), "{head}");
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "//cdn", "<style"]
        {
            assert!(!body.contains(word), "{path} contains {word}");
        }
    }
    assert_eq!(open(&master, "GET", "/ui/../token", &[]).0, 401);
    assert_eq!(open(&master, "GET", "/ui/login?code=x", &[]).0, 401);
    assert_eq!(open(&master, "GET", "/ui/", &[("Host", "evil.example")]).0, 400);
}

#[test]
fn a_session_may_what_its_token_may_and_changes_nothing_for_a_foreign_page() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let admin = admin(&master, dir.path());
    let viewer = log_in(&master, &admin.make("eve", Role::Viewer).token);
    let cookie = log_in(&master, &admin.token);
    let api = "/api/firesteel/v1";
    let ask = |cookie: &str, method: &str, path: &str, more: &[(&str, &str)]| {
        open(&master, method, &format!("{api}{path}"), &[&[("Cookie", cookie)], more].concat())
    };
    let (status, _, body) = ask(&viewer, "GET", "/whoami", &[]);
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["role"], "viewer");
    assert_eq!(ask(&viewer, "GET", "/tokens", &[]).0, 403);
    assert_eq!(ask(&cookie, "GET", "/tokens", &[]).0, 200);
    assert_eq!(ask("firesteel_session=00", "GET", "/whoami", &[]).0, 401);
    master.submit_sql(None);
    let kill = "/applications/app-1/kill";
    assert_eq!(ask(&cookie, "POST", kill, &[]).0, 403, "a form of another page cannot set a header");
    let foreign = [("X-Firesteel-Page", "1"), ("Origin", "http://evil.example")];
    assert_eq!(ask(&cookie, "POST", kill, &foreign).0, 400);
    assert_eq!(ask(&cookie, "POST", kill, &[("X-Firesteel-Page", "1")]).0, 202);
    assert_eq!(admin.ask("DELETE", "/tokens/eve", "").0, 204);
    assert_eq!(ask(&viewer, "GET", "/whoami", &[]).0, 401, "without its token a session is over");
}
