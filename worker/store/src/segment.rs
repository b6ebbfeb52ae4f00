//! Payloads as LZ4 frames, for segments whose encoding is [`Encoding::Lz4`].
//!
//! The frame carries checksums of its blocks and its content; the segment around it has one of its own, and
//! says how long the payload is, which bounds what is unpacked.

use firesteel_common::block::{Encoding, SegmentHeader};
use firesteel_common::error::{Error, ErrorCode, Result};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::borrow::Cow;
use std::io::{Read, Write};

/// As much is allocated for an unpacked payload before any byte of it was seen.
const TRUSTED_LEN: u64 = 1024 * 1024;

/// A payload as an LZ4 frame.
///
/// # Errors
/// `CODEC` if it cannot be packed.
pub fn compress(payload: &[u8]) -> Result<Vec<u8>> {
    let failed =
        |cause: &dyn std::fmt::Display| Error::new(ErrorCode::Codec, format!("packing a payload: {cause}"));
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max256KB)
        .block_checksums(true)
        .content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(payload).map_err(|cause| failed(&cause))?;
    encoder.finish().map_err(|cause| failed(&cause))
}

/// The payload of a segment as it was before encoding; borrowed if it is stored as it is.
///
/// # Errors
/// `BLOCK_CORRUPT` if it does not unpack to exactly as many bytes as the header says. (That the stored bytes
/// are whole is for the segment's own checksum to say.)
pub fn decompress<'a>(header: &SegmentHeader, stored: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    if header.encoding == Encoding::Plain {
        return Ok(Cow::Borrowed(stored));
    }
    let corrupt = |what: String| Error::new(ErrorCode::BlockCorrupt, format!("unpacking a payload: {what}"));
    let mut payload = Vec::with_capacity(header.raw_len.min(TRUSTED_LEN) as usize);
    let mut decoder = FrameDecoder::new(stored);
    // One byte more than there may be, so that a longer one is noticed.
    let longest = header.raw_len.saturating_add(1);
    Read::by_ref(&mut decoder)
        .take(longest)
        .read_to_end(&mut payload)
        .map_err(|cause| corrupt(cause.to_string()))?;
    if payload.len() as u64 != header.raw_len {
        return Err(corrupt(format!(
            "it has another length than the {} bytes it should have",
            header.raw_len
        )));
    }
    if !decoder.into_inner().is_empty() {
        return Err(corrupt("bytes are left over".to_owned()));
    }
    Ok(Cow::Owned(payload))
}
