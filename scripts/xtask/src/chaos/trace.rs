//! `strace` as a source of faults: system calls of a running process that are slow, or fail.

use super::lab::{signal, until};
use super::proc;
use crate::failed;
use firesteel_common::error::{Error, Result};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A process whose system calls are disturbed, until the value goes.
pub struct Trace {
    child: Child,
    log: PathBuf,
    /// Hangs up when the value goes; then the thread ends.
    watch: Option<(Sender<()>, JoinHandle<()>)>,
}

/// How often it is looked for processes that strace has forgotten.
const LOOK: Duration = Duration::from_millis(500);

/// Ends strace when a process that it traces has been dead for two looks: it sometimes misses the end of a
/// thread, and whoever waits for that process would wait for ever.
fn watch(strace: u32, stop: &Receiver<()>) {
    let mut before = BTreeSet::new();
    while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let dead: BTreeSet<u32> = proc::ended_under(strace).into_iter().collect();
        if dead.intersection(&before).next().is_some() {
            signal(strace, Signal::KILL);
            return;
        }
        before = dead;
    }
}

impl Trace {
    /// Whether that is possible here.
    pub fn is_possible() -> bool {
        crate::cargo::has("strace")
    }

    /// Disturbs a process and what it starts: `inject` as strace writes it (`fsync:delay_enter=300000`),
    /// calls on one file only if it is named.
    ///
    /// # Errors
    /// If strace does not come to trace it.
    pub fn attach(pid: u32, inject: &str, path: Option<&Path>, log: &Path) -> Result<Self> {
        let calls = inject.split(':').next().unwrap_or_default();
        let said = log.with_extension("said");
        let stderr = File::create(&said).map_err(|cause| Error::io("making a log", &cause))?;
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={inject}"), "-o"]).arg(log);
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let child = child.map_err(|cause| Error::io("starting strace", &cause))?;
        let (stop, stopped) = channel();
        let strace = child.id();
        let watcher = std::thread::spawn(move || watch(strace, &stopped));
        let mut trace = Self { child, log: log.to_owned(), watch: Some((stop, watcher)) };
        until("strace traces", || {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            if !matches!(trace.child.try_wait(), Ok(None)) {
                return Err(failed(format!("strace has ended: {}", text.trim())));
            }
            Ok(text.contains("attached").then_some(()))
        })?;
        Ok(trace)
    }

    /// How many calls were disturbed so far.
    pub fn injected(&self) -> u64 {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count() as u64
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some((stop, watcher)) = self.watch.take() {
            drop(stop);
            let _ = watcher.join();
        }
        // On SIGTERM it lets go of what it traces.
        signal(self.child.id(), Signal::TERM);
        let _ = self.child.wait();
    }
}
