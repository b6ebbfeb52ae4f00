//! Child processes: started by one permanent thread (the signal of a parent's death follows the thread that
//! started the child), watched by a thread each, and taken down with everything in their process group.

use super::mailbox::Slot;
use super::output::{Outputs, Tail};
use crate::isolate::PARENT_VARIABLE;
use crate::sandbox::cage::Bounds;
use crate::sandbox::cgroup::Group;
use crate::sandbox::{self, Confinement, watch};
use crossbeam::channel::{Sender, bounded};
use firesteel_common::id::AppAttemptId;
use firesteel_common::sandbox::Ending;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_core::WorkerEvent;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Children that wait to be started at most.
const QUEUE_LEN: usize = 256;
/// News of children that wait to be told at most.
const NEWS_LEN: usize = 1024;
/// How long the end of a dead child's output is waited for.
const LAST_WORDS_MAX: Duration = Duration::from_millis(500);

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
    /// How it confines itself.
    pub confinement: Confinement,
    /// Its handle.
    pub process: Arc<Process>,
    /// Called once it has ended and nothing of its group runs any more; with how it ended, in words.
    pub on_exit: OnExit,
}

/// What is done once a child has ended.
pub type OnExit = Box<dyn FnOnce(Ending) + Send>;

/// A child process, from the wish to start it to its end.
#[derive(Default)]
pub struct Process {
    state: Mutex<State>,
    changed: Condvar,
    bounds: Mutex<Bounds>,
    /// Whether it was killed because it used more memory than it may.
    exceeded: AtomicBool,
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
    /// A process that is to be started within these bounds.
    pub fn within(bounds: Bounds) -> Self {
        Self { bounds: Mutex::new(bounds), ..Self::default() }
    }

    /// Kills it if it uses more memory than it may.
    fn check_memory(&self) {
        let leader = match &*self.state.lock() {
            State::Running(leader) => *leader,
            _ => return,
        };
        let exceeded = {
            let bounds = self.bounds.lock();
            bounds.memory > 0 && watch::used(leader, bounds.group.as_ref()) > bounds.memory
        };
        if exceeded {
            self.exceeded.store(true, Ordering::Relaxed);
            self.signal(Signal::KILL);
        }
    }

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

/// Something to be told, from a thread that may wait.
type News = Box<dyn FnOnce() + Send>;

/// Starts children.
#[derive(Clone)]
pub struct Nursery {
    queue: Sender<Launch>,
    news: Sender<News>,
}

/// What the thread that starts children needs.
struct Starter {
    program: PathBuf,
    outputs: Outputs,
    events: Slot,
    watched: Arc<Mutex<Vec<Weak<Process>>>>,
}

impl Nursery {
    /// Starts the thread that starts children, the one that watches their memory, and the one that tells what
    /// went wrong. They live as long as the worker.
    ///
    /// # Errors
    /// If there is no thread, or this program cannot be found.
    pub fn new(outputs: Outputs, events: Slot) -> Result<Self> {
        let program = std::env::current_exe().map_err(|cause| Error::io("finding this program", &cause))?;
        let failed = |cause: std::io::Error| Error::io("starting the thread that starts processes", &cause);
        let (queue, launches) = bounded::<Launch>(QUEUE_LEN);
        let (news, told) = bounded::<News>(NEWS_LEN);
        let watched: Arc<Mutex<Vec<Weak<Process>>>> = Arc::default();
        let starter = Starter { program, outputs, events, watched: watched.clone() };
        let nursery = std::thread::Builder::new().name("nursery".to_owned());
        nursery
            .spawn(move || launches.into_iter().for_each(|launch| starter.start(launch)))
            .map_err(failed)?;
        let memory = std::thread::Builder::new().name("memory-watch".to_owned());
        memory.spawn(move || watch_memory(&watched)).map_err(failed)?;
        let telling = std::thread::Builder::new().name("child-news".to_owned());
        telling.spawn(move || told.into_iter().for_each(|tell| tell())).map_err(failed)?;
        Ok(Self { queue, news })
    }

    /// Starts a child soon. What goes wrong is told to its `on_exit`.
    pub fn launch(&self, launch: Launch) {
        if let Err(refused) = self.queue.try_send(launch) {
            let launch = refused.into_inner();
            launch.process.ended();
            self.tell(move || {
                (launch.on_exit)("it was not started: too many processes wait to be".into());
            });
        }
    }

