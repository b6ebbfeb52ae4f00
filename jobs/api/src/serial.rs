//! Serde types as bytes inside records. The only file here that names bincode; programs and splits of tasks
//! use the codec of the protocol.

use firesteel_common::{Error, ErrorCode, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest serde record, in bytes.
const LIMIT: usize = 64 * 1024 * 1024;

/// Writes the length and the bytes of a value. One that serde cannot write becomes an empty record, which its
/// reader refuses.
pub(crate) fn encode_record<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard()).unwrap_or_default();
    crate::record::put_varint(out, bytes.len() as u64 + 1);
    out.push(u8::from(bytes.is_empty()));
    out.extend_from_slice(&bytes);
}

/// Reads what [`encode_record`] wrote after the length.
pub(crate) fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let broken = |cause: String| Error::new(ErrorCode::Codec, format!("a record cannot be read: {cause}"));
    let Some((0, bytes)) = bytes.split_first() else {
        return Err(broken("its writer could not encode it".to_owned()));
    };
    match bincode::serde::decode_from_slice(bytes, bincode::config::standard().with_limit::<LIMIT>()) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok(_) => Err(broken("bytes are left over".to_owned())),
        Err(cause) => Err(broken(cause.to_string())),
    }
}

/// Writes a value, however long.
pub(crate) fn encode_value<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("a value cannot be encoded: {cause}")))
}

/// Reads what [`encode_value`] wrote. The bytes must be checked.
pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let broken = |cause: &dyn std::fmt::Display| {
        Error::new(ErrorCode::Codec, format!("a value cannot be read: {cause}"))
    };
    match bincode::serde::decode_from_slice(bytes, bincode::config::standard()) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok(_) => Err(broken(&"bytes are left over")),
        Err(cause) => Err(broken(&cause)),
    }
}

/// Captures inside programs, for `#[serde(with)]`: as bytes of their own. How a user's type writes and reads
/// itself need not agree; it must not shift the numbers of code that may follow it.
pub(crate) mod framed {
    use firesteel_common::Payload;
    use firesteel_common::protocol::codec;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Payload::from(codec::encode(value).map_err(serde::ser::Error::custom)?).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: DeserializeOwned,
        D: Deserializer<'de>,
    {
        codec::decode(&Payload::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
