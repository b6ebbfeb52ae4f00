//! What a master is started with, and what its run directory tells those who look for it.
//!
//! The files of a run directory: `secret` and `token` (0600), `master.json` ([`MasterState`]), `master.lock`,
//! `journal.redb`, `plugins/<hash>`, `results/<app>`, `events/<app>.jsonl`.

use firesteel_common::config::Config;
use firesteel_common::{Error, ErrorCode};
use firesteel_net::key::Key;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What a master is started with.
pub struct MasterOptions {
    /// The checked configuration.
    pub config: Config,
    /// Where it keeps everything; made (0700) if it does not exist. Two masters never share one.
    pub run_dir: PathBuf,
    /// Whether the run directory is removed as the last thing, as that of a temporary cluster is.
    pub temporary: bool,
    /// The process whose death ends this one by SIGTERM, if there is one; it must be the parent. The thread
    /// that spawned this process must live as long as the master shall.
    pub die_with_parent: Option<u32>,
    /// Called once, when the master can be reached.
    pub on_ready: Box<dyn FnOnce(&MasterState) + Send>,
}

impl MasterOptions {
    /// Options for a master that lives by itself and keeps its run directory.
    pub fn new(run_dir: impl Into<PathBuf>, config: Config) -> Self {
        let run_dir = run_dir.into();
        Self { config, run_dir, temporary: false, die_with_parent: None, on_ready: Box::new(|_| ()) }
    }
}

/// What `master.json` says; it exists while a master runs (and after one was killed, until the next starts).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterState {
    /// The process.
    pub pid: u32,
    /// The version of Firesteel.
    pub version: String,
    /// The address that workers and drivers dial, `host:port`.
    pub master: String,
    /// The address of the HTTP daemon, `host:port`.
    pub http: String,
    /// Whether both speak TLS; the authority's certificate then lies in `ca.crt` of the run directory.
    #[serde(default)]
    pub tls: bool,
    /// How often a master has started on this run directory.
    pub epoch: u64,
}

/// The name of the authority's certificate in a run directory, if the master speaks TLS.
pub const AUTHORITY_FILE: &str = "ca.crt";
/// The name of the state file in a run directory.
pub(crate) const STATE_FILE: &str = "master.json";
/// The name of the token's file in a run directory.
pub(crate) const TOKEN_FILE: &str = "token";
/// The name of the cluster secret's file in a run directory.
pub(crate) const SECRET_FILE: &str = "secret";

/// Reads where the master of a run directory listens.
///
/// # Errors
/// `UNREACHABLE` if no master has said so; `IO` or `CODEC` if the file cannot be read.
pub fn read_state(run_dir: &Path) -> Result<MasterState, Error> {
    let path = run_dir.join(STATE_FILE);
    let text = std::fs::read(&path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorCode::Unreachable, format!("no master runs in {}", run_dir.display()))
                .with_help("start one with `firesteel master`, or name its run directory with --run-dir")
        }
        _ => Error::io(format_args!("reading {}", path.display()), &cause),
    })?;
    serde_json::from_slice(&text)
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("reading {}: {cause}", path.display())))
}

/// Reads the bearer token of the HTTP daemon of a run directory.
///
/// # Errors
/// `IO` if the file cannot be read; an error of [`Key::load`] if others could read it too.
pub fn read_token(run_dir: &Path) -> Result<String, Error> {
    Ok(Key::load(&run_dir.join(TOKEN_FILE))?.to_hex())
}