    /// Does something that may wait, from a thread that was made at the start: when no thread can be made is
    /// when there is something to tell.
    pub fn tell(&self, tell: impl FnOnce() + Send + 'static) {
        if self.news.try_send(Box::new(tell)).is_err() {
            tracing::error!("news of a child is lost: too much is waiting to be told");
        }
    }
}

/// Kills children that use more memory than they may. Ends with the starter of children.
fn watch_memory(watched: &Arc<Mutex<Vec<Weak<Process>>>>) {
    while Arc::strong_count(watched) > 1 {
        let mut processes = Vec::new();
        watched.lock().retain(|process| process.upgrade().map(|process| processes.push(process)).is_some());
        processes.iter().for_each(|process| process.check_memory());
        drop(processes);
        std::thread::sleep(watch::INTERVAL);
    }
}

impl Starter {
    /// Starts a child, with the thread that waits for it made before.
    fn start(&self, launch: Launch) {
        let Launch { app, role, stdin, directory, environment, confinement, process, on_exit } = launch;
        let (born, birth) = bounded::<(Child, Tail)>(1);
        let (undertaker, waiting) = (process.clone(), bounded::<OnExit>(1));
        let (give, given) = waiting;
        let spawned = std::thread::Builder::new().name("child-wait".to_owned()).spawn(move || {
            let (Ok(on_exit), Ok((child, tail))) = (given.recv(), birth.recv()) else { return };
            on_exit(wait_for(child, &undertaker, &tail));
        });
        let started = spawned
            .map_err(|cause| Error::io("starting a thread that waits for a process", &cause))
            .and_then(|_| self.spawn(app, role, stdin, &directory, environment, &confinement));
        match started {
            Ok((child, tail)) => {
                process.started(Pid::from_child(&child));
                if role == "executor" {
                    // Before its end can be told.
                    self.events.event(WorkerEvent::ExecutorStarted { app, pid: child.id() });
                }
                if process.bounds.lock().memory > 0 {
                    self.watched.lock().push(Arc::downgrade(&process));
                }
                // Both have room, and the thread waits.
                let _ = (give.send(on_exit), born.send((child, tail)));
            }
            Err(error) => {
                process.ended();
                on_exit(format!("it could not be started: {error}").into());
            }
        }
    }

    fn spawn(
        &self,
        app: AppAttemptId,
        role: &'static str,
        stdin: OwnedFd,
        directory: &Path,
        environment: Vec<(&'static str, String)>,
        confinement: &Confinement,
    ) -> Result<(Child, Tail)> {
        let piped = |cause| Error::io("making a pipe", &cause);
        let (read, write) = std::io::pipe().map_err(piped)?;
        let twice = write.try_clone().map_err(piped)?;
        let tail = self.outputs.read(app, role, read, self.events.clone())?;
        let confinement = serde_json::to_string(confinement)
            .map_err(|cause| Error::new(ErrorCode::Internal, format!("encoding a sandbox: {cause}")))?;
        let child = Command::new(&self.program)
            .arg(role)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            // Large tables and lists lie in large pages: touching new memory costs a quarter, and so do the
            // trips to memory of a table that no cache holds.
            .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .env(sandbox::VARIABLE, confinement)
            .env("TMPDIR", directory)
            .envs(environment)
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(write))
            .stderr(Stdio::from(twice))
            .spawn()
            .map_err(|cause| Error::io(format!("starting {}", self.program.display()), &cause))?;
        Ok((child, tail))
    }
}

/// Waits for the end of a child, ends everything that it has left, and says how it ended.
fn wait_for(mut child: Child, process: &Process, tail: &Tail) -> Ending {
    let pid = Pid::from_child(&child);
    // It is left unreaped until its group is gone, so that the group's number stays its own.
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    process.signal(Signal::KILL);
    let bounds = std::mem::take(&mut *process.bounds.lock());
    let starved = bounds.group.as_ref().is_some_and(Group::ran_out_of_memory);
    // Kills what has left the process group, and waits for it.
    drop(bounds.group);
    process.ended();
    let status = match child.wait() {
        Ok(status) => status,
        Err(cause) => return format!("it could not be waited for: {cause}").into(),
    };
    let said = tail.text(Instant::now() + LAST_WORDS_MAX);
    let refused = status.signal() == Some(6) && said.contains("memory allocation of");
    let exceeded = process.exceeded.load(Ordering::Relaxed) || (bounds.memory > 0 && (starved || refused));
    let how = describe(status);
    let how = if said.is_empty() { how } else { format!("{how}; it printed last:\n{said}") };
    if exceeded { Ending::memory_exceeded(bounds.memory, &how) } else { how.into() }
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
