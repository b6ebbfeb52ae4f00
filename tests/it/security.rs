//! What went wrong in systems like this one, tried on a real cluster: one test for each rule. The table in
//! `docs/security.md` says which incident led to which rule, and where the rules are tested that need no
//! processes.

use crate::{machine, request, setup, stop, until, wordcount};
use firesteel_common::error::ErrorCode;
use firesteel_common::http::{AppStatus, PluginInfo, SubmitRequest, WorkerInfo};
use firesteel_common::id::Incarnation;
use firesteel_common::protocol::VERSION;
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::protocol::hello::{GREETING_LEN, Greeting, Role};
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster};
use firesteel_net::{Key, connect, write_frame};
use firesteel_tests::cluster::Cluster;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any listener lets a stranger stay.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where the routes lie.
const API: &str = "/api/firesteel/v1";

fn start() -> Cluster {
    Cluster::start(&setup()).unwrap()
}

/// Sends bytes and hears the other end out, until it closes.
fn say(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    // Whoever is not listened to may be cut off while it still speaks.
    if stream.write_all(bytes).is_ok()
        && let Err(cause) = stream.read_to_end(&mut answer)
    {
        assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionReset, "{address} keeps a stranger");
    }
    answer
}

/// Sends a request as it is written, with the token or without; status and body.
fn http(cluster: &Cluster, method: &str, path: &str, with_token: bool) -> (u16, String) {
    let host = cluster.http().trim_start_matches("http://");
    let token =
        if with_token { format!("Authorization: Bearer {}\r\n", cluster.token()) } else { String::new() };
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}\r\n");
    let answer = say(host, text.as_bytes());
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("an answer"), body.to_owned())
}

/// The TCP sockets on which a process listens.
fn listening(pid: u32) -> Vec<SocketAddr> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let inodes: BTreeSet<String> = links
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        for line in std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_listening = fields[3] == "0A";
            if is_listening && inodes.contains(fields[9]) {
                let (address, port) = fields[1].split_once(':').unwrap();
                // Four bytes in the machine's order; any other length is no IPv4 address.
                assert_eq!(address.len(), 8, "{address} is listened at");
                let bytes = u32::from_str_radix(address, 16).unwrap().to_le_bytes();
                found.push(SocketAddr::from((bytes, u16::from_str_radix(port, 16).unwrap())));
            }
        }
    }
    found
}

fn audit(cluster: &Cluster) -> String {
    String::from_utf8(cluster.get("/audit?limit=10000").unwrap()).unwrap()
}

/// Every file below a directory, with its length.
fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => drop(found.insert(entry.path(), entry.metadata().map_or(0, |file| file.len()))),
        }
    }
    found
}

