//! SIGTERM: the worker leaves when others have what they need of it. A second one, SIGINT, or too long a
//! wait: an orderly end. A hard one if that takes too long.

use super::directory::WorkDirectory;
use super::mailbox::{Mailbox, Post};
use crossbeam::channel::{Sender, bounded};
use firesteel_common::{Error, Result};
use firesteel_core::WorkerEvent;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long an orderly end may take: drivers have two seconds after their SIGTERM.
const END_MAX: Duration = Duration::from_secs(6);
/// The exit code of an end that was not orderly.
const EXIT_FORCED: i32 = 1;

/// The thread that waits for signals.
pub struct Signals {
    mailbox: Sender<Mailbox>,
}

impl Signals {
    /// Begins to wait. After SIGTERM the worker may stay for `leave_max`. A signal that comes before
    /// [`Signals::give`] is acted upon then.
    ///
    /// # Errors
    /// If the handlers or the thread cannot be had.
    pub fn start(directory: Arc<WorkDirectory>, leave_max: Duration) -> Result<Self> {
        let failed = |cause: std::io::Error| Error::io("waiting for signals", &cause);
        let (mailbox, given) = bounded::<Mailbox>(1);
        let (ready, is_ready) = bounded(1);
        let wait = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(cause) => return drop(ready.send(Err(cause))),
            };
            runtime.block_on(async {
                let (mut term, mut interrupt) =
                    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                        (Ok(term), Ok(interrupt)) => (term, interrupt),
                        (Err(cause), _) | (_, Err(cause)) => return drop(ready.send(Err(cause))),
                    };
                let _ = ready.send(Ok(()));
                let leaves = tokio::select! { _ = term.recv() => true, _ = interrupt.recv() => false };
                let Ok(mailbox) = given.recv() else { return };
                if leaves && !leave_max.is_zero() {
                    let leave = mailbox.clone();
                    std::thread::spawn(move || leave.event(WorkerEvent::Terminate));
                    tokio::select! {
                        _ = term.recv() => {},
                        _ = interrupt.recv() => {},
                        () = tokio::time::sleep(leave_max) => {},
                    }
                }
                // From a thread of its own: a mailbox that has no room must not keep the deadline from
                // passing.
                let posting = std::thread::Builder::new().name("end".to_owned());
                if posting.spawn(move || mailbox.post(Post::End(None))).is_ok() {
                    std::thread::sleep(END_MAX);
                }
                tracing::error!("the worker did not end in {} seconds; it ends now", END_MAX.as_secs());
                directory.remove();
                std::process::exit(EXIT_FORCED);
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        match is_ready.recv() {
            Ok(started) => started.map_err(failed)?,
            Err(_) => return Err(failed(std::io::ErrorKind::BrokenPipe.into())),
        }
        Ok(Self { mailbox })
    }

    /// Says who is told of a signal.
    pub fn give(self, mailbox: Mailbox) {
        let _ = self.mailbox.send(mailbox);
    }
}
