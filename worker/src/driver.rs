//! The driver process: reads what it shall run, connects to the master, runs it, and reports the outcome.

use firesteel_common::Result;
use firesteel_common::config::SqlConfig;
use firesteel_common::id::{AppAttemptId, PluginHash};
use firesteel_common::protocol::worker::DriverProgram;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// What a driver is told at birth: one frame on its standard input. The other end of the descriptor stays open as
/// long as the parent lives; when it closes, the driver exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverSetup {
    /// The address of the master, `host:port`.
    pub master: String,
    /// The application attempt.
    pub app: AppAttemptId,
    /// The key of the application attempt, in hexadecimal digits.
    pub key_hex: String,
    /// The plugin, as a path on this machine; `None` for SQL.
    pub plugin: Option<(PluginHash, String)>,
    /// What to run.
    pub program: DriverProgram,
    /// Settings of SQL.
    pub sql: SqlConfig,
}

/// Tells a driver what it shall run.
///
/// # Errors
/// If the frame cannot be written.
pub fn write_setup(to: &mut impl Write, setup: &DriverSetup) -> Result<()> {
    firesteel_net::frame::write_frame(to, setup)
}

/// Runs the driver whose [`DriverSetup`] waits on its standard input, to its end.
///
/// # Errors
/// The application's error, which the master was told too if it could be reached.
pub fn run_driver() -> Result<()> {
    Err(firesteel_common::Error::new(firesteel_common::ErrorCode::Unsupported, "drivers are not wired yet"))
}
