//! SQL from text to rows, over an in-process runtime, compared with plain DataFusion.
//!
//! Not here: clusters; those tests stand in the room `tests`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod data;
mod engine;
mod errors;
mod local;
mod plans;
mod queries;
mod tpch_answers;
mod traps;

#[path = "../tpch/mod.rs"]
mod tpch;
