//! The executor process: runs the tasks of one application for one worker, over the socket that is its
//! standard input. Whatever crashes here takes only its running attempts along.

mod answers;
mod buffers;
mod damage;
mod engine;
mod fetch;
mod flight;
mod held;
mod host;
mod inputs;
mod mapped;
mod memory;
mod output;
mod peer;
mod places;
mod plan;
mod reports;
mod signal;
mod spool;
mod task;
mod task_io;
#[cfg(test)]
mod tests;
mod trim;

use crate::isolate;
use engine::BuiltIn;
use firesteel_common::protocol::executor::{FromExecutor, ToExecutor};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::fds::fd_channel;
use host::Host;
use std::os::unix::net::UnixStream;

/// Runs an executor until its worker closes the socket. Returns when nothing more can come; attempts that
/// still run end with the process.
///
/// # Errors
/// If it was not started by a worker, or the socket breaks.
pub fn run_executor() -> Result<()> {
    if !isolate::child()? {
        return Ok(());
    }
    let (worker, mut messages) = fd_channel(UnixStream::from(isolate::take_stdin()?))?;
    let setup = match messages.recv::<ToExecutor>()? {
        Some((ToExecutor::Start(setup), _)) => setup,
        Some(_) => return Err(Error::new(ErrorCode::Internal, "an executor was not told its setup first")),
        None => return Ok(()),
    };
    let engines = Box::new(BuiltIn::load(&setup));
    let host = Host::new(setup, worker, engines);
    host.worker.send(&FromExecutor::Ready, None)?;
    host.serve(messages)
}
