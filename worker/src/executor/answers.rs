//! Requests to the worker that are answered by a message, and who waits for which.

use super::signal::Signal;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::fds::FdSender;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a waiting attempt looks whether it was told to stop.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// What the worker answered.
#[derive(Debug)]
pub enum Answer {
    /// To `Connect`.
    Peer(Option<OwnedFd>),
    /// To `Store`.
    Stored(bool),
    /// To `AcquireMemory`.
    Memory(u64),
}

/// The requests that are not answered yet.
#[derive(Default)]
pub struct Answers {
    last: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Sender<Answer>>>,
}

impl Answers {
    /// A number for a request.
    pub fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// `KILLED` if the attempt is told to stop, and whatever is wrong with the socket.
    pub fn ask(
        &self,
        worker: &FdSender,
        signal: &Signal,
        fd: Option<BorrowedFd<'_>>,
        message: impl FnOnce(u64) -> FromExecutor,
    ) -> Result<Answer> {
        let request = self.number();
        let (sender, receiver) = bounded(1);
        self.waiting.lock().insert(request, sender);
        let answer = worker.send(&message(request), fd).and_then(|()| {
            loop {
                match receiver.recv_timeout(STOP_CHECK) {
                    Ok(answer) => return Ok(answer),
                    Err(RecvTimeoutError::Timeout) if signal.stopped() => return Err(killed()),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                }
            }
        });
        self.waiting.lock().remove(&request);
        // From here on `give` refuses. What it has put in before is taken even by an attempt that stops:
        // nobody else would give back what was granted.
        answer.or_else(|error| receiver.try_recv().map_err(|_| error))
    }

    /// Gives an answer to whoever waits for it; `false` if nobody does.
    pub fn give(&self, request: u64, answer: Answer) -> bool {
        // Under the lock, so that whoever takes its request back knows whether an answer was put in.
        let mut waiting = self.waiting.lock();
        waiting.remove(&request).is_some_and(|sender| sender.try_send(answer).is_ok())
    }

    /// The worker is gone: nobody will be answered.
    pub fn close(&self) {
        self.waiting.lock().clear();
    }
}

/// What an attempt that was told to stop returns.
pub fn killed() -> Error {
    Error::new(ErrorCode::Killed, "the task was told to stop")
}

fn gone() -> Error {
    Error::new(ErrorCode::Unreachable, "the worker of this executor is gone")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use firesteel_net::fds::{fd_channel, socket_pair};

    #[test]
    fn an_answer_that_was_given_is_taken_even_if_the_wait_fails() {
        let (ours, theirs) = socket_pair().unwrap();
        let (worker, messages) = fd_channel(theirs).unwrap();
        drop((ours, messages));
        let (answers, signal) = (Answers::default(), Signal::default());
        let ask = |given: bool| {
            answers.ask(&worker, &signal, None, |request| {
                assert!(!given || answers.give(request, Answer::Memory(7)));
                FromExecutor::AcquireMemory { request, bytes: 7, held: None }
            })
        };
        assert!(ask(false).is_err(), "the worker is gone");
        assert!(matches!(ask(true), Ok(Answer::Memory(7))));
        assert!(!answers.give(answers.number(), Answer::Memory(1)));
    }
}
