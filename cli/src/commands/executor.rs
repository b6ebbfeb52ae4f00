//! `firesteel executor` (hidden): the process that runs tasks of one application on one worker.

use crate::failure::{Exit, Outcome};

/// Runs until its worker closes the socket on standard input.
pub fn run() -> Outcome<Exit> {
    firesteel_worker::run_executor()?;
    Ok(Exit::Done)
}
