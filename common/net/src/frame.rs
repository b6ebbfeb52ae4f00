//! Frames: a 4-byte little-endian length of the message, the codec byte, the message. A length is compared
//! with the bound of its link before anything is allocated for it, and memory grows only as bytes arrive.

#[cfg(test)]
mod tests;

use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Read, Write};

/// Bytes before the message.
pub const FRAME_HEADER_LEN: usize = 5;
/// Says that the sender is there, and nothing else: no message, and no codec. Only links send and take it.
pub(crate) const PULSE: [u8; FRAME_HEADER_LEN] = [0; FRAME_HEADER_LEN];
/// As much is allocated for a frame before any byte of it has come.
const TRUSTED_LEN: usize = 64 * 1024;

/// A message as a frame.
///
/// # Errors
/// `CODEC` or `TOO_LARGE`, as [`codec::encode_into`].
pub fn encode_frame<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(256);
    frame.extend_from_slice(&[0; FRAME_HEADER_LEN]);
    codec::encode_into(message, &mut frame)?;
    // Fits: `encode_into` adds at most FRAME_LEN_MAX bytes.
    let len = (frame.len() - FRAME_HEADER_LEN) as u32;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4] = codec::CODEC_BINCODE;
    Ok(frame)
}

/// Writes a message as one frame, with one call where the writer takes it whole.
///
/// # Errors
/// `CODEC` or `TOO_LARGE` if it has no frame; `UNREACHABLE` if the peer is gone.
pub fn write_frame<T: Serialize>(writer: &mut impl Write, message: &T) -> Result<()> {
    let frame = encode_frame(message)?;
    writer.write_all(&frame).map_err(|cause| lost("sending a frame", &cause))
}

/// Reads a message from one frame; `None` if the peer ended cleanly before it.
///
/// # Errors
/// `TOO_LARGE` for a frame longer than `max`, `CODEC` for bytes that are no message, `UNREACHABLE` if the
/// peer is gone in the middle of a frame or does not send it in the time that the reader has set.
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read, max: usize) -> Result<Option<T>> {
    let mut header = [0; FRAME_HEADER_LEN];
    match read_header(reader, &mut header)? {
        true => read_message(reader, header, max).map(Some),
        false => Ok(None),
    }
}

/// The same, where the peer sends a [`PULSE`] now and then.
pub(crate) fn read_pulsed<T: DeserializeOwned>(reader: &mut impl Read, max: usize) -> Result<Option<T>> {
    let mut header = PULSE;
    while header == PULSE {
        if !read_header(reader, &mut header)? {
            return Ok(None);
        }
    }
    read_message(reader, header, max).map(Some)
}

fn read_message<T: DeserializeOwned>(
    reader: &mut impl Read,
    header: [u8; FRAME_HEADER_LEN],
    max: usize,
) -> Result<T> {
    let (len, codec_byte) = split_header(header);
    check_header(len, codec_byte, max)?;
    let mut message = Vec::with_capacity(len.min(TRUSTED_LEN));
    let read = reader.take(len as u64).read_to_end(&mut message);
    read.map_err(|cause| lost("receiving a frame", &cause))?;
    if message.len() < len {
        return Err(cut_short());
    }
    codec::decode(&message)
}

/// The length and the codec byte.
pub(crate) fn split_header(header: [u8; FRAME_HEADER_LEN]) -> (usize, u8) {
    let [a, b, c, d, codec_byte] = header;
    (u32::from_le_bytes([a, b, c, d]) as usize, codec_byte)
}

/// Refuses a frame by its header.
pub(crate) fn check_header(len: usize, codec_byte: u8, max: usize) -> Result<()> {
    if codec_byte != codec::CODEC_BINCODE {
        let message = format!("receiving a frame: its codec {codec_byte} is not known");
        return Err(Error::new(ErrorCode::Codec, message));
    }
    if len > max {
        let message = format!("receiving a frame: it has {len} bytes, and {max} are allowed here");
        return Err(Error::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

/// Fills `header`; `false` if there is not one byte more.
fn read_header(reader: &mut impl Read, header: &mut [u8; FRAME_HEADER_LEN]) -> Result<bool> {
    let mut filled = 0;
    while filled < header.len() {
        match reader.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(cut_short()),
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(lost("receiving a frame", &cause)),
        }
    }
    Ok(true)
}

/// The peer ended in the middle of a frame.
pub(crate) fn cut_short() -> Error {
    Error::new(
        ErrorCode::Unreachable,
        "receiving a frame: the peer closed the connection in the middle of it",
    )
}

/// An I/O error of a connection, in the words of whoever loses a peer by it.
pub(crate) fn lost(doing: &str, cause: &std::io::Error) -> Error {
    let message = match cause.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("{doing}: the peer did not answer in time"),
        _ => format!("{doing}: {cause}"),
    };
    Error::new(ErrorCode::Unreachable, message)
}
