//! Tests over the whole of Firesteel: the simulator here, and what drives real processes beside it.
#![warn(missing_docs)]

pub mod cables;
pub mod cluster;
pub mod fault;
pub mod process;
pub mod sim;
