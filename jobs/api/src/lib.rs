//! The RDD API and the plugin ABI: the one crate that a job depends on.
//!
//! A job is a crate of type `cdylib` with functions marked [`entry`]:
//!
//! ```ignore
//! #[firesteel::entry]
//! pub fn errors(cx: &firesteel::Context<'_>, input: String) -> firesteel::Result<u64> {
//!     cx.text_file(&input)?.filter(|line| line.contains("ERROR")).count()
//! }
//! ```
//!
//! [`Context`] begins datasets, [`Rdd`] transforms them and has the actions. Closures capture nothing: they
//! ship as their type. Records may borrow from what a task reads (`&str`), and cross a shuffle or the way to
//! the driver if they are a [`Record`]; keys are a [`Key`].
//!
//! What is *not* here: files, sockets, threads, any async runtime. They are the host's, behind [`abi`].
#![warn(missing_docs)]

pub mod abi;
mod action;
pub mod arena;
pub mod code;
pub mod combine;
mod context;
pub mod driver;
pub mod files;
pub mod func;
pub mod guest;
pub mod key;
pub mod operator;
pub mod ops;
pub mod output;
mod pair;
pub mod plan;
mod rdd;
pub mod record;
mod serial;
mod table;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;

pub use context::Context;
pub use firesteel_common::{Error, ErrorCode, Payload, Result};
pub use firesteel_macros::entry;
pub use key::Key;
pub use rdd::{Distinct, ErasedRdd, Rdd};
pub use record::Record;
