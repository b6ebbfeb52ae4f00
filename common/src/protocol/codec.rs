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
    let bytes = bincode::serde::encode_to_vec(message, bincode::config::legacy())
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("encoding a message: {cause}")))?;
    if bytes.len() > FRAME_LEN_MAX {
        let message = format!("a message of {} bytes is longer than the {FRAME_LEN_MAX} allowed", bytes.len());
        return Err(Error::new(ErrorCode::TooLarge, message));
    }
    Ok(bytes)
}

/// Decodes a message that fills `bytes` exactly.
///
/// # Errors
/// `CODEC` if it does not; never a panic, and never an allocation beyond [`FRAME_LEN_MAX`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let config = bincode::config::legacy().with_limit::<FRAME_LEN_MAX>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((message, read)) if read == bytes.len() => Ok(message),
        Ok(_) => Err(Error::new(ErrorCode::Codec, "decoding a message: bytes are left over")),
        Err(cause) => Err(Error::new(ErrorCode::Codec, format!("decoding a message: {cause}"))),
    }
}
