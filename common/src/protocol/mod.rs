//! The protocol between processes, in prose first.
//!
//! **Frames.** Every connection carries frames: a 4-byte little-endian length, one codec byte
//! ([`codec::CODEC_BINCODE`]), and the message. A frame longer than the bound of its link is refused before a
//! byte of it is decoded.
//!
//! **Hello.** Before any frame, both ends prove that they know a key ([`hello`]): the cluster secret (master
//! and workers) or the key of one application (its drivers and executors). A peer of another [`VERSION`] is
//! told so in words; a peer that does not prove its key is told nothing. Nothing a peer sends is decoded
//! before that.
//!
//! **Master and worker** ([`worker`]). The worker dials, sends `Register`, and gets `Registered` with its id
//! and the master's epoch. From then on every message to the master names (epoch, worker, incarnation): the
//! master counts and drops what carries an older one. Messages on one connection keep their order; a
//! connection that breaks is dialled again with backoff, and the new `Register` says all that the worker
//! holds. The master must tolerate reports of attempts that it has given up; the worker must tolerate orders
//! for things it no longer has.
//!
//! **Driver and master** ([`driver`]). The driver dials with its application's key. It may send the same
//! graph twice (after a reconnection it must): ids make that harmless. Events of a job keep their order.
//!
//! **Executor and worker** ([`executor`]). A socket pair inherited at birth, which also passes descriptors.
//! The executor exits when it closes.
//!
//! **Data** ([`data`]). Worker to worker, or executor to worker: a request for segments of a block, answered
//! by a short header and raw bytes.

pub mod codec;
#[cfg(feature = "cluster")]
pub mod data;
#[cfg(feature = "cluster")]
pub mod driver;
#[cfg(feature = "cluster")]
pub mod executor;
#[cfg(feature = "cluster")]
pub mod hello;
#[cfg(test)]
mod tests;
#[cfg(feature = "cluster")]
pub mod worker;

/// The version of the whole protocol; both ends must have the same.
pub const VERSION: u32 = 1;
