//! A duplex control link over a stream that has said hello.
//!
//! Messages keep their order in each direction. A message is encoded by the thread that sends it and, when
//! the link is idle, goes to the socket at once without waiting for another thread; what the socket does not
//! take waits in a bounded outbox for the link's writer thread. A reader thread decodes and hands over what
//! arrives.
//!
//! Each end sends a pulse when it has sent nothing for a while, and gives the other one up when it hears
//! neither message nor pulse for long: a connection that is open in one direction only looks like a quiet one
//! otherwise.

mod outbox;
#[cfg(test)]
mod tests;

use crate::frame::{encode_frame, read_pulsed};
use crate::socket::Socket;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::codec::FRAME_LEN_MAX;
use outbox::Outbox;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::BufReader;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How links notice that their peer is gone.
#[derive(Clone, Copy)]
pub(crate) struct Pulse {
    /// How often something is sent at least.
    pub(crate) every: Duration,
    /// How long nothing may be heard.
    pub(crate) silence_max: Duration,
}

/// A process that is stopped for as long as a long garbage collection elsewhere is not given up.
const PULSE: Pulse = Pulse { every: Duration::from_secs(5), silence_max: Duration::from_secs(20) };

/// The sending end of a link, of messages of type `Out`. Cloning shares it; the link closes when the last
/// clone is dropped.
pub struct Link<Out> {
    handle: Arc<Handle>,
    messages: PhantomData<fn(Out)>,
}

impl<Out> Clone for Link<Out> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), messages: PhantomData }
    }
}

impl<Out> fmt::Debug for Link<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.handle.outbox.name())
    }
}

/// Closes the link with the last [`Link`]; the link's own threads hold only the outbox.
struct Handle {
    outbox: Arc<Outbox>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

/// Why [`Link::try_send`] did not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendFailed {
    /// The outbox is full: the peer does not read as fast as this end writes.
    Full,
    /// The link is closed, or is closing.
    Closed,
    /// The message has no frame (it is too large); the link goes on.
    Refused(Error),
}

impl From<SendFailed> for Error {
    fn from(failed: SendFailed) -> Self {
        match failed {
            SendFailed::Full => Error::new(ErrorCode::Unreachable, "the peer does not read what it is sent"),
            SendFailed::Closed => Error::new(ErrorCode::Unreachable, "the connection is closed"),
            SendFailed::Refused(error) => error,
        }
    }
}

impl<Out: Serialize + Send + 'static> Link<Out> {
    /// Starts the link's two threads. `outbox` bounds the messages that wait to be written; their bytes
    /// are bounded, too (256 MiB).
    ///
    /// `on_message` is called with each message, in order, from the reader thread; `false` closes the link as
    /// [`Link::close`] does. `on_close` is called exactly once, from the same thread, after the last message:
    /// with `None` if either end closed the link, with the error if it broke or what was sent could not be
    /// written.
    ///
    /// # Errors
    /// `IO` if the threads cannot be had; neither function is called then.
    pub fn start<In: DeserializeOwned + Send + 'static>(
        stream: impl Into<Socket>,
        name: &str,
        outbox: usize,
        on_message: impl FnMut(In) -> bool + Send + 'static,
        on_close: impl FnOnce(Option<Error>) + Send + 'static,
    ) -> Result<Link<Out>> {
        Self::start_pulsed(stream.into(), name, (outbox, PULSE), on_message, on_close)
    }

    fn start_pulsed<In: DeserializeOwned + Send + 'static>(
        stream: Socket,
        name: &str,
        (outbox, pulse): (usize, Pulse),
        on_message: impl FnMut(In) -> bool + Send + 'static,
        on_close: impl FnOnce(Option<Error>) + Send + 'static,
    ) -> Result<Link<Out>> {
        let failed = |cause: &std::io::Error| Error::io(format!("starting the link {name}"), cause);
        let reading = stream.try_clone().map_err(|cause| failed(&cause))?;
        reading.set_read_timeout(Some(pulse.silence_max)).map_err(|cause| failed(&cause))?;
        let outbox = Arc::new(Outbox::new(stream, name, outbox).map_err(|cause| failed(&cause))?);
        let writer = outbox.clone();
        std::thread::Builder::new()
            .name(format!("{name}-write"))
            .spawn(move || writer.write_all(pulse.every))
            .map_err(|cause| failed(&cause))?;
        let reader = outbox.clone();
        let link = Link { handle: Arc::new(Handle { outbox }), messages: PhantomData };
        std::thread::Builder::new()
            .name(format!("{name}-read"))
            .spawn(move || read_all(&reading, &reader, on_message, on_close))
            .map_err(|cause| failed(&cause))?;
        Ok(link)
    }

    /// Sends a message; waits while the outbox is full. Not for a thread that must not wait.
    ///
    /// # Errors
    /// `UNREACHABLE` if the link is closed or closes meanwhile; `TOO_LARGE` or `CODEC` if the message has no
    /// frame.
    pub fn send(&self, message: Out) -> Result<()> {
        let frame = encode_frame(&message)?;
        self.handle.outbox.push(frame, true).map_err(|failed| {
            Error::from(failed).context(format_args!("sending over {}", self.handle.outbox.name()))
        })
    }

    /// Sends a message unless that would have to wait.
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn try_send(&self, message: Out) -> Result<(), SendFailed> {
        let frame = encode_frame(&message).map_err(SendFailed::Refused)?;
        self.handle.outbox.push(frame, false)
    }

    /// Closes the link: nothing more is sent or handed over, but what was sent before is still written, for a
    /// bounded time. Does not wait.
    pub fn close(&self) {
        self.handle.outbox.close();
    }
}

fn read_all<In: DeserializeOwned>(
    stream: &Socket,
    outbox: &Outbox,
    mut on_message: impl FnMut(In) -> bool,
    on_close: impl FnOnce(Option<Error>),
) {
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    let end = loop {
        match read_pulsed::<In>(&mut reader, FRAME_LEN_MAX) {
            Ok(Some(_)) if outbox.is_closing() => {}
            Ok(Some(message)) => match catch_unwind(AssertUnwindSafe(|| on_message(message))) {
                Ok(true) => {}
                Ok(false) => outbox.close(),
                Err(_) => {
                    let message = format!("a message of {} made its receiver panic", outbox.name());
                    break Some(Error::new(ErrorCode::Internal, message));
                }
            },
            Ok(None) => break None,
            Err(error) => break Some(error.context(format_args!("the link {}", outbox.name()))),
        }
    };
    drop(on_message);
    on_close(outbox.end(end));
}
