//! The driver process: reads what it shall run, connects to the master, runs it, and reports the outcome.

use crate::isolate;
use crate::plugin::{Plugin, Writer};
use firesteel_common::config::SqlConfig;
use firesteel_common::id::{AppAttemptId, PluginHash};
use firesteel_common::job::JobRunner;
use firesteel_common::protocol::codec::FRAME_LEN_MAX;
use firesteel_common::protocol::worker::DriverProgram;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use firesteel_net::frame::{read_frame, write_frame};
use firesteel_net::{Key, RemoteJobRunner, Transport, Trust};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::fs::File;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// The exit code of a driver whose parent is gone, or that was told to stop.
const STOPPED: i32 = 1;

/// What a driver is told at birth: one frame on its standard input. The other end of the descriptor stays
/// open as long as the parent lives; when it closes, the driver exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverSetup {
    /// The address of the master, `host:port`.
    pub master: String,
    /// How it and the workers are reached.
    pub trust: Trust,
    /// The application attempt.
    pub app: AppAttemptId,
    /// The key of the application attempt, in hexadecimal digits.
    pub key_hex: String,
    /// The mark of the application in its outputs (`Key::output_mark`); empty if no attempt follows this one.
    pub output_mark: String,
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
    write_frame(to, setup)
}

/// Runs the driver whose [`DriverSetup`] waits on its standard input, to its end.
///
/// # Errors
/// The application's error, which the master was told too if it could be reached.
pub fn run_driver() -> Result<()> {
    if !isolate::child()? {
        return Ok(());
    }
    let mut parent = File::from(isolate::take_stdin()?);
    let setup: DriverSetup = read_frame(&mut parent, FRAME_LEN_MAX)?.ok_or_else(|| {
        Error::new(ErrorCode::Internal, "a driver was started without being told what to run")
    })?;
    exit_with(parent)?;
    let (transport, key) = (Transport::trusting(&setup.trust)?, Key::from_hex(&setup.key_hex)?);
    let runner = RemoteJobRunner::connect_over(transport, &setup.master, setup.app, key)?;
    // The job's code may be anywhere when the application is killed, and nothing of it is needed any more.
    runner.on_kill(|_| std::process::exit(STOPPED));
    let outcome = run_program(&setup, runner.clone());
    let failed = outcome.as_ref().err().cloned();
    match runner.finish(outcome) {
        Err(error) if error.code == ErrorCode::TooLarge => {
            let error = error.with_help("save large results as files, and answer with what they are called");
            runner.finish(Err(error.clone()))?;
            Err(error)
        }
        finished => finished.and_then(|()| failed.map_or(Ok(()), Err)),
    }
}

/// Ends the process when the other end of `parent` closes: nobody would hear of the outcome.
fn exit_with(mut parent: File) -> Result<()> {
    let wait = move || {
        let mut byte = [0];
        loop {
            match parent.read(&mut byte) {
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                // The parent says nothing after the setup; whatever else it says is not for us.
                Ok(read) if read > 0 => {}
                _ => std::process::exit(STOPPED),
            }
        }
    };
    let spawned = std::thread::Builder::new().name("parent".to_owned()).spawn(wait);
    spawned.map(drop).map_err(|cause| Error::io("starting a thread", &cause))
}

/// Runs what the driver is for. A panic becomes its error.
fn run_program(setup: &DriverSetup, runner: Arc<dyn JobRunner>) -> Result<Payload> {
    catch_unwind(AssertUnwindSafe(|| match &setup.program {
        DriverProgram::Plugin { plugin, entry, args } => {
            let path = match &setup.plugin {
                Some((hash, path)) if hash == plugin => path,
                _ => return Err(Error::new(ErrorCode::Internal, "a driver was started without its plugin")),
            };
            let writer = Writer { app: setup.app, mark: setup.output_mark.clone() };
            Plugin::load(Path::new(path), *plugin)?.run_entry(writer, entry, args, runner)
        }
        DriverProgram::Sql { text, tables } => firesteel_sql::run_sql(text, tables, &setup.sql, runner),
    }))
    .unwrap_or_else(|panic| Err(panic_error(&*panic)))
}

fn panic_error(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "a panic without a message".to_owned());
    Error::new(ErrorCode::Panicked, format!("the driver panicked: {text}"))
}
