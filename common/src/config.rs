//! The configuration as a struct. `config/default.toml` is its reference: every key, with its default and a
//! comment. Reading files and environment is the command line's work.

use crate::sandbox::SandboxMode;
use serde::{Deserialize, Serialize};

/// The text of `config/default.toml`, embedded.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The master.
    pub master: MasterConfig,
    /// Every worker.
    pub worker: WorkerConfig,
    /// The scheduler.
    pub scheduler: SchedulerConfig,
    /// The shuffle.
    pub shuffle: ShuffleConfig,
    /// SQL.
    pub sql: SqlConfig,
    /// Certificates.
    pub tls: TlsConfig,
    /// Fault tokens, for tests.
    pub faults: FaultConfig,
}

/// Settings of the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterConfig {
    /// The address that workers and drivers dial, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// The address of the HTTP daemon, `host:port`; port 0 takes a free one.
    pub http: String,
    /// The names, beside loopback, under which clients reach the HTTP daemon.
    pub hosts: Vec<String>,
    /// The longest plugin that can be uploaded, in bytes.
    pub plugin_bytes_max: u64,
    /// How many plugins are kept.
    pub plugins_max: u32,
    /// How many bytes of plugins are kept.
    pub plugins_bytes_max: u64,
    /// For how long a plugin is kept that nobody uses, in milliseconds; 0 for ever.
    pub plugin_unused_ms: u64,
    /// How many ended applications are kept; 0 for all.
    pub ended_max: u32,
    /// For how long an ended application is kept, in milliseconds; 0 for ever.
    pub ended_ms: u64,
    /// How much of the output of one application is kept for `logs`, in bytes.
    pub log_bytes_max: u64,
    /// Applications that may wait for a driver; a further submission is refused.
    pub queue_max: u32,
}

/// Settings of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// The address of its data server, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Task slots.
    pub cores: u32,
    /// The budget of its block store, in bytes.
    pub memory: u64,
    /// Drivers that run at once.
    pub max_drivers: u32,
    /// How much of the sandbox of drivers and executors must be there.
    pub sandbox: SandboxMode,
    /// What drivers and executors may read.
    pub data_read: Vec<String>,
    /// What they may write beside their own directory; `~/` begins one in the home directory.
    pub data_write: Vec<String>,
    /// Whether they are put into cgroups of their own, where that can be.
    pub cgroups: bool,
    /// The number of the user that they run as, if the worker is root; empty for the worker's own.
    pub user: String,
}

/// Settings of the scheduler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerConfig {
    /// How often a worker sends a heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// After how long without a sign of life a worker is lost, in milliseconds.
    pub worker_timeout_ms: u64,
    /// How long a worker may take to come back after its connection closed, in milliseconds.
    pub reconnect_ms: u64,
    /// How often one task may fail by itself.
    pub task_failures_max: u32,
    /// How often one stage may be recomputed.
    pub stage_attempts_max: u32,
    /// How long a task waits for its preferred place, in milliseconds.
    pub locality_wait_ms: u64,
    /// How long work may wait when there is no worker at all, in milliseconds.
    pub no_workers_timeout_ms: u64,
    /// How often an application's driver may be started again when its worker is lost, or when it dies and is
    /// supervised.
    pub driver_attempts_max: u32,
    /// How long a worker that is to leave may take until nothing of it is needed, in milliseconds.
    pub drain_timeout_ms: u64,
    /// In which order applications get slots.
    pub mode: SchedulerMode,
    /// What pools are entitled to in fair mode; a pool that is not listed has weight 1 and no minimum share.
    pub pools: Vec<PoolConfig>,
}

/// In which order applications get slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerMode {
    /// In the order of their submission.
    Fifo,
    /// By what their pools hold and are entitled to; in one pool in the order of their submission.
    Fair,
}

/// What a scheduler pool is entitled to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Its name, as `spark.scheduler.pool` of a submission says it.
    pub name: String,
    /// How much it gets compared with others.
    pub weight: u32,
    /// Task slots that it gets before others get more.
    #[serde(default)]
    pub min_share: u32,
}

/// Settings of the shuffle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleConfig {
    /// How segments of the same machine are read.
    pub same_host: SameHost,
}

/// How segments of the same machine are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameHost {
    /// Own worker's and other workers' segments on this host are mapped where possible.
    Map,
    /// Other workers' segments are fetched over TCP, as if they were elsewhere.
    Tcp,
}

/// Settings of SQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// Partitions after an exchange, for each task slot of the cluster.
    pub partitions_per_slot: u32,
}

/// Certificates, as paths of PEM files; all empty (the default) means no TLS, and loopback only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate of the cluster's authority.
    pub ca: String,
    /// The certificate of this process's role.
    pub cert: String,
    /// The key of that certificate, readable for its owner only.
    pub key: String,
    /// Whether connections may leave this machine without TLS.
    pub insecure_i_know: bool,
}

/// Settings of fault tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// The directory that is searched for tokens; empty (the default) means that there are no faults.
    pub dir: String,
}
