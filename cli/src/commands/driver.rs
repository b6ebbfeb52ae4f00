//! `firesteel driver` (hidden): the process that runs an entry point. Its setup comes on standard input.

use crate::failure::{Exit, Outcome};

/// Runs it to its end. What the entry point returns goes to the master, never through an exit code.
pub fn run() -> Outcome<Exit> {
    match firesteel_worker::driver::run_driver() {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            // The master knows it, and tells whoever waits; here it is only for a closer look.
            tracing::info!(%error, "the driver ended");
            Ok(Exit::ApplicationFailed)
        }
    }
}
