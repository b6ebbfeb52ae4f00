//! Jobs that have run, and whose events were not all taken: for their driver they run still.

use super::LocalRunner;
use firesteel_common::id::JobId;
use firesteel_common::job::{JobEvent, JobProgress, JobSpec};
use firesteel_common::{Error, ErrorCode, Result};
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub struct Jobs {
    /// The group of each job, and its events.
    events: BTreeMap<JobId, (String, VecDeque<JobEvent>)>,
    /// How many events come in time, if time is short.
    in_time: Option<u64>,
}

impl Jobs {
    /// A job has run.
    pub fn insert(&mut self, job: &JobSpec, events: Vec<JobEvent>) {
        let results = |event: &&JobEvent| matches!(event, JobEvent::TaskResult { .. });
        let tasks = events.iter().filter(results).count() as u32;
        let mut told = VecDeque::new();
        let mut tasks_done = 0;
        for event in events {
            let is_result = results(&&event);
            told.push_back(event);
            if is_result {
                tasks_done += 1;
                let stages = 1;
                told.push_back(JobEvent::Progress(JobProgress {
                    stages,
                    tasks,
                    tasks_done,
                    ..Default::default()
                }));
            }
        }
        self.events.insert(job.id, (job.group.clone(), told));
    }

    /// The next event of a job.
    pub fn next_event(&mut self, job: JobId) -> Result<JobEvent> {
        let next = self.events.get_mut(&job).and_then(|(_, events)| events.pop_front());
        next.ok_or_else(|| Error::new(ErrorCode::Internal, format!("{job} has no further event")))
    }

    /// Whether one more event comes in time.
    pub fn is_in_time(&mut self) -> bool {
        match &mut self.in_time {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    /// Stops jobs whose end was not taken yet.
    pub fn stop(&mut self, which: impl Fn(&JobId, &str) -> bool, reason: &str) {
        for (job, (group, events)) in &mut self.events {
            if which(job, group) && !events.is_empty() {
                *events = [JobEvent::Failed(Error::new(ErrorCode::Killed, reason))].into();
            }
        }
    }
}

impl LocalRunner {
    /// From now on only so many events of jobs come in time for whoever waits with a limit. Each result of a
    /// task is followed by an event that says how far its job is.
    pub fn give_in_time(&self, events: u64) {
        self.state().jobs.in_time = Some(events);
    }
}
