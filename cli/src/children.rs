//! Child processes of a command: started from this same program, never outliving it, stopped in order.

use crate::failure::{Failure, Outcome};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use firesteel_common::error::{Error, ErrorCode};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The flag with which a child is told whose death ends it.
pub const DIE_WITH_PARENT: &str = "--die-with-parent";
/// How long a child may take to say its first line.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// How many lines of a child wait for a reader; more are dropped.
const LINES_MAX: usize = 64;

/// Ends this process with SIGTERM when its parent dies. To be called first thing by a process that was
/// started with [`DIE_WITH_PARENT`]; the parent starts it from a thread that lives as long as itself.
pub fn die_with_parent(parent: i32) -> Outcome<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|cause| Failure::io("asking for the parent-death signal", &cause.into()))?;
    // If the parent died before the line above, no signal will come.
    let now = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
    if now != Some(parent) {
        let message = format!("the process {parent} that started this one is gone");
        return Err(Error::new(ErrorCode::Killed, message).into());
    }
    Ok(())
}

/// A server process that was started by this one.
pub struct Server {
    /// What it is called in messages.
    pub name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    /// Starts `firesteel ARGS…` in a process group of its own (so that Ctrl-C reaches only the command, which
    /// then stops its children in order).
    pub fn start(name: &str, args: &[String]) -> Outcome<Self> {
        let failed = |cause: &std::io::Error| Failure::io(format!("starting {name}"), cause);
        let program = std::env::current_exe().map_err(|cause| failed(&cause))?;
        let mut command = Command::new(program);
        if std::env::var_os("FIRESTEEL_LOG").is_none() {
            // What a server says about its ordinary life would be noise on this command's terminal.
            command.env("FIRESTEEL_LOG", "warn");
        }
        let mut child = command
            .args(args)
            .args([DIE_WITH_PARENT, &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|cause| failed(&cause))?;
        let (sender, lines) = bounded(LINES_MAX);
        if let Some(stdout) = child.stdout.take() {
            std::thread::Builder::new()
                .name(format!("{name} output"))
                .spawn(move || {
                    // Reads to the end even if nobody listens, so that the child never waits for a reader.
                    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                        let _ = sender.try_send(line);
                    }
                })
                .map_err(|cause| failed(&cause))?;
        }
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What follows `word` on the next line of the child's output that begins with it.
    pub fn ready_line(&self, word: &str) -> Outcome<String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let what = match self.lines.recv_deadline(deadline) {
                Ok(line) => match line.strip_prefix(word) {
                    Some(rest) => return Ok(rest.trim().to_owned()),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => "was not ready in time",
                Err(RecvTimeoutError::Disconnected) => "ended before it was ready",
            };
            let message = format!("{} {what}", self.name);
            return Err(Error::new(ErrorCode::ProcessDied, message)
                .with_help("its messages stand above")
                .into());
        }
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// Asks servers to end, and kills those that have not after `patience`.
pub fn stop(servers: &mut [Server], patience: Duration) {
    let signal = |server: &Server, signal| {
        if let Some(pid) = i32::try_from(server.pid()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    };
    for server in servers.iter_mut() {
        if server.ended().is_none() {
            signal(server, rustix::process::Signal::TERM);
        }
    }
    let deadline = Instant::now() + patience;
    for server in servers.iter_mut() {
        // Its output ends when it does.
        while let Ok(_line) = server.lines.recv_deadline(deadline) {}
        if server.ended().is_none() && Instant::now() >= deadline {
            signal(server, rustix::process::Signal::KILL);
        }
        let _ = server.child.wait();
    }
}
