//! The local runtime as its own driver has it.

use super::LocalRunner;
use firesteel_common::block::BlockId;
use firesteel_common::graph::StageSpec;
use firesteel_common::id::{DatasetId, JobId, StageId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::task::ResultValue;
use firesteel_common::{Payload, Result};
use std::sync::Arc;
use std::time::Duration;

/// A runtime as the driver of [`run_on`] has it: what comes through here was planned by this crate.
pub struct Planned(pub Arc<LocalRunner>);

impl JobRunner for Planned {
    fn submit(&self, job: JobSpec) -> Result<()> {
        self.0.submit_planned(&job);
        Ok(())
    }

    fn extend(&self, job: JobId, stages: Vec<StageSpec>, targets: Vec<Target>, open: bool) -> Result<()> {
        self.0.extend(job, stages, targets, open)
    }

    fn next_event(&self, job: JobId) -> Result<JobEvent> {
        self.0.next_event(job)
    }

    fn next_event_within(&self, job: JobId, at_most: Duration) -> Result<Option<JobEvent>> {
        self.0.next_event_within(job, at_most)
    }

    fn fetch(&self, value: &ResultValue) -> Result<Payload> {
        self.0.fetch(value)
    }

    fn release(&self, stages: Vec<StageId>, datasets: Vec<DatasetId>) {
        self.0.release(stages, datasets);
    }

    fn cancel(&self, job: JobId, reason: &str) {
        self.0.cancel(job, reason);
    }

    fn cancel_group(&self, group: &str, reason: &str) {
        self.0.cancel_group(group, reason);
    }

    fn slots(&self) -> u32 {
        self.0.slots()
    }

    fn release_result(&self, block: BlockId) {
        self.0.release_result(block);
    }
}
