//! Starts masters as processes, and speaks HTTP with them.

use firesteel_common::config::{Config, DEFAULT_TOML};
use firesteel_common::error::ErrorCode;
use firesteel_common::http::{AppStatus, ErrorBody, PluginInfo, SubmitResponse};
use firesteel_common::id::AppId;
use firesteel_master::{MasterOptions, MasterState, read_state, read_token, run_master};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;

const RUN_DIR: &str = "FIRESTEEL_TEST_MASTER_RUN_DIR";
const TEMPORARY: &str = "FIRESTEEL_TEST_MASTER_TEMPORARY";
const QUEUE_MAX: &str = "FIRESTEEL_TEST_MASTER_QUEUE_MAX";
const SET: &str = "FIRESTEEL_TEST_MASTER_SET";
const PARENT_OF: &str = "FIRESTEEL_TEST_MASTER_PARENT_OF";
const READY: &str = "master is ready";

/// What the process does that [`Master::start`] has started.
pub fn run_as_master() {
    let Some(run_dir) = std::env::var_os(RUN_DIR) else { return };
    let mut config: Config = toml::from_str(DEFAULT_TOML).unwrap();
    config.master.plugin_bytes_max = 64 * 1024;
    config.master.queue_max = std::env::var(QUEUE_MAX).unwrap().parse().unwrap();
    for (key, value) in std::env::var(SET).unwrap_or_default().split(' ').filter_map(|s| s.split_once('=')) {
        let value: u64 = value.parse().unwrap();
        match key {
            "ended_max" => config.master.ended_max = value as u32,
            "ended_ms" => config.master.ended_ms = value,
            "plugins_max" => config.master.plugins_max = value as u32,
            "plugins_bytes_max" => config.master.plugins_bytes_max = value,
            "plugin_unused_ms" => config.master.plugin_unused_ms = value,
            _ => panic!("{key}"),
        }
    }
    config.scheduler.heartbeat_ms = 100;
    config.scheduler.reconnect_ms = 200;
    config.scheduler.worker_timeout_ms = 2000;
    let mut options = MasterOptions::new(PathBuf::from(run_dir), config);
    options.temporary = std::env::var_os(TEMPORARY).is_some();
    options.die_with_parent = Some(std::os::unix::process::parent_id());
    options.on_ready = Box::new(|_| println!("\n{READY}"));
    if let Err(error) = run_master(options) {
        println!("\n{error}");
        panic!("{error}");
    }
}

/// What the process does that [`start_parent`] has started: it is the parent of a master until it is killed.
pub fn run_as_parent() {
    let Some(run_dir) = std::env::var_os(PARENT_OF) else { return };
    let _master = Master::start_temporary(Path::new(&run_dir));
    println!("\n{READY}");
    loop {
        std::thread::park();
    }
}

/// A process that has started the master of a temporary cluster. Its standard error closes when both are
/// gone.
pub fn start_parent(run_dir: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["parent_process", "--exact", "--nocapture"]).env(PARENT_OF, run_dir);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == READY));
    child
}

/// A master process; killed when it is dropped.
pub struct Master {
    pid: u32,
    child: Mutex<Child>,
    /// Kept open, since the test harness around the master prints at its end.
    _words: Lines<BufReader<ChildStdout>>,
    /// Where it is.
    pub state: MasterState,
    /// Where everything of it lies.
    pub run_dir: PathBuf,
    token: String,
    agent: ureq::Agent,
}

impl Drop for Master {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(run_dir: &Path, temporary: bool, queue_max: u32) -> Child {
    spawn_with(run_dir, temporary, queue_max, "")
}

fn spawn_with(run_dir: &Path, temporary: bool, queue_max: u32, set: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["master_process", "--exact", "--nocapture"]).env(RUN_DIR, run_dir);
    command.env(QUEUE_MAX, queue_max.to_string()).env(SET, set);
    if temporary {
        command.env(TEMPORARY, "1");
    }
    let is_parent = std::env::var_os(PARENT_OF).is_some();
    let stderr = if is_parent { Stdio::inherit() } else { Stdio::null() };
    command.env_remove(PARENT_OF).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
}

