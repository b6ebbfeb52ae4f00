//! The driver process: reads what it shall run, connects to the master, runs it, and reports the outcome.

use firesteel_common::Result;
use firesteel_common::config::SqlConfig;
use firesteel_common::protocol::worker::DriverLaunch;
use serde::{Deserialize, Serialize};

/// What a driver is told at birth: one frame on descriptor 3. The other end of the descriptor stays open as long
/// as the parent lives; when it closes, the driver exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverSetup {
    /// The application attempt and what it runs.
    pub launch: DriverLaunch,
    /// The address of the master, `host:port`.
    pub master: String,
    /// The key of the application attempt, in hexadecimal digits.
    pub key: String,
    /// The plugin as a path on this machine; `None` for SQL.
    pub plugin: Option<String>,
    /// Settings of SQL.
    pub sql: SqlConfig,
    /// The directory of fault tokens; `None` outside tests.
    pub faults: Option<String>,
}

/// Runs the driver whose [`DriverSetup`] waits on descriptor 3, to its end.
///
/// # Errors
/// The application's error, which the master was told too if it could be reached.
pub fn run_driver() -> Result<()> {
    Err(firesteel_common::Error::new(firesteel_common::ErrorCode::Unsupported, "drivers are not wired yet"))
}
