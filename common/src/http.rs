//! What the HTTP daemon and its clients say to each other: plain JSON objects under `/api/firesteel/v1`.

use crate::error::Error;
use crate::id::{AppId, PluginHash, StageId, WorkerId};
use crate::plugin::{Args, Descriptor};
use crate::sandbox::Sandbox;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /plugins` (the body is the file): what was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// Its name.
    pub hash: PluginHash,
    /// Its length.
    pub bytes: u64,
    /// What it was called when it was uploaded; may be empty. For people, and for clients that name it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it says of itself.
    pub descriptor: Descriptor,
}

/// `POST /applications`: what to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// A name for lists; empty takes the entry point's.
    #[serde(default)]
    pub name: String,
    /// The plugin, for an entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginHash>,
    /// The entry point; may be empty if the plugin has only one.
    #[serde(default)]
    pub entry: String,
    /// Its arguments, by name.
    #[serde(default)]
    pub args: Args,
    /// A SQL text, instead of a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The tables of the SQL text: Parquet files or directories by name.
    #[serde(default)]
    pub tables: BTreeMap<String, String>,
    /// Where the driver runs.
    #[serde(default)]
    pub deploy_mode: DeployMode,
    /// A second submission under the same key is the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How it is run: keys of [`crate::options::KEYS`].
    #[serde(default)]
    pub conf: BTreeMap<String, String>,
    /// Names and values of the submitter's own, for finding it again.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Where the driver runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployMode {
    /// On a worker.
    #[default]
    Cluster,
    /// Beside the submitting command.
    Client,
}

/// The answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitResponse {
    /// The application.
    pub app: AppId,
    /// For client mode: what the driver needs to attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_driver: Option<ClientDriver>,
}

/// What a driver beside the submitting command needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientDriver {
    /// The attempt of the application.
    pub attempt: u32,
    /// The address of the master.
    pub master: String,
    /// The key of the application attempt, as hexadecimal digits.
    pub key: String,
    /// The certificate of the cluster's authority, PEM, if connections are TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Whether connections without TLS may leave the machine.
    #[serde(default)]
    pub insecure: bool,
}

/// `GET /applications/{app}`, and an entry of `GET /applications`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// The application.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: AppState,
    /// Which attempt at its driver this is; 0 if none was made.
    pub attempt: u32,
    /// The worker that runs or ran the driver.
    pub driver: Option<WorkerId>,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// Why it failed.
    pub error: Option<Error>,
    /// Bytes of its result, if it succeeded.
    pub result_bytes: Option<u64>,
    /// The name of the token that submitted it; empty for one of the cluster's own.
    #[serde(default)]
    pub owner: String,
    /// The scheduler pool.
    #[serde(default)]
    pub pool: String,
    /// Names and values of the submitter's own.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// `GET /applications/{app}/progress`: how far the jobs of the running driver attempt are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AppProgress {
    /// What the master's clock says now, in milliseconds since 1970.
    #[serde(default)]
    pub now_ms: u64,
    /// The same on the clock of the event log (its `at`), in microseconds.
    #[serde(default)]
    pub at: Timestamp,
    /// Its stages, in the order in which they were added.
    pub stages: Vec<StageProgress>,
    /// Workers and hosts that it leaves out after failures there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<ExcludedPlace>,
}

/// A worker or a host that an application leaves out after failures there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExcludedPlace {
    /// The worker; `None` for all of the host.
    pub worker: Option<WorkerId>,
    /// The name of the host; empty if the worker is lost.
    pub host: String,
    /// The stage that leaves it out; `None` for all stages.
    pub stage: Option<StageId>,
    /// For how long yet, in milliseconds; `None` until the stage ends.
    pub left_ms: Option<u64>,
}

/// How far a stage is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// The stage.
    pub stage: StageId,
    /// Its name.
    pub name: String,
    /// The stages it reads.
    pub inputs: Vec<StageId>,
    /// How many tasks it has.
    pub tasks: u32,
    /// Of these, attempts that run.
    pub running: u32,
    /// Of these, complete ones.
    pub finished: u32,
    /// Attempts that failed or were lost.
    pub failed: u32,
    /// Records that its tasks have read.
    pub records: u64,
    /// Bytes that its tasks have read.
    pub bytes: u64,
}

/// What the holder of a token may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything that holds no secret.
    Viewer,
    /// Submit applications, and end their own.
    Submit,
    /// End any application, and manage workers and tokens.
    Admin,
}

impl Role {
    /// Every one, the one that may do least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Submit, Role::Admin];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Submit => "submit",
            Role::Admin => "admin",
        }
    }
}

/// The life of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppState {
    /// Accepted; waits for room for its driver.
    Waiting,
    /// Its driver runs.
    Running,
    /// It ended with a result.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// It was killed.
    Killed,
}

impl AppState {
    /// Every one, in the order of a life.
    pub const ALL: [AppState; 5] =
        [AppState::Waiting, AppState::Running, AppState::Succeeded, AppState::Failed, AppState::Killed];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            AppState::Waiting => "waiting",
            AppState::Running => "running",
            AppState::Succeeded => "succeeded",
            AppState::Failed => "failed",
            AppState::Killed => "killed",
        }
    }

    /// Whether it will not change any more.
    pub fn is_final(self) -> bool {
        matches!(self, AppState::Succeeded | AppState::Failed | AppState::Killed)
    }
}

/// An entry of `GET /workers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// The worker.
    pub worker: WorkerId,
    /// Its host name.
    pub host: String,
    /// The address of its data server.
    pub address: String,
    /// Task slots.
    pub slots: u32,
    /// Of these, free ones.
    pub slots_free: u32,
    /// Drivers on it.
    pub drivers: u32,
    /// Whether it is connected.
    pub alive: bool,
    /// Whether it takes no further tasks because it is about to stop.
    #[serde(default)]
    pub draining: bool,
    /// The budget of its block store, in bytes.
    #[serde(default)]
    pub memory: u64,
    /// What keeps executors and drivers on it apart from everything else.
    #[serde(default)]
    pub sandbox: Sandbox,
}

