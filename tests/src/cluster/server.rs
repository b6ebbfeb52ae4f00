//! One server process of a cluster: its start, the lines it prints, its log, and its end. What a cluster is
//! made of is not known here.

use super::{Extra, PATIENCE, Setup, binary, forget_clusters, program};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::WorkerId;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

/// How many lines of a process's log are shown when it was not ready.
const TAIL: usize = 20;

/// A server process.
pub(super) struct Process {
    /// Its name, which is that of its log, too.
    pub(super) name: String,
    child: Child,
    lines: Receiver<String>,
    /// Where it writes what it says on standard error.
    pub(super) log: PathBuf,
    worker: OnceLock<WorkerId>,
}

impl Process {
    /// Starts it.
    pub(super) fn spawn(
        name: &str,
        setup: &Setup,
        dir: &Path,
        args: &[&str],
        more: &Extra<'_>,
    ) -> Result<Self> {
        let failed = |cause: &std::io::Error| Error::io(format!("starting {name}"), cause);
        let log = dir.join(format!("{name}.log"));
        let mut command = match more.netns {
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns]).arg(binary()?);
                forget_clusters(&mut command);
                command
            }
            None => program()?,
        };
        command.args(args).arg("--run-dir").arg(dir);
        let role = args.first().copied().unwrap_or_default();
        let settings = setup.settings.iter().map(|setting| setting.replace("{role}", role));
        command.args(settings.flat_map(|setting| ["--set".to_owned(), setting]));
        if !more.free {
            command.args(["--die-with-parent", &std::process::id().to_string()]);
        }
        let mut child = command
            .envs(more.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(|cause| failed(&cause))?)
            .spawn()
            .map_err(|cause| failed(&cause))?;
        let (sender, lines) = sync_channel(64);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                    let _ = sender.try_send(line);
                }
            });
        }
        Ok(Self { name: name.to_owned(), child, lines, log, worker: OnceLock::new() })
    }

    /// What follows `word` on the next line that begins with it.
    pub(super) fn line(&self, word: &str) -> Result<String> {
        loop {
            let what = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => match line.strip_prefix(word) {
                    Some(rest) => return Ok(rest.trim().to_owned()),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => "was not ready in time",
                Err(RecvTimeoutError::Disconnected) => "ended before it was ready",
            };
            let message = format!("{} {what}", self.name);
            return Err(Error::new(ErrorCode::ProcessDied, message).with_detail(self.tail()));
        }
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The id that the master has given this worker; waits for it.
    pub(super) fn worker(&self) -> Result<WorkerId> {
        if let Some(worker) = self.worker.get() {
            return Ok(*worker);
        }
        let line = self.line("worker ")?;
        let worker = line.parse().map_err(|cause| {
            Error::new(ErrorCode::Codec, format!("{} said that it is '{line}': {cause}", self.name))
        })?;
        Ok(*self.worker.get_or_init(|| worker))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has said on standard error.
    pub(super) fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Whether it runs.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal, if it runs.
    pub(super) fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended, at the latest after [`PATIENCE`].
    pub(super) fn has_ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        // Its output ends when it does.
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        if Instant::now() >= deadline {
            self.kill();
            return false;
        }
        let _ = self.child.wait();
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that failed in the middle leaves nothing either; the master removes its directory on
        // SIGTERM. One that was stopped must go on before it can end.
        self.signal(Signal::CONT);
        self.terminate();
        let _ = self.has_ended();
    }
}
