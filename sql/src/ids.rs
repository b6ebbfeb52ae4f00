//! Numbers of jobs and stages, unique in a driver process, which is one application attempt.
//!
//! Not here: what they number.

use firesteel_common::id::{JobId, StageId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Gives out numbers. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    jobs: AtomicU32,
    stages: AtomicU32,
}

impl Ids {
    /// The counters of this process.
    pub(crate) fn of_process() -> Self {
        static IDS: std::sync::LazyLock<Ids> = std::sync::LazyLock::new(Ids::default);
        IDS.clone()
    }

    /// The next job.
    pub(crate) fn job(&self) -> JobId {
        JobId(self.0.jobs.fetch_add(1, Ordering::Relaxed))
    }

    /// The next stage.
    pub(crate) fn stage(&self) -> StageId {
        StageId(self.0.stages.fetch_add(1, Ordering::Relaxed))
    }
}
