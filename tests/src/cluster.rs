//! A real cluster for tests, benchmarks and the quickstart: a master and workers as processes of the one
//! binary, spoken to over HTTP.
//!
//! Nothing of it outlives the process that started it: every child asks for a parent-death signal, and the
//! master removes the run directory as its last act. What is *not* here: assertions, and anything about the
//! content of a job.

mod server;
mod setup;

pub use setup::{Extra, Setup};

use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::{AppStatus, ErrorBody, PluginInfo, SubmitRequest, SubmitResponse, WorkerInfo};
use firesteel_common::id::{AppId, WorkerId};
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::Process;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one request may wait at the master, in milliseconds.
const WAIT_MS: u64 = 20_000;

/// The binary `firesteel`: `FIRESTEEL_BIN`, or the one beside the running program.
///
/// # Errors
/// `NOT_FOUND` if it was not built.
pub fn binary() -> Result<PathBuf> {
    match std::env::var_os("FIRESTEEL_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => artifact("firesteel"),
    }
}

/// A file that the same build has made (`firesteel`, `libwordcount.so`).
///
/// # Errors
/// `NOT_FOUND` if it was not built.
pub fn artifact(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(|cause| Error::io("finding this program", &cause))?;
    let found = program.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::new(ErrorCode::NotFound, format!("{name} does not lie beside {}", program.display()))
            .with_help("cargo build --release --workspace")
    })
}

/// A running cluster.
pub struct Cluster {
    setup: Setup,
    // Dropped in this order: the master removes the run directory, so it is to be the last.
    workers: Vec<Process>,
    master: Process,
    address: String,
    http: String,
    token: String,
    agent: ureq::Agent,
    run: PathBuf,
    dir: TempDir,
}

