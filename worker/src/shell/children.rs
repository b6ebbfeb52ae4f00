//! Child processes: started by one permanent thread (the signal of a parent's death follows the thread that
//! started the child), watched by a thread each, and taken down with everything in their process group.

use super::mailbox::Slot;
use super::output::Outputs;
use crate::isolate::PARENT_VARIABLE;
use crossbeam::channel::{Sender, bounded};
use firesteel_common::id::AppAttemptId;
use firesteel_common::{Error, ErrorCode, Result};
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Children that wait to be started at most.
const QUEUE_LEN: usize = 256;

/// What to start.
pub struct Launch {
    /// Whose child it is.
    pub app: AppAttemptId,
    /// The subcommand, which is also what its output is called: `executor` or `driver`.
    pub role: &'static str,
    /// Its standard input: the end of a socket pair.
    pub stdin: OwnedFd,
    /// Its private directory.
    pub directory: PathBuf,
    /// What it needs in its environment beyond what every child gets.
    pub environment: Vec<(&'static str, String)>,
    /// Its handle.
    pub process: Arc<Process>,
    /// Called once it has ended and nothing of its group runs any more; with how it ended, in words.
    pub on_exit: Box<dyn FnOnce(String) + Send>,
}

/// A child process, from the wish to start it to its end.
#[derive(Default)]
pub struct Process {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Starting,
    /// It was to be stopped before it was started.
    Unwanted(Signal),
    Running(Pid),
    Ended,
}

impl Process {
    /// Sends a signal to the whole process group, now or as soon as there is one.
    pub fn signal(&self, signal: Signal) {
        let mut state = self.state.lock();
        match &*state {
            State::Starting | State::Unwanted(_) => *state = State::Unwanted(signal),
            // The leader is not reaped yet, so the number is still that of its group.
            State::Running(group) => send(*group, signal),
            State::Ended => {}
        }
    }

    /// Waits for its end until `deadline`; `false` if it still runs then.
    pub fn wait(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while !matches!(*state, State::Ended) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return matches!(*state, State::Ended);
            }
        }
        true
    }

    /// SIGTERM, and SIGKILL if it still runs after `grace`. Waits that long at most.
    pub fn stop(&self, grace: Duration) {
        self.signal(Signal::TERM);
        if !self.wait(Instant::now() + grace) {
            self.signal(Signal::KILL);
        }
    }

    fn started(&self, group: Pid) {
        let mut state = self.state.lock();
        if let State::Unwanted(signal) = *state {
            send(group, signal);
        }
        *state = State::Running(group);
    }

    fn ended(&self) {
        *self.state.lock() = State::Ended;
        self.changed.notify_all();
    }
}

fn send(group: Pid, signal: Signal) {
    if let Err(cause) = kill_process_group(group, signal) {
        tracing::debug!("signalling process group {}: {cause}", group.as_raw_nonzero());
    }
}

/// Starts children.
#[derive(Clone)]
pub struct Nursery {
    queue: Sender<Launch>,
}

impl Nursery {
    /// Starts the thread that starts children. It lives as long as the worker.
    ///
    /// # Errors
    /// If there is no thread, or this program cannot be found.
    pub fn new(outputs: Outputs, events: Slot) -> Result<Self> {
        let program = std::env::current_exe().map_err(|cause| Error::io("finding this program", &cause))?;
        let (queue, launches) = bounded::<Launch>(QUEUE_LEN);
        std::thread::Builder::new()
            .name("nursery".to_owned())
            .spawn(move || {
                for launch in launches {
                    start(&program, launch, &outputs, &events);
                }
            })
            .map_err(|cause| Error::io("starting the thread that starts processes", &cause))?;
        Ok(Self { queue })
    }

    /// Starts a child soon. What goes wrong is told to its `on_exit`.
    pub fn launch(&self, launch: Launch) {
        if let Err(refused) = self.queue.try_send(launch) {
            let launch = refused.into_inner();
            launch.process.ended();
            // Not from the caller's thread: it may be the one that has to take the news.
            let _ = std::thread::Builder::new().spawn(move || {
                (launch.on_exit)("it was not started: too many processes wait to be".to_owned())
            });
        }
    }
}

fn start(program: &std::path::Path, launch: Launch, outputs: &Outputs, events: &Slot) {
    let Launch { app, role, stdin, directory, environment, process, on_exit } = launch;
    let started =
        std::io::pipe().map_err(|cause| Error::io("making a pipe", &cause)).and_then(|(read, write)| {
            let twice = write.try_clone().map_err(|cause| Error::io("making a pipe", &cause))?;
            outputs.read(app, role, read, events.clone())?;
            Command::new(program)
                .arg(role)
                .env_clear()
                .env("RUST_BACKTRACE", "1")
                .env(PARENT_VARIABLE, std::process::id().to_string())
                .env("TMPDIR", &directory)
                .envs(environment)
                .current_dir(&directory)
                .process_group(0)
                .stdin(Stdio::from(stdin))
                .stdout(Stdio::from(write))
                .stderr(Stdio::from(twice))
                .spawn()
                .map_err(|cause| Error::io(format!("starting {}", program.display()), &cause))
        });
    let watched = started.and_then(|child| {
        process.started(Pid::from_child(&child));
        watch(child, process.clone())
    });
    match watched {
        Ok(exit) => {
            let spawned = std::thread::Builder::new().name(format!("{role}-exit")).spawn(move || {
                let reason = exit.recv().unwrap_or_else(|_| "nobody saw how it ended".to_owned());
                on_exit(reason);
            });
            if let Err(cause) = spawned {
                tracing::error!("watching a child: {cause}");
                process.signal(Signal::KILL);
            }
        }
        Err(error) => {
            process.ended();
            on_exit(format!("it could not be started: {error}"));
        }
    }
}

/// Waits for a child on a thread of its own.
fn watch(mut child: Child, process: Arc<Process>) -> Result<crossbeam::channel::Receiver<String>> {
    let (ended, exit) = bounded(1);
    let pid = Pid::from_child(&child);
    std::thread::Builder::new()
        .name("child-wait".to_owned())
        .spawn(move || {
            // It is left unreaped until its group is gone, so that the group's number stays its own.
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            process.signal(Signal::KILL);
            process.ended();
            let reason = match child.wait() {
                Ok(status) => describe(status),
                Err(cause) => format!("it could not be waited for: {cause}"),
            };
            let _ = ended.send(reason);
        })
        .map_err(|cause| {
            send(pid, Signal::KILL);
            Error::new(ErrorCode::Io, format!("starting a thread that waits for a process: {cause}"))
        })?;
    Ok(exit)
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    if let Some(signal) = status.signal() {
        let why = match signal {
            6 => ": it called abort, or memory was exhausted",
            7 => ": it touched memory that could not be had",
            9 => ": by somebody, or by the system for lack of memory",
            11 => ": it touched memory that is not its own",
            _ => "",
        };
        return format!("it was killed by {}{why}", signal_name(signal));
    }
    match status.code() {
        Some(0) => "it exited with code 0".to_owned(),
        Some(101) => "it exited with code 101: it panicked".to_owned(),
        Some(code) => format!("it exited with code {code}"),
        None => "it ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_described_in_words() {
        let described = |raw| describe(ExitStatus::from_raw(raw));
        assert_eq!(described(11), "it was killed by SIGSEGV: it touched memory that is not its own");
        assert_eq!(described(15), "it was killed by SIGTERM");
        assert_eq!(described(101 << 8), "it exited with code 101: it panicked");
        assert_eq!(described(0), "it exited with code 0");
    }
}