/// An entry of `GET /executors`: a process that runs an application's tasks on a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// Its application.
    pub app: AppId,
    /// The attempt at the application's driver that it works for.
    pub attempt: u32,
    /// Its worker.
    pub worker: WorkerId,
    /// The host name of its worker.
    pub host: String,
    /// Its process, as its worker's machine numbers it.
    pub pid: u32,
    /// Since when the master knows of it, in milliseconds since 1970.
    pub started_ms: u64,
    /// Task slots that it may use.
    pub slots: u32,
    /// Task attempts that were given to it and have not ended.
    pub slots_used: u32,
    /// Bytes of memory that it may use; 0 for no bound of its own.
    pub memory: u64,
    /// What keeps it apart from everything else.
    pub sandbox: Sandbox,
}

/// `GET /applications/{app}/logs`: a piece of the output of its processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// The offset to ask for next.
    pub next: u64,
    /// Whether bytes before this piece were dropped because the log was full.
    pub truncated: bool,
    /// Whether nothing will follow.
    pub end: bool,
    /// The text.
    pub text: String,
}

/// An entry of `GET /applications/{app}/logs/sources`: a process that has printed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSource {
    /// Its name: `driver`, or `executor on worker-2`.
    pub source: String,
    /// How many bytes of it there were, with those that were dropped since.
    pub bytes: u64,
}

/// The body of every answer with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: Error,
}

/// An entry of `GET /tokens`: a token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its name, which is that of its holder, too.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was used last, in milliseconds since 1970, since the master started.
    pub last_used_ms: Option<u64>,
}

/// `POST /tokens`: the token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// A name that no other token has.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
}

/// The answer to `POST /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// What it is.
    pub info: TokenInfo,
    /// The token itself. It is told this once; the master keeps its hash.
    pub token: String,
}

/// `GET /whoami`: who the holder of a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name of the token; empty for the cluster's own.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
}

/// The answer to `POST /login-links`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLink {
    /// The path at the daemon that begins a session, once and within a minute.
    pub path: String,
}
