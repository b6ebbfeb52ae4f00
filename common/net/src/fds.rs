//! Frames with descriptors beside them, between a worker and its executor, over a unix socket pair.
//!
//! A frame is as everywhere else, but its codec byte has `WITH_DESCRIPTOR` set if one descriptor belongs to
//! it; that travels with the first byte of the frame, so that it is there when the frame is read.

#[cfg(test)]
mod tests;

use crate::frame::{FRAME_HEADER_LEN, check_header, cut_short, encode_frame, lost, split_header};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::codec::{self, FRAME_LEN_MAX};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Set in the codec byte of a frame that a descriptor belongs to.
const WITH_DESCRIPTOR: u8 = 0x80;
/// Descriptors that may have arrived before the frames they belong to. One read brings at most one of them,
/// and frames are taken out before the next read.
const UNCLAIMED_MAX: usize = 4;
/// Bytes that are read at once; a longer message grows by as much at a time.
const READ_LEN: usize = 64 * 1024;
/// A longer buffer, made for a long message, is not kept.
const BUFFER_KEPT: usize = 1024 * 1024;

/// The sending end. Cloning shares it; a frame and its descriptor are never torn apart by another sender.
#[derive(Clone)]
pub struct FdSender {
    shared: Arc<Shared>,
}

struct Shared {
    stream: UnixStream,
    /// Held while one frame is written.
    writing: Mutex<()>,
}

/// The receiving end.
pub struct FdReceiver {
    stream: UnixStream,
    /// Of these, the bytes from `start` to `end` were received and not taken yet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    descriptors: VecDeque<OwnedFd>,
}

/// Both ends of one socket: what is sent comes out at the peer's receiver.
///
/// # Errors
/// `IO` if the descriptor cannot be doubled.
pub fn fd_channel(stream: UnixStream) -> Result<(FdSender, FdReceiver)> {
    let reading = stream.try_clone().map_err(|cause| Error::io("opening a channel", &cause))?;
    let sender = FdSender { shared: Arc::new(Shared { stream, writing: Mutex::new(()) }) };
    Ok((
        sender,
        FdReceiver { stream: reading, buffer: Vec::new(), start: 0, end: 0, descriptors: VecDeque::new() },
    ))
}

/// Two connected sockets, both closed in a new program unless it is told otherwise.
///
/// # Errors
/// `IO` if the system has no descriptors left.
pub fn socket_pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().map_err(|cause| Error::io("making a socket pair", &cause))
}

impl FdSender {
    /// Sends a message and, if there is one, a descriptor (the peer gets its own; the caller keeps this one).
    /// Waits while the peer does not read.
    ///
    /// # Errors
    /// `CODEC` or `TOO_LARGE` if the message has no frame; `UNREACHABLE` if the peer is gone.
    pub fn send<T: Serialize>(&self, message: &T, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut frame = encode_frame(message)?;
        let mut stream = &self.shared.stream;
        let _writing = self.shared.writing.lock();
        let sent = match fd {
            None => 0,
            Some(fd) => {
                frame[FRAME_HEADER_LEN - 1] |= WITH_DESCRIPTOR;
                send_with(stream, &frame, fd).map_err(|cause| lost("sending a descriptor", &cause.into()))?
            }
        };
        stream.write_all(&frame[sent..]).map_err(|cause| lost("sending a frame", &cause))
    }

    /// Closes the channel in both directions, for all who share it: the peer's receiver and this end's come
    /// to their end.
    pub fn close(&self) {
        // Not under the lock: a sender that waits for the peer holds it, and is to be freed by this.
        if let Err(cause) = self.shared.stream.shutdown(Shutdown::Both) {
            tracing::trace!(%cause, "closing a channel");
        }
    }
}

fn send_with(stream: &UnixStream, frame: &[u8], fd: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let rights = [fd];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&rights));
        match rustix::net::sendmsg(stream, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent,
        }
    }
}

impl FdReceiver {
    /// The next message and the descriptor that belongs to it, closed in a new program; `None` when the peer
    /// has closed its end. Waits for it.
    ///
    /// # Errors
    /// `TOO_LARGE` or `CODEC` for what is no message, `UNREACHABLE` if the peer ended in the middle of one,
    /// `IO` if this process has no room for a descriptor. The channel is of no use after any of these.
    pub fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Option<OwnedFd>)>> {
        while self.buffered() < FRAME_HEADER_LEN {
            if self.fill()? == 0 {
                return if self.buffered() == 0 { Ok(None) } else { Err(cut_short()) };
            }
        }
        let mut header = [0; FRAME_HEADER_LEN];
        header.copy_from_slice(&self.buffer[self.start..self.start + FRAME_HEADER_LEN]);
        let (len, codec_byte) = split_header(header);
        check_header(len, codec_byte & !WITH_DESCRIPTOR, FRAME_LEN_MAX)?;
        while self.buffered() < FRAME_HEADER_LEN + len {
            if self.fill()? == 0 {
                return Err(cut_short());
            }
        }
        let at = self.start + FRAME_HEADER_LEN;
        let message = codec::decode(&self.buffer[at..at + len])?;
        self.start = at + len;
        if codec_byte & WITH_DESCRIPTOR == 0 {
            return Ok(Some((message, None)));
        }
        let missing =
            || Error::new(ErrorCode::Codec, "receiving a frame: its descriptor did not come with it");
        let descriptor = self.descriptors.pop_front().ok_or_else(missing)?;
        Ok(Some((message, Some(descriptor))))
    }

    fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Reads once; returns how many bytes came.
    fn fill(&mut self) -> Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && self.buffer.len() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        if self.buffer.len() - self.end < READ_LEN / 2 {
            self.buffer.resize(self.end + READ_LEN, 0);
        }
        let received = self.receive()?;
        self.end += received;
        Ok(received)
    }

    fn receive(&mut self) -> Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut into = [IoSliceMut::new(&mut self.buffer[self.end..])];
            match rustix::net::recvmsg(&self.stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(0),
                received => break received.map_err(|cause| lost("receiving a frame", &cause.into()))?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Error::new(ErrorCode::Io, "receiving a descriptor: this process has no room for it"));
        }
        if self.descriptors.len() > UNCLAIMED_MAX {
            return Err(Error::new(ErrorCode::Codec, "receiving descriptors that no frame mentions"));
        }
        Ok(received.bytes)
    }
}
