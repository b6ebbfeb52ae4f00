//! Messages as bytes. The only file here that names bincode, so that it can be replaced: the codec byte of a
//! frame says which codec wrote it.

use crate::error::{Error, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The codec byte of bincode 2 in its `legacy` configuration (fixed-width little-endian integers).
pub const CODEC_BINCODE: u8 = 1;
/// The longest frame on a control link, in bytes.
pub const FRAME_LEN_MAX: usize = 256 * 1024 * 1024;

/// Encodes a message.
///
/// # Errors
/// `CODEC` if the value cannot be encoded, `TOO_LARGE` if it is longer than [`FRAME_LEN_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    encode_into(message, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a message behind what `bytes` holds already; what was added is undefined after an error.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize>(message: &T, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let written = bincode::serde::encode_into_std_write(message, bytes, bincode::config::legacy())
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("encoding a message: {cause}")))?;
    if written > FRAME_LEN_MAX {
        let message = format!("a message of {written} bytes is longer than the {FRAME_LEN_MAX} allowed");
        return Err(Error::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

/// Decodes a message that fills `bytes` exactly.
///
/// # Errors
/// `CODEC` if it does not; never a panic, and never an allocation far beyond the length of `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // A length inside a message may claim as much as the limit, which is a constant of the type: a few sizes
    // of it keep a short message from asking for the memory of a long one.
    if bytes.len() <= SHORT {
        decode_within::<T, { 2 * SHORT }>(bytes)
    } else if bytes.len() <= MEDIUM {
        decode_within::<T, { 2 * MEDIUM }>(bytes)
    } else {
        decode_within::<T, { 2 * FRAME_LEN_MAX }>(bytes)
    }
}

const SHORT: usize = 32 * 1024;
const MEDIUM: usize = 4 * 1024 * 1024;

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, Error> {
    let config = bincode::config::legacy().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((message, read)) if read == bytes.len() => Ok(message),
        Ok(_) => Err(Error::new(ErrorCode::Codec, "decoding a message: bytes are left over")),
        Err(cause) => Err(Error::new(ErrorCode::Codec, format!("decoding a message: {cause}"))),
    }
}
