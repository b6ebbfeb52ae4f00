//! The driver of client mode: a child of this command. The command itself never loads a plugin.

use super::request::Plugin;
use crate::failure::{Failure, Outcome};
use crossbeam::channel::{Receiver, bounded};
use firesteel_common::config::SqlConfig;
use firesteel_common::http::{ClientDriver, SubmitRequest};
use firesteel_common::id::{AppAttemptId, AppId};
use firesteel_common::protocol::worker::DriverProgram;
use firesteel_net::Trust;
use firesteel_worker::driver::{DriverSetup, write_setup};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a driver may take to end by itself once its application has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A driver that runs.
pub struct RunningDriver {
    pid: u32,
    /// Hears once how it ended.
    pub ended: Receiver<String>,
    /// When this closes, the driver ends.
    life_line: Option<UnixStream>,
}

/// Starts the driver of an application and tells it what to run.
pub fn start(
    app: AppId,
    place: &ClientDriver,
    request: &SubmitRequest,
    plugin: Option<&Plugin>,
    sql: SqlConfig,
) -> Outcome<RunningDriver> {
    let setup = DriverSetup {
        master: place.master.clone(),
        trust: Trust { authority: place.authority.clone(), insecure: place.insecure },
        app: AppAttemptId { app, attempt: place.attempt },
        key_hex: place.key.clone(),
        output_mark: String::new(),
        plugin: plugin.map(|plugin| (plugin.hash, plugin.path.display().to_string())),
        program: program(request),
        sql,
    };
    let mut driver = spawn().map_err(|cause| Failure::io("starting the driver", &cause))?;
    if let Some(life_line) = &mut driver.life_line {
        write_setup(life_line, &setup)?;
    }
    Ok(driver)
}

fn program(request: &SubmitRequest) -> DriverProgram {
    match (&request.sql, request.plugin) {
        (None, Some(plugin)) => {
            DriverProgram::Plugin { plugin, entry: request.entry.clone(), args: request.args.clone() }
        }
        (text, _) => {
            DriverProgram::Sql { text: text.clone().unwrap_or_default(), tables: request.tables.clone() }
        }
    }
}

fn spawn() -> std::io::Result<RunningDriver> {
    let (life_line, its_end) = UnixStream::pair()?;
    // What the driver prints is talk, so its output becomes this command's stderr.
    let stderr = || std::io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
    let mut child = Command::new(std::env::current_exe()?)
        .arg("driver")
        .stdin(OwnedFd::from(its_end))
        .stdout(stderr()?)
        .stderr(stderr()?)
        .process_group(0)
        .spawn()?;
    let (sender, ended) = bounded(1);
    let pid = child.id();
    std::thread::Builder::new().name("driver".into()).spawn(move || {
        let how = child.wait().map_or_else(|cause| cause.to_string(), |status| status.to_string());
        let _ = sender.send(how);
    })?;
    Ok(RunningDriver { pid, ended, life_line: Some(life_line) })
}

impl RunningDriver {
    /// Waits for its end, and brings it about if it does not come.
    pub fn finish(&mut self) {
        if self.ended.recv_timeout(PATIENCE).is_ok() {
            return;
        }
        self.life_line = None;
        if self.ended.recv_timeout(PATIENCE).is_err() {
            let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
