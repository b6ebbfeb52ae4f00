//! What drivers have submitted: how it grows with a lineage is a property of plans that tests can check.

use super::LocalRunner;
use firesteel_common::job::JobSpec;

/// How much was submitted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    /// Jobs.
    pub jobs: u64,
    /// Stages that came with them.
    pub stages: u64,
    /// Bytes of the payloads of the stages and of their tasks.
    pub bytes: u64,
}

impl Submitted {
    pub(super) fn add(&mut self, job: &JobSpec) {
        self.jobs += 1;
        self.stages += job.stages.len() as u64;
        for stage in &job.stages {
            let tasks: usize = stage.tasks.iter().map(|task| task.payload.len()).sum();
            self.bytes += (stage.payload.len() + tasks) as u64;
        }
    }
}

impl LocalRunner {
    /// What was submitted so far.
    pub fn submitted(&self) -> Submitted {
        self.state().submitted
    }
}
