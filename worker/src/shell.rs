//! x
pub fn run(_o: crate::WorkerOptions) -> firesteel_common::Result<()> { Ok(()) }
