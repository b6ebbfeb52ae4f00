//! The SQL engine as an engine of the executor. The only file of this room that names `sql` for tasks.

use super::engine::Engine;
use firesteel_common::Result;
use firesteel_common::task::{TaskIo, TaskOutcome};
use firesteel_sql::SqlEngine;
use std::sync::Arc;

struct Sql(SqlEngine);

impl Engine for Sql {
    fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome> {
        self.0.run_task(io)
    }
}

/// Makes the engine for `slots` tasks at once and `memory` bytes of execution memory.
pub fn engine(slots: u32, memory: u64) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(Sql(SqlEngine::new(slots, memory)?)))
}
