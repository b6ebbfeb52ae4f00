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
//! What runs a chain of operators, and what decodes one, is private: code and closures travel as numbers and
//! as types, which only a task that a driver planned may turn back. A function that takes or gives any
//! dataset of a type says so with [`Operator`]:
//!
//! ```
//! use firesteel::{Operator, Rdd};
//!
//! fn lengths<'s, Lines: Operator<'s, Item = &'s str>>(
//!     lines: &Rdd<'s, Lines>,
//! ) -> Rdd<'s, impl Operator<'s, Item = usize> + use<'s, Lines>> {
//!     lines.map(|line| line.len())
//! }
//! ```
//!
//! Nobody else can have an operator, or run one: what follows does not compile.
//!
//! ```compile_fail,E0603
//! fn run(io: &dyn firesteel_common::task::TaskIo, host: &dyn firesteel::files::Host) {
//!     let _ = firesteel::task::run_task(io, host);
//! }
//! ```
//!
//! ```compile_fail,E0603
//! type Conjured = firesteel::func::Func<std::convert::Infallible>;
//! ```
//!
//! ```compile_fail,E0616
//! fn operators<'s>(cx: &firesteel::Context<'s>) {
//!     let _ = cx.range(0, 9, 1).op;
//! }
//! ```
//!
//! Types that cannot be named can still be inferred and decoded, but what is decoded gives nothing away:
//!
//! ```compile_fail,E0624
//! fn decoded<'s, Op: firesteel::Operator<'s>>(_: firesteel::Rdd<'s, Op>) -> Op {
//!     serde_json::from_str("null").unwrap()
//! }
//!
//! fn conjure(cx: &firesteel::Context<'_>) {
//!     let map = decoded(cx.range(0, 9, 1).map(|n| n + 1));
//!     let _ = map.f.get();
//! }
//! ```
//!
//! What is *not* here: files, sockets, any async runtime; and no threads but those of [`Rdd::pipe`], which
//! also starts the only processes. The rest is the host's, behind [`abi`].
#![warn(missing_docs)]

pub mod abi;
mod accumulator;
mod action;
mod aggregate;
mod approximate;
mod arena;
mod attempt;
mod broadcast;
mod by_key;
mod checkpoint;
mod code;
mod combine;
mod context;
mod control;
mod described;
mod driver;
pub mod files;
/// Whole numbers that are written in full, as four bytes or so, instead of short: of a cached dataset of them
/// [`Rdd::slices`] reads a partition in place. `get` and `new` convert.
pub mod fixed {
    pub use crate::record::plain::{I32, I64, U16, U32, U64};
}
mod func;
mod future;
#[doc(hidden)]
pub mod guest;
mod iterate;
mod joins;
pub mod key;
mod lists;
mod memory;
mod numeric;
mod operator;
mod ops;
mod ordered;
mod output;
mod pair;
mod partial;
mod partitions;
mod passes;
mod pipe;
mod plan;
mod radix;
mod random;
mod rdd;
pub mod record;
mod sampling;
mod serial;
mod sets;
mod simd;
mod sketch;
mod sorter;
mod spill;
mod table;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
mod tree;

pub use accumulator::{Accumulate, Accumulator, Unique};
pub use attempt::TaskContext;
pub use broadcast::Broadcast;
pub use context::Context;
pub use control::JobStatus;
pub use firesteel_common::block::StorageLevel;
pub use firesteel_common::job::JobProgress;
pub use firesteel_common::{Error, ErrorCode, Payload, Result};
pub use firesteel_macros::entry;
pub use future::FutureAction;
pub use iterate::LocalIterator;
pub use key::Key;
pub use numeric::{Number, Stats};
pub use operator::Operator;
pub use output::save::Codec;
pub use partial::{Bounded, PartialResult};
pub use rdd::{Distinct, ErasedRdd, Rdd};
pub use record::Record;
pub use simd::{Kernel, vectorised};
