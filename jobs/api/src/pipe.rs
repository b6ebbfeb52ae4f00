//! Commands that records go through. The threads that feed them and listen to them are the only ones of this
//! crate: whoever writes to a pipe may wait for somebody who reads from another.

use crate::operator::Operator;
use crate::ops::pipe::Pipe;
use crate::rdd::Rdd;
use firesteel_common::{Error, ErrorCode, Result};
use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Buffers that may wait in each direction.
const WAITING_MAX: usize = 4;
/// How many bytes are read at once.
const CHUNK: usize = 64 * 1024;
/// How many bytes of the end of the error output an error tells.
const TAIL: usize = 4 * 1024;
/// How long to wait before looking again whether the task was told to stop.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the end of the error output is waited for so long, once the command has ended: it may have left
/// somebody behind who holds it open.
const PAUSES_MAX: u32 = 50;

impl<'s, Op: Operator<'s, Item: Display>> Rdd<'s, Op> {
    /// Each partition through a command of its own: each record as a line of its input, each line of its
    /// output (UTF-8) as a record. The program is started as it is, by no shell, in the sandbox of the
    /// executor, with its environment and what `env` adds. A command need not read all of its input. One that
    /// ends with another status than success fails its task, with the end of its error output.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if there is no program.
    pub fn pipe(&self, command: &[&str], env: &[(&str, &str)]) -> Result<Rdd<'s, Pipe<Op>>> {
        if command.first().is_none_or(|program| program.is_empty()) {
            return Err(Error::new(ErrorCode::BadArgument, "a pipe needs a program to go through"));
        }
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(self.then(Pipe { op: self.op.clone(), command, env }))
    }
}

/// What became of some input.
pub(crate) enum Fed {
    /// It is on its way.
    Taken,
    /// The command wants no more.
    Refused,
    /// There is output (perhaps of no bytes) to be taken first; here is the input again.
    Later(Vec<u8>, Vec<u8>),
}