impl Cluster {
    /// Starts it and waits until every worker is there.
    ///
    /// # Errors
    /// If a process cannot be started or is not ready in time; with the tail of its log.
    pub fn start(setup: &Setup) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("firesteel-")
            .tempdir()
            .map_err(|cause| Error::io("making a run directory", &cause))?;
        // Not the directory itself: jobs do not see the run directory, and have their files beside it.
        let run = dir.path().join("run");
        let mut writing = setup.clone();
        if !writing.settings.iter().any(|setting| setting.starts_with("worker.data_write=")) {
            writing.settings.push(format!("worker.data_write={}", dir.path().display()));
        }
        let setup = &writing;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&run)
            .map_err(|cause| Error::io("making a run directory", &cause))?;
        let master = spawn_master(setup, &run, None, &[])?;
        let (address, http) = (master.line("master ")?, master.line("http ")?);
        let token = std::fs::read_to_string(run.join("token"))
            .map_err(|cause| Error::io("reading the token", &cause))?;
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_millis(WAIT_MS) + PATIENCE))
            .tls_config(trust(&run)?)
            .build();
        let token = token.trim().to_owned();
        let agent = config.new_agent();
        let mut cluster =
            Self { setup: setup.clone(), master, workers: Vec::new(), address, http, token, agent, run, dir };
        for _ in 0..setup.workers {
            cluster.spawn_worker()?;
        }
        cluster.workers.iter().try_for_each(|worker| worker.worker().map(drop))?;
        Ok(cluster)
    }

    /// A directory for files of jobs. It vanishes with the cluster.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The run directory, which jobs do not see.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// Where the HTTP daemon listens, with its scheme.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Where workers and drivers dial the master.
    pub fn master(&self) -> &str {
        &self.address
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A command of this cluster: `firesteel ARGS…`.
    ///
    /// # Errors
    /// If the binary was not built.
    pub fn firesteel(&self, args: &[&str]) -> Result<Command> {
        let mut command = program()?;
        command.args(args).env("FIRESTEEL_RUN_DIR", self.run_dir());
        Ok(command)
    }

    /// The process ids: the master's first.
    pub fn pids(&self) -> Vec<u32> {
        std::iter::once(&self.master).chain(&self.workers).map(|process| process.pid()).collect()
    }

    /// Kills the master with SIGKILL.
    pub fn kill_master(&mut self) {
        self.master.kill();
    }

    /// Sends the master a signal.
    pub fn signal_master(&mut self, signal: Signal) {
        self.master.signal(signal);
    }

    /// Starts the master again, at the addresses it had.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn restart_master(&mut self) -> Result<()> {
        self.restart_master_with(&[])
    }

    /// The same, with variables in its environment.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn restart_master_with(&mut self, env: &[(&str, String)]) -> Result<()> {
        let http = self.http.trim_start_matches("http://");
        self.master = spawn_master(&self.setup, &self.run, Some((&self.address, http)), env)?;
        self.master.line("http ").map(drop)
    }

    /// Starts one more worker. It is there when `GET /workers` says so.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_worker(&mut self) -> Result<()> {
        self.spawn_worker_with(&Extra::default())
    }

    /// The same, in another way.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_worker_with(&mut self, more: &Extra<'_>) -> Result<()> {
        let name = format!("worker-{}", self.workers.len() + 1);
        let cores = self.setup.cores.to_string();
        let args = [&["worker", "--cores", &cores], more.args].concat();
        let worker = Process::spawn(&name, &self.setup, &self.run, &args, more)?;
        self.workers.push(worker);
        Ok(())
    }

    /// The id that the master has given a worker (counted from 0, in the order of the starts). Waits
    /// for it.
    ///
    /// # Errors
    /// If the worker is not taken in time.
    pub fn worker_id(&self, index: usize) -> Result<WorkerId> {
        let worker = self.workers.get(index).ok_or_else(|| Error::new(ErrorCode::NotFound, "no worker"))?;
        worker.worker()
    }

    /// The process of a worker (counted from 0), if it runs.
    pub fn worker_pid(&mut self, index: usize) -> Option<u32> {
        self.workers.get_mut(index).and_then(|worker| worker.runs().then(|| worker.pid()))
    }

    /// Kills a worker (counted from 0) with SIGKILL.
    pub fn kill_worker(&mut self, index: usize) {
        if let Some(worker) = self.workers.get_mut(index) {
            worker.kill();
        }
    }

    /// Sends a worker (counted from 0) a signal.
    pub fn signal_worker(&mut self, index: usize, signal: Signal) {
        if let Some(worker) = self.workers.get_mut(index) {
            worker.signal(signal);
        }
    }

    /// Waits until a worker (counted from 0) has ended by itself; false if it does not.
    pub fn worker_has_ended(&mut self, index: usize) -> bool {
        self.workers.get_mut(index).is_none_or(Process::has_ended)
    }

    /// Starts one more worker that dials the master at another address, and waits until the master has taken
    /// it.
    ///
    /// # Errors
    /// If it cannot be started, or is not ready in time.
    pub fn spawn_worker_through(&mut self, master: &str) -> Result<()> {
        self.spawn_worker_with(&Extra { args: &["--master", master], ..Extra::default() })?;
        self.worker_id(self.workers.len() - 1).map(drop)
    }

    /// The logs of its processes: a name, and what was written.
    ///
    /// # Errors
    /// `IO` if one cannot be read.
    pub fn logs(&self) -> Result<Vec<(String, String)>> {
        let read = |process: &Process| {
            let bytes = std::fs::read(&process.log)
                .map_err(|cause| Error::io(format!("reading the log of {}", process.name), &cause))?;
            Ok((process.name.clone(), String::from_utf8_lossy(&bytes).into_owned()))
        };
        std::iter::once(&self.master).chain(&self.workers).map(read).collect()
    }

    /// The end of what every process has said, for a failure.
    pub fn tails(&self) -> String {
        let all = std::iter::once(&self.master).chain(&self.workers);
        all.map(|process| format!("--- {}\n{}\n", process.name, process.tail())).collect()
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// If something is left: a process that did not end, or the run directory.
    pub fn stop(mut self) -> Result<()> {
        self.workers.iter_mut().for_each(Process::terminate);
        let mut slow = Vec::new();
        for process in self.workers.iter_mut() {
            if !process.has_ended() {
                slow.push(process.name.clone());
            }
        }
        self.master.terminate();
        if !self.master.has_ended() {
            slow.push("master".into());
        }
        if !slow.is_empty() {
            let message = format!("{} did not end on SIGTERM", slow.join(", "));
            return Err(Error::new(ErrorCode::Internal, message));
        }
        if self.run.exists() {
            let left: Vec<_> = std::fs::read_dir(&self.run)
                .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
                .unwrap_or_default();
            return Err(Error::new(ErrorCode::Internal, format!("the run directory is left, with {left:?}")));
        }
        Ok(())
    }

    /// An answer as bytes.
    ///
    /// # Errors
    /// The master's, or `UNREACHABLE`.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        body(self.agent.get(self.url(path)).header("Authorization", self.bearer()).call())
    }

    /// A JSON answer.
    ///
    /// # Errors
    /// The master's, or `UNREACHABLE`.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        json(&self.get(path)?)
    }

    /// Sends JSON, gets the answer's bytes.
    ///
    /// # Errors
    /// The master's, or `UNREACHABLE`.
    pub fn post<B: Serialize>(&self, path: &str, message: &B) -> Result<Vec<u8>> {
        body(self.agent.post(self.url(path)).header("Authorization", self.bearer()).send_json(message))
    }

    /// Uploads a plugin.
    ///
    /// # Errors
    /// The master's, or `IO` if the file cannot be read.
    pub fn upload(&self, plugin: &Path) -> Result<PluginInfo> {
        let bytes = std::fs::read(plugin)
            .map_err(|cause| Error::io(format!("reading {}", plugin.display()), &cause))?;
        self.upload_bytes(&bytes)
    }

    /// Uploads what claims to be a plugin.
    ///
    /// # Errors
    /// The master's.
    pub fn upload_bytes(&self, bytes: &[u8]) -> Result<PluginInfo> {
        let request = self.agent.post(self.url("/plugins")).header("Authorization", self.bearer());
        json(&body(request.content_type("application/octet-stream").send(bytes))?)
    }

    /// Submits an application.
    ///
    /// # Errors
    /// The master's.
    pub fn submit(&self, request: &SubmitRequest) -> Result<SubmitResponse> {
        json(&self.post("/applications", request)?)
    }

    /// Waits for the end of an application.
    ///
    /// # Errors
    /// The master's. How the application ended is in the status.
    pub fn wait(&self, app: AppId) -> Result<AppStatus> {
        loop {
            let status: AppStatus = self.get_json(&format!("/applications/{app}?wait_ms={WAIT_MS}"))?;
            if status.state.is_final() {
                return Ok(status);
            }
        }
    }

    /// Submits an application, waits for its end and gets its result.
    ///
    /// # Errors
    /// The master's, or the application's.
    pub fn run(&self, request: &SubmitRequest) -> Result<(AppId, Vec<u8>)> {
        let app = self.submit(request)?.app;
        let status = self.wait(app)?;
        match status.error {
            Some(error) => Err(error),
            None => Ok((app, self.get(&format!("/applications/{app}/result"))?)),
        }
    }

    /// The event log of an application, to its end: it is written beside the outcome, not before it.
    ///
    /// # Errors
    /// The master's, `CODEC` if a line is not an event, or `INTERNAL` if the end does not come.
    pub fn events(&self, app: AppId) -> Result<Vec<LoggedEvent>> {
        let deadline = Instant::now() + PATIENCE;
        let mut log: Vec<LoggedEvent> = Vec::new();
        while Instant::now() < deadline {
            let text = self.get(&format!("/applications/{app}/events?from={}&wait_ms=1000", log.len()))?;
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                log.push(json(line)?);
            }
            if log.iter().any(|line| matches!(line.event, AppEvent::AppEnded { .. })) {
                return Ok(log);
            }
        }
        Err(Error::new(ErrorCode::Internal, format!("the event log of {app} has no end")))
    }

    /// Waits until exactly these many workers are alive.
    ///
    /// # Errors
    /// The master's, or `NO_WORKERS` if it takes too long.
    pub fn wait_for_workers(&self, alive: usize) -> Result<Vec<WorkerInfo>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let workers: Vec<WorkerInfo> = self.get_json(&format!("/workers?alive={alive}&wait_ms=200"))?;
            if workers.iter().filter(|worker| worker.alive).count() == alive {
                return Ok(workers);
            }
            if Instant::now() >= deadline {
                return Err(Error::new(
                    ErrorCode::NoWorkers,
                    format!("not {alive} workers in time: {workers:?}"),
                ));
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/firesteel/v1{path}", self.http)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// The authority of the cluster, if it has certificates.
fn trust(run: &Path) -> Result<TlsConfig> {
    let Ok(pem) = std::fs::read(run.join("ca.crt")) else { return Ok(TlsConfig::default()) };
    let certificate = Certificate::from_pem(&pem)
        .map_err(|cause| Error::new(ErrorCode::ConfigInvalid, format!("the authority: {cause}")))?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[certificate]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn spawn_master(
    setup: &Setup,
    dir: &Path,
    addresses: Option<(&str, &str)>,
    env: &[(&str, String)],
) -> Result<Process> {
    let (listen, http) = addresses.unwrap_or((&setup.listen, "127.0.0.1:0"));
    let args = ["master", "--temporary", "--listen", listen, "--http", http];
    Process::spawn("master", setup, dir, &args, &Extra { env, ..Extra::default() })
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|cause| {
        let text = String::from_utf8_lossy(bytes);
        Error::new(ErrorCode::Codec, format!("an answer is not understood: {cause}: {text}"))
    })
}

fn body(response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>> {
    let unreachable =
        |cause: ureq::Error| Error::new(ErrorCode::Unreachable, format!("asking the master: {cause}"));
    let mut response = response.map_err(unreachable)?;
    let bytes = response.body_mut().with_config().limit(u64::MAX).read_to_vec().map_err(unreachable)?;
    if response.status().is_success() {
        return Ok(bytes);
    }
    Err(json::<ErrorBody>(&bytes).map_or_else(|error| error, |body| body.error))
}

/// The binary as a command that no variable of the environment leads to another cluster.
fn program() -> Result<Command> {
    let mut command = Command::new(binary()?);
    forget_clusters(&mut command);
    Ok(command)
}

/// Removes the variables that lead to another cluster.
fn forget_clusters(command: &mut Command) {
    for name in ["FIRESTEEL_MASTER", "FIRESTEEL_TOKEN", "FIRESTEEL_CONFIG", "FIRESTEEL_RUN_DIR"] {
        command.env_remove(name);
    }
}