/// Starts a master that does not come up; its last words.
pub fn start_in_vain(run_dir: &Path) -> String {
    let output = spawn(run_dir, false, 3).wait_with_output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

impl Master {
    /// Starts a master and waits until it can be reached.
    pub fn start(run_dir: &Path) -> Self {
        Self::ready(run_dir, spawn(run_dir, false, 3))
    }

    /// The same with settings of its own: `key=number`, with blanks between.
    pub fn start_with(run_dir: &Path, set: &str) -> Self {
        Self::ready(run_dir, spawn_with(run_dir, false, 3, set))
    }

    /// The same, of a temporary cluster.
    pub fn start_temporary(run_dir: &Path) -> Self {
        Self::ready(run_dir, spawn(run_dir, true, 3))
    }

    /// The same, with room for many applications that wait.
    pub fn start_roomy(run_dir: &Path) -> Self {
        Self::ready(run_dir, spawn(run_dir, false, 100_000))
    }

    fn ready(run_dir: &Path, mut child: Child) -> Self {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let Some(line) = lines.next() else { panic!("the master did not start: {said}") };
            let line = line.unwrap();
            if line == READY {
                break;
            }
            said.push_str(&line);
        }
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Self {
            pid: child.id(),
            child: Mutex::new(child),
            _words: lines,
            state: read_state(run_dir).unwrap(),
            run_dir: run_dir.to_owned(),
            token: read_token(run_dir).unwrap(),
            agent: config.new_agent(),
        }
    }

    /// `kill -9`
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().ok();
        child.wait().ok();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(self) -> ExitStatus {
        assert!(Command::new("kill").arg(self.pid.to_string()).status().unwrap().success());
        self.child.lock().unwrap().wait().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/firesteel/v1{path}", self.state.http)
    }

    /// GET: status and body.
    pub fn get_raw(&self, path: &str) -> (u16, Vec<u8>) {
        let request =
            self.agent.get(self.url(path)).header("authorization", format!("Bearer {}", self.token));
        answer(request.call().unwrap())
    }

    /// GET of something that is there.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.get_raw(path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The head of the answer to a GET.
    pub fn head(&self, path: &str) -> String {
        let url = format!("/api/firesteel/v1{path}");
        self.by_hand("GET", &url, "").1
    }

    /// Asks for a path from the root: status and body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, _, body) = self.by_hand(method, path, body);
        (status, body)
    }

    /// Asks for a path from the root: status, head and body.
    pub fn whole(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        self.by_hand(method, path, body)
    }

    fn by_hand(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Host", self.state.http.as_str()), ("Authorization", bearer.as_str())];
        crate::roles::request(self, method, path, &headers, body)
    }

    /// POST: status and body.
    pub fn post(&self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let request =
            self.agent.post(self.url(path)).header("authorization", format!("Bearer {}", self.token));
        answer(request.send(body).unwrap())
    }

    /// DELETE: status and body.
    pub fn delete(&self, path: &str) -> (u16, Vec<u8>) {
        let request =
            self.agent.delete(self.url(path)).header("authorization", format!("Bearer {}", self.token));
        answer(request.call().unwrap())
    }

    /// POST with an idempotency key in the header.
    pub fn post_with_key(&self, path: &str, body: &[u8], key: &str) -> (u16, Vec<u8>) {
        let request =
            self.agent.post(self.url(path)).header("authorization", format!("Bearer {}", self.token));
        answer(request.header("idempotency-key", key).send(body).unwrap())
    }

    /// Uploads a plugin.
    pub fn upload(&self, bytes: &[u8]) -> PluginInfo {
        let (status, body) = self.post("/plugins", bytes);
        assert!(status == 200 || status == 201, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Uploads a plugin under a name.
    pub fn upload_as(&self, bytes: &[u8], name: &str) -> PluginInfo {
        let (status, body) = self.post(&format!("/plugins?name={name}"), bytes);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Submits an application that is accepted.
    pub fn submit(&self, request: &Value) -> SubmitResponse {
        let (status, body) = self.post("/applications", request.to_string().as_bytes());
        assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Submits a SQL text.
    pub fn submit_sql(&self, key: Option<&str>) -> SubmitResponse {
        self.submit(&json!({"sql": "SELECT 1", "idempotency_key": key}))
    }

    /// Submits a SQL text under a key; `None` if the master is gone meanwhile.
    pub fn try_submit_sql(&self, key: &str) -> Option<AppId> {
        let request = json!({"sql": "SELECT 1", "idempotency_key": key}).to_string();
        let url = self.url("/applications");
        let post = self.agent.post(url).header("authorization", format!("Bearer {}", self.token));
        let mut response = post.send(request).ok()?;
        assert_eq!(response.status().as_u16(), 202);
        let response: SubmitResponse =
            serde_json::from_slice(&response.body_mut().read_to_vec().ok()?).ok()?;
        Some(response.app)
    }

    /// Waits for the end of an application.
    pub fn wait(&self, app: AppId) -> AppStatus {
        let status: AppStatus = self.get(&format!("/applications/{app}?wait_ms=20000"));
        assert!(status.state.is_final(), "{status:?}");
        status
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> (u16, Vec<u8>) {
    let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec().unwrap();
    (response.status().as_u16(), body)
}

/// The error of an answer, which must have this status.
pub fn error((status, body): (u16, Vec<u8>), expected: u16) -> (ErrorCode, String) {
    assert_eq!(status, expected, "{}", String::from_utf8_lossy(&body));
    let body: ErrorBody = serde_json::from_slice(&body).unwrap();
    (body.error.code, body.error.to_string())
}
