//! What a driver says about its jobs before they start, and what it can ask and do while they run.

use crate::context::Context;
use firesteel_common::id::JobId;
use firesteel_common::job::JobProgress;
use firesteel_common::{Error, ErrorCode, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A job that was started and whose end was not heard of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// Its number: jobs are counted from 0.
    pub id: u32,
    /// What pages and logs call it.
    pub name: String,
    /// The group that it is in; empty for none.
    pub group: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// How far it was when its driver heard of it last.
    pub progress: JobProgress,
}

/// What is said of the jobs to come, and which of them run.
#[derive(Default)]
pub(crate) struct Control {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    group: String,
    tags: BTreeSet<String>,
    description: String,
    running: BTreeMap<JobId, JobStatus>,
}

impl Control {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job begins. Says its name and its group.
    pub fn begin(&self, job: JobId, action: &str) -> (String, String) {
        let mut inner = self.inner();
        let name = if inner.description.is_empty() { action } else { &inner.description };
        let status = JobStatus {
            id: job.0,
            name: name.to_owned(),
            group: inner.group.clone(),
            tags: inner.tags.clone(),
            progress: JobProgress::default(),
        };
        let said = (status.name.clone(), status.group.clone());
        inner.running.insert(job, status);
        said
    }

    /// A job is so far.
    pub fn progress(&self, job: JobId, progress: JobProgress) {
        if let Some(status) = self.inner().running.get_mut(&job) {
            status.progress = progress;
        }
    }

    /// A job has ended, or nobody waits for it any more.
    pub fn end(&self, job: JobId) {
        self.inner().running.remove(&job);
    }

    /// How far a job is; `None` if it does not run.
    pub fn progress_of(&self, job: JobId) -> Option<JobProgress> {
        self.inner().running.get(&job).map(|status| status.progress)
    }

    fn tagged(&self, tag: &str) -> Vec<JobId> {
        let inner = self.inner();
        inner.running.iter().filter(|(_, status)| status.tags.contains(tag)).map(|(job, _)| *job).collect()
    }
}

impl Context<'_> {
    /// Puts the jobs from now on into a group, so that they can be cancelled together; an empty name ends it.
    pub fn set_job_group(&self, group: &str) {
        group.clone_into(&mut self.driver().control().inner().group);
    }

    /// Cancels all jobs of a group.
    pub fn cancel_job_group(&self, group: &str) {
        self.driver().cancel_group(group, "cancelled by the application");
    }

    /// What pages and logs call the jobs from now on; an empty text ends it, and they are called by their
    /// actions.
    pub fn set_job_description(&self, description: &str) {
        description.clone_into(&mut self.driver().control().inner().description);
    }

    /// Gives a tag to the jobs from now on. A job can have several.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if the tag is empty or has a comma in it.
    pub fn add_job_tag(&self, tag: &str) -> Result<()> {
        if tag.is_empty() || tag.contains(',') {
            let message = format!("'{tag}' cannot be the tag of a job");
            return Err(Error::new(ErrorCode::BadArgument, message).with_help("choose one without commas"));
        }
        self.driver().control().inner().tags.insert(tag.to_owned());
        Ok(())
    }

    /// Takes a tag from the jobs to come.
    pub fn remove_job_tag(&self, tag: &str) {
        self.driver().control().inner().tags.remove(tag);
    }

    /// Takes all tags from the jobs to come.
    pub fn clear_job_tags(&self) {
        self.driver().control().inner().tags.clear();
    }

    /// The tags of the jobs to come.
    pub fn job_tags(&self) -> BTreeSet<String> {
        self.driver().control().inner().tags.clone()
    }

    /// Cancels all jobs that have a tag: those of other threads, and those that are waited for later.
    pub fn cancel_jobs_with_tag(&self, tag: &str) {
        for job in self.driver().control().tagged(tag) {
            self.driver().cancel(job, "cancelled by the application");
        }
    }

    /// Cancels a job by its number.
    pub fn cancel_job(&self, id: u32) {
        self.driver().cancel(JobId(id), "cancelled by the application");
    }

    /// The jobs that were started and whose end was not heard of yet. The driver hears of a job when somebody
    /// waits for it, or asks for its progress.
    pub fn running_jobs(&self) -> Vec<JobStatus> {
        self.driver().control().inner().running.values().cloned().collect()
    }
}
