//! The shared words of Firesteel: what two processes, or two rooms, say to each other.
//!
//! Here are ids, the waist ([`graph::JobGraph`] and [`job::JobRunner`]), blocks and segments, the event log,
//! the plugin descriptor, errors with their codes, the configuration, and the protocol.
//!
//! What is *not* here, on purpose: files, sockets, clocks, threads, any async runtime. Whoever needs one of
//! these gets it from the room that owns it, so that a job's crate, the scheduler and the simulator can all
//! depend on this one and still compile in seconds.
#![warn(missing_docs)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

pub mod block;
#[cfg(feature = "cluster")]
pub mod bounds;
pub mod bytes;
#[cfg(feature = "cluster")]
pub mod config;
pub mod error;
#[cfg(feature = "cluster")]
pub mod event;
pub mod graph;
#[cfg(feature = "cluster")]
pub mod http;
pub mod id;
pub mod job;
pub mod options;
pub mod plugin;
pub mod protocol;
pub mod sandbox;
pub mod task;
pub mod time;

pub use bytes::Payload;
pub use error::{Error, ErrorCode, Result};
