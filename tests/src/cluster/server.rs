//! One server process of a cluster: its start, the lines it prints, its log, and its end. What a cluster is
//! made of is not known here.

use super::{PATIENCE, Setup, program};
use firesteel_common::error::{Error, ErrorCode, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

/// How many lines of a process's log are shown when it was not ready.
const TAIL: usize = 20;

/// A server process.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) child: Child,
    lines: Receiver<String>,
    pub(super) log: PathBuf,
}

impl Process {
    pub(super) fn spawn(name: &str, setup: &Setup, dir: &Path, args: &[&str]) -> Result<Self> {
        let failed = |cause: &std::io::Error| Error::io(format!("starting {name}"), cause);
        let log = dir.join(format!("{name}.log"));
        let mut command = program()?;
        command.args(args).arg("--run-dir").arg(dir);
        let role = args.first().copied().unwrap_or_default();
        let settings = setup.settings.iter().map(|setting| setting.replace("{role}", role));
        command.args(settings.flat_map(|setting| ["--set".to_owned(), setting]));
        let mut child = command
            .args(["--die-with-parent", &std::process::id().to_string()])
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
        Ok(Self { name: name.to_owned(), child, lines, log })
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
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            return Err(Error::new(ErrorCode::ProcessDied, format!("{} {what}", self.name)).with_detail(tail));
        }
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn terminate(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
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
        // SIGTERM.
        self.terminate();
        let _ = self.has_ended();
    }
}
