//! The data plane: requests for segments of blocks, answered by raw bytes.
//!
//! A requester may send several requests before it reads; answers come in the order of the requests. An
//! answer is a frame with a [`BlockReply`], followed outside any frame by exactly [`BlockReply::Found`]'s
//! `bytes` bytes, which are whole segments.

use crate::block::{BlockId, Frame, MapStatus};
use crate::id::PluginHash;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The longest frame on a data link, in bytes.
pub const DATA_FRAME_LEN_MAX: usize = 16 * 1024 * 1024;

/// A request for part of a block. What may be read is fenced by the key that the connection was opened with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRequest {
    /// The block.
    pub block: BlockId,
    /// For a map output: the segments of these reducers. `None` for a whole block.
    pub reducers: Option<Range<u32>>,
}

/// What precedes the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockReply {
    /// The bytes follow.
    Found {
        /// How many.
        bytes: u64,
        /// For a map output: the index of the segments that follow, one for each reducer asked for.
        segments: MapStatus,
        /// Between processes of one machine, where the block's descriptor comes beside this: the index of its
        /// file, if it is on disk.
        frames: Vec<Frame>,
    },
    /// It is not here (any more).
    Missing,
}

/// A worker's request for a plugin, on a link of its own to the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRequest {
    /// Which.
    pub plugin: PluginHash,
}

/// What precedes the plugin's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginReply {
    /// That many bytes follow.
    Found {
        /// How many.
        bytes: u64,
    },
    /// The master does not have it.
    Missing,
}
