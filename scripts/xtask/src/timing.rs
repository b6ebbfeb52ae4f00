//! Where the time of an application went, read from its event log and nothing else.

use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::id::{JobId, StageId};
use firesteel_common::task::TaskMetrics;
use std::collections::BTreeMap;

/// A stage as the log shows it.
#[derive(Default)]
pub struct StageTime {
    /// Its name.
    pub name: String,
    /// Its tasks.
    pub tasks: u32,
    /// From its first attempt's start to its end, in microseconds of the master's clock.
    pub span_us: u64,
    /// What its attempts cost together.
    pub metrics: TaskMetrics,
}

/// The stages of an application, by id.
pub fn stages(log: &[LoggedEvent]) -> BTreeMap<StageId, StageTime> {
    let mut stages: BTreeMap<StageId, StageTime> = BTreeMap::new();
    let mut begun: BTreeMap<StageId, u64> = BTreeMap::new();
    for line in log {
        match &line.event {
            AppEvent::StageAdded { stage, name, tasks, .. } => {
                let time = stages.entry(*stage).or_default();
                (time.name, time.tasks) = (name.clone(), *tasks);
            }
            AppEvent::TaskStarted { task, .. } => {
                begun.entry(task.stage).or_insert(line.at.0);
            }
            AppEvent::TaskFinished { task, metrics } => {
                let time = stages.entry(task.stage).or_default();
                time.metrics = sum(time.metrics, *metrics);
                let begin = begun.get(&task.stage).copied().unwrap_or(line.at.0);
                time.span_us = time.span_us.max(line.at.0.saturating_sub(begin));
            }
            _ => {}
        }
    }
    stages
}

/// How long the jobs of an application took together, in seconds of the master's clock.
pub fn jobs_seconds(log: &[LoggedEvent]) -> f64 {
    jobs(log).into_iter().sum()
}

/// How long its last job took.
pub fn last_job_seconds(log: &[LoggedEvent]) -> f64 {
    jobs(log).last().copied().unwrap_or(f64::NAN)
}

fn jobs(log: &[LoggedEvent]) -> Vec<f64> {
    let mut begun: BTreeMap<JobId, u64> = BTreeMap::new();
    let mut jobs = Vec::new();
    for line in log {
        match &line.event {
            AppEvent::JobStarted { job, .. } => drop(begun.insert(*job, line.at.0)),
            AppEvent::JobEnded { job, .. } => {
                jobs.extend(begun.remove(job).map(|begin| line.at.0.saturating_sub(begin) as f64 / 1e6));
            }
            _ => {}
        }
    }
    jobs
}

/// The median of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn sum(a: TaskMetrics, b: TaskMetrics) -> TaskMetrics {
    TaskMetrics {
        run_us: a.run_us + b.run_us,
        fetch_wait_us: a.fetch_wait_us + b.fetch_wait_us,
        input_bytes: a.input_bytes + b.input_bytes,
        input_records: a.input_records + b.input_records,
        local_read_bytes: a.local_read_bytes + b.local_read_bytes,
        remote_read_bytes: a.remote_read_bytes + b.remote_read_bytes,
        read_records: a.read_records + b.read_records,
        written_bytes: a.written_bytes + b.written_bytes,
        written_records: a.written_records + b.written_records,
        output_bytes: a.output_bytes + b.output_bytes,
        spilled_bytes: a.spilled_bytes + b.spilled_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::time::Timestamp;

    #[test]
    fn a_job_takes_from_its_start_to_its_end() {
        let at = |us, event| LoggedEvent { at: Timestamp(us), app: Default::default(), event };
        let job = JobId(0);
        let log = [
            at(1_000_000, AppEvent::JobStarted { job, name: String::new() }),
            at(3_500_000, AppEvent::JobEnded { job, error: None }),
        ];
        assert_eq!(jobs_seconds(&log), 2.5);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
    }
}
