//! The first bytes of every connection: a mutual proof of a shared key, before anything is decoded.
//!
//! Each end sends one fixed-size [`Greeting`]; then each sends a 32-byte proof, HMAC-SHA256 under the key
//! over [`proof_text`]. The dialling end proves first. Computing and comparing proofs, and the sockets, are
//! the work of `common/net`.

use crate::id::{AppAttemptId, AppId};

/// The first bytes of a greeting.
pub const GREETING_MAGIC: [u8; 4] = *b"FShi";
/// Bytes of an encoded greeting.
pub const GREETING_LEN: usize = 64;
/// Bytes of a proof.
pub const PROOF_LEN: usize = 32;

/// Who a process says it is; what it proves is that it knows the key that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The master (answers only); the key is the cluster secret.
    Master,
    /// A worker's control link; the key is the cluster secret.
    Worker,
    /// A worker that fetches a plugin from the master, or blocks for itself; the key is the cluster secret.
    Fetcher,
    /// A driver; the key is that of its application attempt.
    Driver(AppAttemptId),
    /// A reader of one application's blocks; the key is that of its application attempt.
    Reader(AppAttemptId),
}

/// What each end says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// [`super::VERSION`] of the sender.
    pub version: u32,
    /// Who it is.
    pub role: Role,
    /// Fresh random bytes.
    pub nonce: [u8; 32],
}

impl Greeting {
    /// The greeting as bytes.
    pub fn encode(&self) -> [u8; GREETING_LEN] {
        let (role, app) = match self.role {
            Role::Master => (0, AppAttemptId::default()),
            Role::Worker => (1, AppAttemptId::default()),
            Role::Fetcher => (2, AppAttemptId::default()),
            Role::Driver(app) => (3, app),
            Role::Reader(app) => (4, app),
        };
        let mut bytes = [0; GREETING_LEN];
        bytes[0..4].copy_from_slice(&GREETING_MAGIC);
        bytes[4..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8] = role;
        bytes[12..16].copy_from_slice(&app.attempt.to_le_bytes());
        bytes[16..24].copy_from_slice(&app.app.0.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads a greeting; `None` if the bytes are not one.
    pub fn decode(bytes: &[u8; GREETING_LEN]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (role, rest) = rest.split_first_chunk::<4>()?;
        let (attempt, rest) = rest.split_first_chunk::<4>()?;
        let (app, rest) = rest.split_first_chunk::<8>()?;
        let (nonce, _) = rest.split_first_chunk::<32>()?;
        let app = AppAttemptId {
            app: crate::id::AppId(u64::from_le_bytes(*app)),
            attempt: u32::from_le_bytes(*attempt),
        };
        let role = match role[0] {
            0 => Role::Master,
            1 => Role::Worker,
            2 => Role::Fetcher,
            3 => Role::Driver(app),
            4 => Role::Reader(app),
            _ => return None,
        };
        (*magic == GREETING_MAGIC).then_some(Self {
            version: u32::from_le_bytes(*version),
            role,
            nonce: *nonce,
        })
    }
}

/// What the proof of one end is computed over: its side, both greetings, the dialling end's first.
pub fn proof_text(by_dialler: bool, dialler: &Greeting, listener: &Greeting) -> Vec<u8> {
    let mut text = Vec::with_capacity(32 + 2 * GREETING_LEN);
    text.extend_from_slice(if by_dialler { b"firesteel dialler" } else { b"firesteel listener" });
    text.extend_from_slice(&dialler.encode());
    text.extend_from_slice(&listener.encode());
    text
}

/// What the key of an application attempt is derived from: HMAC-SHA256 of this text under the cluster secret.
pub fn app_key_text(app: AppAttemptId) -> Vec<u8> {
    format!("firesteel application key {app}").into_bytes()
}

/// What the mark of an application in its committed outputs is derived from: HMAC-SHA256 of this text under
/// the cluster secret. Its time of submission tells it from one of a cluster that had the same secret and
/// whose journal is gone.
pub fn output_mark_text(app: AppId, submitted_ms: u64) -> Vec<u8> {
    format!("firesteel output of {app} submitted at {submitted_ms}").into_bytes()
}
