//! The data plane: blocks by their names, between workers and readers.
//!
//! Requests are frames, and so is what precedes the bytes of an answer; the bytes themselves go from the
//! block's descriptor to the socket without passing through this process. The receiver verifies them.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::DataClient;
pub use server::{DataServer, Refused};

use firesteel_common::block::{BlockId, MapStatus};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Where a data server finds blocks.
pub trait BlockSource: Send + Sync {
    /// The block, or `None` if it is not here.
    fn open(&self, block: &BlockId) -> Option<OpenBlock>;
}

/// A sealed block. Whoever holds it can read it, also after it was freed.
#[derive(Clone, Debug)]
pub struct OpenBlock {
    /// The file with its bytes.
    pub fd: Arc<OwnedFd>,
    /// How many.
    pub bytes: u64,
    /// Its index, if it is a map output.
    pub status: Option<Arc<MapStatus>>,
}