#[test]
fn a_default_cluster_listens_on_loopback_only_and_no_listener_serves_a_stranger() {
    let _machine = machine();
    let cluster = start();
    let mut count = 0;
    for pid in cluster.pids() {
        for address in listening(pid) {
            count += 1;
            assert!(address.ip().is_loopback(), "{address} is listened at");
            let probe =
                format!("POST {API}/applications HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            let answer = say(&address.to_string(), probe.as_bytes());
            let is_refusal = answer.is_empty() || answer.starts_with(b"HTTP/1.1 401 ");
            assert!(is_refusal, "{address}: {}", String::from_utf8_lossy(&answer));
        }
    }
    assert!(count >= 4, "control, HTTP and two data ports, not {count}");
    assert_eq!(cluster.get_json::<Vec<AppStatus>>("/applications").unwrap().len(), 0);
    stop(cluster);
}

#[test]
fn no_message_counts_before_the_hello() {
    let _machine = machine();
    let cluster = start();
    let frame = |bytes: &mut Vec<u8>, message: &FromWorker| write_frame(bytes, message).unwrap();
    let mut firsts = vec![b"\x00".repeat(4096), b"\xff".repeat(4096)];
    for message in [
        ToMaster::Register(Registration { host: "intruder".into(), slots: 64, ..Registration::default() }),
        ToMaster::Heartbeat,
        ToMaster::TasksFinished(Vec::new()),
        ToMaster::Draining,
    ] {
        let mut bytes = Vec::new();
        let (epoch, incarnation) = (Default::default(), Incarnation(1));
        frame(&mut bytes, &FromWorker { epoch, incarnation, message });
        firsts.push(bytes);
    }
    let mut finish = Vec::new();
    write_frame(&mut finish, &FromDriver::Finish(Ok(firesteel_common::Payload::empty()))).unwrap();
    firsts.push(finish);
    for mut bytes in firsts {
        // Long enough that nobody waits for the rest of a greeting.
        bytes.resize(bytes.len().max(GREETING_LEN), 0);
        assert!(say(cluster.master(), &bytes).is_empty(), "a stranger is answered");
    }
    let workers: Vec<WorkerInfo> = cluster.get_json("/workers").unwrap();
    assert!(workers.len() == 2 && workers.iter().all(|worker| worker.host != "intruder"));
    until(|| audit(&cluster).contains("control port").then_some(()));
    stop(cluster);
}

#[test]
fn a_worker_of_another_version_is_refused_and_both_versions_are_named() {
    let _machine = machine();
    let cluster = start();
    let greeting = Greeting { version: VERSION + 1, role: Role::Worker, nonce: [7; 32] };
    let answer = say(cluster.master(), &greeting.encode());
    // It is told the version, and nothing else: so that it can name both, as the master does.
    let answer: &[u8; GREETING_LEN] = answer.as_slice().try_into().expect("one greeting");
    assert_eq!(Greeting::decode(answer).map(|greeting| greeting.version), Some(VERSION));
    let log = until(|| {
        let log = std::fs::read_to_string(cluster.run_dir().join("master.log")).ok()?;
        log.contains("VERSION_MISMATCH").then_some(log)
    });
    let line = log.lines().find(|line| line.contains("VERSION_MISMATCH")).unwrap();
    for version in [VERSION, VERSION + 1] {
        assert!(line.contains(&format!("version {version}")), "{line}");
    }
    until(|| audit(&cluster).contains("VERSION_MISMATCH").then_some(()));
    stop(cluster);
}

#[test]
fn a_length_prefix_is_checked_before_memory_is_taken() {
    let _machine = machine();
    let cluster = start();
    let secret = Key::load(&cluster.run_dir().join("secret")).unwrap();
    let rss = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pids()[0])).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = rss();
    for _ in 0..8 {
        // The frame of a peer that has proved the key: four bytes of length, then what a u64 of 2^63 would
        // be.
        let mut stream = connect(cluster.master(), Role::Worker, &secret, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[0xff; 4]).unwrap();
        stream.write_all(&(1_u64 << 63).to_le_bytes()).ok();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
        // A short frame whose message claims a list of 2^63 entries.
        let mut stream = connect(cluster.master(), Role::Worker, &secret, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let message = FromWorker {
            epoch: Default::default(),
            incarnation: Incarnation(1),
            message: ToMaster::TasksFinished(Vec::new()),
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, &message).unwrap();
        let at = frame.len() - 8;
        frame[at..].copy_from_slice(&(1_u64 << 63).to_le_bytes());
        stream.write_all(&frame).unwrap();
        stream.read_to_end(&mut rest).ok();
    }
    assert!(rss() < before + 16 * 1024, "the master took memory: {before} KiB, then {} KiB", rss());
    let nested = "[".repeat(100_000);
    let error = cluster.post("/applications", &serde_json::Value::String(nested.clone())).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
    let host = cluster.http().trim_start_matches("http://");
    let head = format!(
        "POST {API}/applications HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
        Connection: close\r\nContent-Length: {}\r\n\r\n{nested}",
        cluster.token(),
        nested.len()
    );
    let answer = say(host, head.as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(cluster.wait_for_workers(2).unwrap().len(), 2);
    stop(cluster);
}

/// Names that were files elsewhere.
const TRAVERSALS: &[&str] = &[
    "../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "..%5c..%5csecret",
    "..%00",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "file:%2f%2f%2fetc%2fpasswd",
    "http:%2f%2f169.254.169.254%2flatest",
    "app-1%2f..%2f..%2fsecret",
    "..%2fsecret",
    "..%2ftoken",
    "app-1%23%2f..%2f..%2ftoken",
    "app-1%3f%2f..%2f..%2ftoken",
    ".",
    "..",
];

#[test]
fn no_name_of_a_client_becomes_a_path() {
    let _machine = machine();
    let cluster = start();
    let secret = std::fs::read_to_string(cluster.run_dir().join("secret")).unwrap();
    let before = files(cluster.run_dir());
    for (method, route, _) in firesteel_master::route_table() {
        if !route.contains('{') {
            continue;
        }
        for name in TRAVERSALS {
            let start = route.find('{').unwrap();
            let end = route.find('}').unwrap() + 1;
            let path = format!("{}{name}{}", &route[..start], &route[end..]);
            let (status, body) = http(&cluster, &method, &path, true);
            assert!((400..500).contains(&status), "{method} {path}: {status} {body}");
            let tells = body.contains("root:") || body.contains(secret.trim());
            assert!(!tells, "{method} {path}: {body}");
        }
    }
    for name in TRAVERSALS {
        for route in ["logs", "result", "events"] {
            let path = format!("{API}/applications/app-1/{route}?path={name}&url={name}");
            assert!((400..500).contains(&http(&cluster, "GET", &path, true).0), "{path}");
        }
        let token = serde_json::json!({"name": name, "role": "viewer"});
        drop(cluster.post("/tokens", &token));
    }
    let after = files(cluster.run_dir());
    let is_new = |path: &&PathBuf| !before.contains_key(*path);
    let new: Vec<_> = after.keys().filter(is_new).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(!cluster.scratch().join("etc").exists());
    stop(cluster);
}

#[test]
fn no_text_of_a_user_reaches_a_shell() {
    let _machine = machine();
    let cluster = start();
    let canary = cluster.scratch().join("canary");
    let shell =
        format!("$(touch {0})`touch {0}`;touch {0}|touch {0}\ntouch {0}\n'\"&& touch {0}", canary.display());
    let plugin = cluster.upload(&wordcount()).unwrap().hash;
    let mut hostile = request(plugin, "empty_tasks", &[("count", "2")]);
    hostile.name = shell.clone();
    hostile.tags = [("x".to_owned(), shell.clone())].into();
    hostile.idempotency_key = Some("$(touch canary)".to_owned());
    hostile.conf = [("spark.scheduler.pool".to_owned(), shell.clone())].into();
    // Whatever of it is refused is refused; the rest runs.
    drop(cluster.run(&hostile));
    hostile.conf.clear();
    cluster.run(&SubmitRequest { idempotency_key: None, ..hostile.clone() }).unwrap();
    drop(cluster.run(&request(plugin, &shell, &[])));
    drop(cluster.run(&request(plugin, "wordcount", &[("input", &shell), ("output", &shell)])));
    drop(cluster.post("/tokens", &serde_json::json!({"name": shell, "role": "viewer"})));
    assert!(!canary.exists());
    assert!(!files(cluster.run_dir()).keys().any(|path| path.ends_with("canary")));
    stop(cluster);
}

#[test]
fn a_submission_sets_nothing_of_the_server_and_nobody_else_s_identity() {
    let _machine = machine();
    let cluster = start();
    let plugin = cluster.upload(&wordcount()).unwrap().hash;
    for key in [
        "master.http",
        "auth.token",
        "worker.user",
        "firesteel.owner",
        "spark.executor.extraJavaOptions",
        "spark.driver.extraClassPath",
        "spark.executorEnv.LD_PRELOAD",
        "executor.env.LD_PRELOAD",
        "spark.authenticate",
    ] {
        let mut wanted = request(plugin, "empty_tasks", &[("count", "1")]);
        wanted.conf = [(key.to_owned(), "x".to_owned())].into();
        let error = cluster.submit(&wanted).unwrap_err();
        assert!(matches!(error.code, ErrorCode::ConfigInvalid | ErrorCode::Unsupported), "{key}: {error}");
        assert!(error.message.contains(key), "{error}");
    }
    let body =
        serde_json::json!({"plugin": plugin, "entry": "empty_tasks", "args": {"count": "1"}, "owner": "ann"});
    if let Ok(answer) = cluster.post("/applications", &body) {
        let app: firesteel_common::http::SubmitResponse = serde_json::from_slice(&answer).unwrap();
        assert_eq!(cluster.wait(app.app).unwrap().owner, "", "the token says who it is");
    }
    stop(cluster);
}

#[test]
fn the_master_never_loads_a_plugin() {
    let _machine = machine();
    let cluster = start();
    let plugin: PluginInfo = cluster.upload(&wordcount()).unwrap();
    cluster.run(&request(plugin.hash, "empty_tasks", &[("count", "2")])).unwrap();
    for pid in cluster.pids() {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        assert!(!maps.contains(&plugin.hash.to_string()), "process {pid} has loaded the plugin");
        assert!(!maps.contains("libwordcount"), "process {pid} has loaded the plugin");
    }
    stop(cluster);
}

#[test]
fn what_knocks_at_a_data_server_is_in_the_audit_log_and_the_log_can_be_checked() {
    let _machine = machine();
    let cluster = start();
    let workers: Vec<WorkerInfo> = cluster.get_json("/workers").unwrap();
    let wrong = Key::generate().unwrap();
    for _ in 0..20 {
        let refused = connect(&workers[0].address, Role::Fetcher, &wrong, PATIENCE).map(drop).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthenticated);
    }
    let at = format!("data server {}", workers[0].address);
    until(|| audit(&cluster).contains(&at).then_some(()));
    let verify = || cluster.firesteel(&["admin", "audit", "verify"]).unwrap().output().unwrap();
    let good = verify();
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let path = cluster.run_dir().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("Unproved", "Approved", 1)).unwrap();
    let bad = verify();
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success() && said.contains("was changed"), "{said}");
    stop(cluster);
}
