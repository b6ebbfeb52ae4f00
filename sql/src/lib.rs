//! SQL as stages of the runtime.
//!
//! Two ends of the waist stand here. The driver's end ([`run_sql`]) lets DataFusion understand, optimise and
//! plan a text, cuts the physical plan at its exchanges into stages, and talks with a [`JobRunner`] about
//! them. The executor's end ([`SqlEngine`]) runs the tasks of such stages over a [`TaskIo`]. Rows travel
//! between tasks as Arrow IPC streams in the segments of ordinary map outputs.
//!
//! What is *not* here, on purpose: masters, workers, sockets, processes, block stores. This room knows the
//! waist and DataFusion, and nothing of what lies between a driver and a task.
//!
//! [`JobRunner`]: firesteel_common::job::JobRunner
//! [`TaskIo`]: firesteel_common::task::TaskIo
#![warn(missing_docs)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod codec;
mod cut;
mod depth;
mod engine;
mod errors;
mod exchange;
mod explain;
mod ids;
mod place;
mod query;
mod rows;
mod rules;
mod session;
mod subquery;

pub use engine::SqlEngine;
pub use explain::stages_text;
pub use query::run_sql;
pub use rows::{RowFormat, format_rows};
