//! What a link still has to write, and the thread that writes it. Knows frames as bytes only.

use super::SendFailed;
use crate::frame::{PULSE, lost};
use crate::socket::Socket;
use firesteel_common::error::Error;
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Bytes that may wait, unless it is one single frame.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// Small frames are put together until they are as long as this.
const WRITE_LEN: usize = 128 * 1024;
/// How long a link that is closing may take to write what was sent before, and its peer to close too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a write that waits for its peer looks whether the link is closing.
const WRITE_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Outbox {
    name: String,
    stream: Socket,
    frames_max: usize,
    state: Mutex<State>,
    /// Something for the writer thread to do.
    work: Condvar,
    /// Room for senders that wait.
    room: Condvar,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The writer thread has taken frames and not written them all yet.
    writing: bool,
    /// Since when nothing new is accepted.
    closing: Option<Instant>,
    /// The reader has seen the end.
    ended: bool,
    /// Why writing failed.
    failure: Option<Error>,
}

impl State {
    /// Takes the frames that are written next: one, or as many small ones as fit one write.
    fn take_frames(&mut self) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(frame) = self.frames.front()
            && (taken.is_empty() || bytes + frame.len() <= WRITE_LEN)
        {
            bytes += frame.len();
            taken.extend(self.frames.pop_front());
        }
        self.bytes -= bytes;
        taken
    }
}

impl Outbox {
    pub(super) fn new(stream: Socket, name: &str, frames_max: usize) -> std::io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_PAUSE))?;
        Ok(Self {
            name: name.to_owned(),
            stream,
            frames_max: frames_max.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing.is_some()
    }

    /// Writes a frame or puts it into the outbox.
    pub(super) fn push(&self, mut frame: Vec<u8>, wait: bool) -> Result<(), SendFailed> {
        let mut state = self.state.lock();
        loop {
            if state.closing.is_some() {
                return Err(SendFailed::Closed);
            }
            let bytes_fit = state.frames.is_empty() || state.bytes + frame.len() <= BYTES_MAX;
            if state.frames.len() < self.frames_max && bytes_fit {
                break;
            }
            if !wait {
                return Err(SendFailed::Full);
            }
            self.room.wait(&mut state);
        }
        if state.frames.is_empty() && !state.writing {
            match rustix::net::send(&self.stream, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) if sent == frame.len() => return Ok(()),
                Ok(sent) => drop(frame.drain(..sent)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(cause) => {
                    self.fail(&mut state, lost("sending a frame", &cause.into()));
                    return Err(SendFailed::Closed);
                }
            }
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        self.work.notify_one();
        Ok(())
    }

    /// Accepts nothing more; the writer thread writes what there is, and ends.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if state.closing.is_none() {
            state.closing = Some(Instant::now());
            self.work.notify_one();
            self.room.notify_all();
        }
    }

    /// The reader has seen the end of the link, with this error; returns the error to be reported.
    pub(super) fn end(&self, error: Option<Error>) -> Option<Error> {
        let mut state = self.state.lock();
        let by_us = state.closing.is_some() && state.failure.is_none();
        state.closing.get_or_insert_with(Instant::now);
        state.ended = true;
        state.frames.clear();
        self.work.notify_one();
        self.room.notify_all();
        self.shut_down(Shutdown::Both);
        if by_us { None } else { state.failure.take().or(error) }
    }

    fn fail(&self, state: &mut State, error: Error) {
        state.failure.get_or_insert(error);
        state.closing.get_or_insert_with(Instant::now);
        state.frames.clear();
        self.work.notify_one();
        self.room.notify_all();
        // Ends the reader too, which reports the failure.
        self.shut_down(Shutdown::Both);
    }

    fn shut_down(&self, how: Shutdown) {
        if let Err(cause) = self.stream.shutdown(how) {
            tracing::trace!(link = self.name, %cause, "shutting down a link");
        }
    }

    /// The writer thread: until the link is closed and everything is written, or it broke.
    pub(super) fn write_all(&self, pulse_every: Duration) {
        let mut buffer = Vec::new();
        let mut state = self.state.lock();
        loop {
            if state.ended || state.failure.is_some() {
                return;
            }
            if !state.frames.is_empty() {
                state.writing = true;
                let taken = state.take_frames();
                self.room.notify_all();
                drop(state);
                let written = self.write_frames(taken, &mut buffer);
                state = self.state.lock();
                state.writing = false;
                if let Err(cause) = written {
                    self.fail(&mut state, lost("sending a frame", &cause));
                }
                continue;
            }
            if state.closing.is_some() {
                break;
            }
            // Whoever sends by itself meanwhile is not seen here; a pulse too many does no harm.
            if self.work.wait_for(&mut state, pulse_every).timed_out() && state.frames.is_empty() {
                state.frames.push_back(PULSE.to_vec());
                state.bytes += PULSE.len();
            }
        }
        // The peer sees the end after all it was sent, and closes too; if it does not, it is cut off.
        self.shut_down(Shutdown::Write);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while !state.ended && !self.work.wait_until(&mut state, deadline).timed_out() {}
        drop(state);
        self.shut_down(Shutdown::Both);
    }

    fn write_frames(&self, frames: Vec<Vec<u8>>, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        match frames.as_slice() {
            [one] => self.write(one),
            many => {
                buffer.clear();
                many.iter().for_each(|frame| buffer.extend_from_slice(frame));
                self.write(buffer)
            }
        }
    }

    /// Writes all of it, however slowly the peer reads, unless the link is closing.
    fn write(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let state = self.state.lock();
                    let late = state.closing.is_some_and(|since| since.elapsed() > CLOSE_TIMEOUT);
                    if late || state.ended {
                        return Err(cause);
                    }
                }
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}
