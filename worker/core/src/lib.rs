//! Every decision of a worker, as a pure state machine: [`WorkerCore::step`] takes one [`WorkerEvent`] and
//! returns the [`WorkerEffect`]s, in order.
//!
//! Here are the names of drivers, executors, attempts and blocks, and what is owed to whom. What is *not*
//! here: sockets, processes, descriptors, bytes of blocks, clocks, random numbers. The shell (`worker`) has
//! those; the simulator (`tests`) has others in their place.
//!
//! ```text
//! executor of an application:   Absent ─▶ Fetching ─▶ Starting ─▶ Ready
//!                                  ▲______________________│_________│   (exit, or no plugin)
//! ```
#![warn(missing_docs)]
#![cfg_attr(test, expect(clippy::unwrap_used, clippy::panic, reason = "tests"))]

mod app;
mod blocks;
mod core;
mod drain;
mod drivers;
mod dump;
pub mod event;
mod executors;
mod invariants;
mod link;
mod memory;
mod tasks;

pub use crate::core::{CoreOptions, WorkerCore};
pub use event::{WorkerEffect, WorkerEvent};
pub use invariants::invariants;

#[cfg(test)]
mod tests;
