//! Blocks in sealed memory, and on disk when there is no room: what a worker keeps for its applications, and
//! how anybody maps it.
//!
//! A block is a memfd whose filler has unmapped it and which was sealed before it counts; from then on
//! nobody, its filler included, can change or shorten it. Here is no protocol and no policy beyond the
//! budget; the worker's decisions are in `worker/core`.
#![warn(missing_docs)]
#![cfg_attr(test, expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails"))]

mod blocks;
mod frames;
mod memfd;
mod scratch;
mod segment;
mod spill;
mod store;
#[cfg(test)]
mod tests;

pub use blocks::Counts;
pub use frames::{FRAME_LEN, FrameFile};
pub use memfd::{Mapped, create_memfd, map_sealed, seal};
pub use scratch::{OnDisk, Scratch};
pub use segment::{compress, decompress};
pub use store::{BlockStore, Told, Written};