/// A command that runs. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Mutex<Child>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    input: VecDeque<Vec<u8>>,
    input_ended: bool,
    /// The command reads no more.
    refused: bool,
    output: VecDeque<Vec<u8>>,
    output_ended: bool,
    /// The last bytes of the error output.
    tail: VecDeque<u8>,
    tail_ended: bool,
    /// What went wrong with a pipe.
    failure: Option<Error>,
    /// Nobody wants the output any more.
    dropped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes all others.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let changed = change(&mut self.state());
        self.changed.notify_all();
        changed
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Writes what there is, until there is no more.
    fn write(&self, mut stdin: ChildStdin) {
        loop {
            let mut state = self.state();
            while state.input.is_empty() && !state.input_ended && !state.dropped {
                state = self.wait(state);
            }
            let Some(bytes) = state.input.pop_front().filter(|_| !state.dropped) else { return };
            drop(state);
            self.changed.notify_all();
            if let Err(cause) = stdin.write_all(&bytes) {
                return self.change(|state| {
                    state.refused = true;
                    if cause.kind() != ErrorKind::BrokenPipe {
                        state.failure = Some(Error::io("writing to a command", &cause));
                    }
                });
            }
        }
    }

    /// Reads the output until its end.
    fn read(&self, mut stdout: impl Read) {
        loop {
            let mut bytes = vec![0; CHUNK];
            let read = stdout.read(&mut bytes);
            let mut state = self.state();
            while state.output.len() >= WAITING_MAX && !state.dropped {
                state = self.wait(state);
            }
            match read {
                Ok(0) => state.output_ended = true,
                Ok(len) => {
                    bytes.truncate(len);
                    state.output.push_back(bytes);
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
                Err(cause) => {
                    state.failure = Some(Error::io("reading from a command", &cause));
                    state.output_ended = true;
                }
            }
            let ended = state.output_ended || state.dropped;
            drop(state);
            self.changed.notify_all();
            if ended {
                return;
            }
        }
    }

    /// Reads the error output until its end, and keeps the last of it.
    fn keep_tail(&self, mut stderr: impl Read) {
        let mut bytes = [0; 1024];
        loop {
            let Ok(len @ 1..) = stderr.read(&mut bytes) else {
                return self.change(|state| state.tail_ended = true);
            };
            let mut state = self.state();
            state.tail.extend(bytes.iter().take(len));
            let more = state.tail.len().saturating_sub(TAIL);
            state.tail.drain(..more);
        }
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|cause| Error::io("starting a thread for a command", &cause))
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if it is not there or must not be run.
    pub fn start(command: &[String], env: &[(String, String)]) -> Result<Self> {
        let (name, arguments) =
            command.split_first().ok_or_else(|| Error::new(ErrorCode::Internal, "an empty command"))?;
        let piped = || Stdio::piped();
        let mut starting = Command::new(name);
        starting.args(arguments).envs(env.iter().map(|(name, value)| (name, value)));
        let started = starting.stdin(piped()).stdout(piped()).stderr(piped()).spawn();
        let mut child = started.map_err(|cause| {
            let error = Error::io(format!("starting '{name}'"), &cause);
            match cause.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                    Error { code: ErrorCode::BadArgument, ..error }.with_help(
                        "the program must be there on every worker, where its sandbox lets jobs look",
                    )
                }
                _ => error,
            }
        })?;
        let shared: Arc<Shared> = Arc::default();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // From here on a failure kills it.
        let process = Self { name: name.clone(), child: Mutex::new(child), shared };
        if let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) {
            let [writer, reader, listener] = [(); 3].map(|()| process.shared.clone());
            thread("pipe-in", move || writer.write(stdin))?;
            thread("pipe-out", move || reader.read(stdout))?;
            thread("pipe-err", move || listener.keep_tail(stderr))?;
        }
        Ok(process)
    }

    /// The program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands input over, or some output back that must be taken before there is room.
    ///
    /// # Errors
    /// If a pipe fails.
    pub fn feed(&self, bytes: Vec<u8>) -> Result<Fed> {
        let mut state = self.shared.state();
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        if state.refused {
            return Ok(Fed::Refused);
        }
        if state.input.len() < WAITING_MAX {
            state.input.push_back(bytes);
            drop(state);
            self.shared.changed.notify_all();
            return Ok(Fed::Taken);
        }
        if state.output.is_empty() {
            state = self.shared.wait(state);
        }
        let output = state.output.pop_front().unwrap_or_default();
        drop(state);
        self.shared.changed.notify_all();
        Ok(Fed::Later(bytes, output))
    }

    /// There is no more input.
    pub fn end_input(&self) {
        self.shared.change(|state| state.input_ended = true);
    }

    /// Some more output, perhaps of no bytes yet; `None` at its end.
    ///
    /// # Errors
    /// If a pipe fails.
    pub fn output(&self) -> Result<Option<Vec<u8>>> {
        let mut state = self.shared.state();
        if state.output.is_empty() && !state.output_ended {
            state = self.shared.wait(state);
        }
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let output = state.output.pop_front();
        let ended = state.output_ended;
        drop(state);
        self.shared.changed.notify_all();
        Ok(if ended { output } else { Some(output.unwrap_or_default()) })
    }

    /// Whether the command has ended well; waits for it for a moment.
    ///
    /// # Errors
    /// `JOB_FAILED` if it has ended otherwise.
    pub fn ended(&self) -> Result<bool> {
        let polled = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        match polled.map_err(|cause| Error::io("waiting for a command", &cause))? {
            None => {
                drop(self.shared.wait(self.shared.state()));
                Ok(false)
            }
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(self.failed(status)),
        }
    }

    fn failed(&self, status: ExitStatus) -> Error {
        let mut state = self.shared.state();
        for _ in 0..PAUSES_MAX {
            if state.tail_ended {
                break;
            }
            state = self.shared.wait(state);
        }
        let tail = String::from_utf8_lossy(state.tail.make_contiguous()).trim_end().to_owned();
        let last = tail.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
        Error::new(ErrorCode::JobFailed, format!("'{}' ended with {status}{last}", self.name))
            .with_help("its error output is in the detail of this error")
            .with_detail(tail)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shared.change(|state| state.dropped = true);
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if matches!(child.try_wait(), Ok(None)) {
            // It may have ended in between. Whoever is killed is waited for, so that no zombie stays.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn started(command: &[&str]) -> Process {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        Process::start(&command, &[]).unwrap()
    }

    #[test]
    fn a_command_that_nobody_wants_any_more_is_killed_and_waited_for() {
        for command in [&["sleep", "1000"][..], &["yes"], &["cat"]] {
            let process = started(command);
            let id = process.child.lock().unwrap().id();
            let entry = std::path::PathBuf::from(format!("/proc/{id}"));
            assert!(entry.exists(), "{command:?}");
            drop(process);
            assert!(!entry.exists(), "{command:?}");
        }
    }

    #[test]
    fn input_for_a_command_that_has_ended_is_refused() {
        let process = started(&["true"]);
        while !process.ended().unwrap() {}
        // What is on its way is refused, too; how much of it was taken before depends on the threads.
        let refused = (0..1_000).any(|_| match process.feed(vec![b'x'; CHUNK]).unwrap() {
            Fed::Refused => true,
            Fed::Taken | Fed::Later(..) => false,
        });
        assert!(refused);
    }
}
