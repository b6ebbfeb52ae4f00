//! Keys: the cluster secret, what is derived from it, and the file it lies in. Proofs are made and compared
//! here too, so that the bytes of a key never leave this file except by [`Key::to_hex`].

#[cfg(test)]
mod tests;

use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::{AppAttemptId, AppId};
use firesteel_common::protocol::hello::{PROOF_LEN, app_key_text, output_mark_text};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use subtle::ConstantTimeEq;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// A shared key. It shows nothing of itself when it is printed.
#[derive(Clone)]
pub struct Key([u8; KEY_LEN]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl Key {
    /// A fresh random key.
    ///
    /// # Errors
    /// `IO` if the system has no randomness to give.
    pub fn generate() -> Result<Key> {
        random().map(Key)
    }

    /// Reads a key file: 64 hexadecimal digits and a newline.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no file; `CONFIG_INVALID` if it is not a key, or others than its owner may
    /// read it.
    pub fn load(path: &Path) -> Result<Key> {
        let reading = || format!("reading the key file {}", path.display());
        let mut file = File::open(path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => Error::new(ErrorCode::NotFound, format!("{}: {cause}", reading())),
            _ => Error::io(reading(), &cause),
        })?;
        let metadata = file.metadata().map_err(|cause| Error::io(reading(), &cause))?;
        let invalid = |what: &str| Error::new(ErrorCode::ConfigInvalid, format!("{}: {what}", reading()));
        if !metadata.is_file() {
            return Err(invalid("it is not a regular file"));
        }
        if metadata.mode() & 0o077 != 0 {
            let help = format!("chmod 600 {}", path.display());
            return Err(invalid("others than its owner may read or write it").with_help(help));
        }
        let mut text = String::new();
        let longest = 2 * KEY_LEN as u64 + 2;
        Read::by_ref(&mut file)
            .take(longest)
            .read_to_string(&mut text)
            .map_err(|cause| invalid(&cause.to_string()))?;
        Self::from_hex(text.trim_end()).map_err(|error| invalid(&error.message))
    }

    /// Reads the key file, or makes one with a fresh key (mode 0600). Of several processes that do this at
    /// once, all get the same key.
    ///
    /// # Errors
    /// As [`Key::load`]; `IO` if the file cannot be made.
    pub fn load_or_create(path: &Path) -> Result<Key> {
        match Self::load(path) {
            Err(error) if error.code == ErrorCode::NotFound => {}
            loaded => return loaded,
        }
        let failed =
            |cause: &std::io::Error| Error::io(format!("making the key file {}", path.display()), cause);
        let key = Self::generate()?;
        // Written whole under a name of its own, then linked: nobody sees half a key, and the first link
        // wins.
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", Key(random()?).to_hex().split_at(16).0));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(format!("{}\n", key.to_hex()).as_bytes()))
            .and_then(|()| std::fs::hard_link(&draft, path));
        let removed = std::fs::remove_file(&draft);
        match written {
            Ok(()) => removed.map(|()| key).map_err(|cause| failed(&cause)),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Self::load(path),
            Err(cause) => Err(failed(&cause)),
        }
    }

    /// The key of an application attempt, derived from this one (the cluster secret).
    pub fn for_app(&self, app: AppAttemptId) -> Key {
        Key(self.proof(&app_key_text(app)))
    }

    /// The mark that an application leaves in the outputs that it commits, derived from this key (the cluster
    /// secret): 64 hexadecimal digits by which another driver attempt of it, and nobody else, knows them for
    /// its own.
    pub fn output_mark(&self, app: AppId, submitted_ms: u64) -> String {
        Key(self.proof(&output_mark_text(app, submitted_ms))).to_hex()
    }

    /// The key as 64 hexadecimal digits, for a file or a pipe to a child; never for a command line or a log.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A key from its hexadecimal digits.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if it is not 64 of them. The text is not repeated.
    pub fn from_hex(text: &str) -> Result<Key> {
        let invalid = || Error::new(ErrorCode::ConfigInvalid, "a key is 64 hexadecimal digits");
        if text.len() != 2 * KEY_LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut key = [0; KEY_LEN];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Key(key))
    }

    /// HMAC-SHA256 of `text` under this key.
    pub(crate) fn proof(&self, text: &[u8]) -> [u8; PROOF_LEN] {
        // A key shorter than SHA-256's block of 64 bytes is padded with zeros (RFC 2104), so this is the HMAC
        // under the 32 bytes, without a length that could be wrong.
        let mut block = [0; 64];
        block[..KEY_LEN].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// Whether `proof` is that of `text` under this key. Takes the same time wherever they differ.
    pub(crate) fn verifies(&self, text: &[u8], proof: &[u8; PROOF_LEN]) -> bool {
        self.proof(text).ct_eq(proof).into()
    }
}

/// Fresh random bytes of the operating system.
pub(crate) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::new(ErrorCode::Io, format!("asking the system for randomness: {cause}")))?;
    Ok(bytes)
}
