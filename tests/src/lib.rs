//! tests

pub mod cluster;
