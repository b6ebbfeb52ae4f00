//! The node agent: parent of drivers and executors, keeper of their blocks, and what runs inside them.
//!
//! Three processes live in this crate, each behind one function: the worker ([`run_worker`]), the executor
//! ([`run_executor`]) and the driver ([`driver::run_driver`]). The worker decides nothing here: a fact
//! becomes an event of `worker/core`, and what comes back is done in `effects.rs`. It never loads code of a
//! user and never maps what an executor may still write.
#![warn(missing_docs)]

pub mod driver;
mod executor;
mod fault;
mod isolate;
mod options;
pub mod plugin;
mod pool;
mod sandbox;
mod shell;

pub use executor::run_executor;
pub use options::{WorkerOptions, run_worker};
