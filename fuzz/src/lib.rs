//! What any peer, file or user may send: mutated input for every decoder (`targets`) and for every port of
//! real processes (`ports`). Everything follows from a seed.
//!
//! Nothing here is needed by the product, and nothing of it knows what a right answer is: an input is an
//! error or a value, and costs no more memory than its length allows.
#![warn(missing_docs)]

pub mod alloc;
pub mod any;
pub mod mutate;
pub mod ports;
pub mod sweep;
pub mod targets;
