//! What a worker process is started with.

use firesteel_common::Result;
use firesteel_common::config::Config;
use firesteel_common::id::WorkerId;
use firesteel_net::key::Key;
use std::path::PathBuf;

/// Everything that a worker needs to know at its start.
pub struct WorkerOptions {
    /// The master's control address, `host:port`. `None` takes what `master.json` in the run directory says,
    /// read again at every dial.
    pub master: Option<String>,
    /// The run directory; `worker-<incarnation>/` is made in it and removed at the end.
    pub run_dir: PathBuf,
    /// The cluster secret.
    pub key: Key,
    /// The settings; `worker`, `shuffle`, `sql`, `scheduler` and `faults` are read.
    pub config: Config,
    /// The host name for locality.
    pub host: String,
    /// The process id of the parent whose death ends this worker too (`firesteel local`); `None` for a worker
    /// that stands alone.
    pub die_with_parent: Option<u32>,
    /// Called once, when the master has registered this worker for the first time.
    pub on_ready: Box<dyn FnOnce(WorkerId) + Send>,
}

/// Runs a worker until it is told to stop (SIGTERM, SIGINT), its parent dies, or the master refuses it.
///
/// # Errors
/// When it cannot start (address, directory), and `VERSION_MISMATCH` or what the master said when it was
/// refused.
pub fn run_worker(options: WorkerOptions) -> Result<()> {
    crate::shell::run(options)
}
