//! Row 20, what is not kept in memory: bits that flip in runs that tasks spill, in map outputs and partitions
//! on disk, in the segments of shared values and in the copies that workers keep of them.

use super::Trial;
use crate::chaos::lab::{Finding, Lab, ensure, lost_outputs, only_lost_ran_again, stores};
use crate::nothing;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::SubmitRequest;
use firesteel_common::id::PluginHash;
use firesteel_tests::cluster::{Setup, artifact};
use firesteel_tests::fault::Token;
use std::collections::BTreeSet;

/// So little memory that no block stays in it: tasks get the least that they may have.
const MEMORY: u64 = 512 * 1024;
/// More numbers than a task sorts in the least that it may have.
const TO_SORT: u64 = 140_000;
/// Numbers of a map output that is larger than what needs no memory of the task.
const TO_WRITE: u64 = 120_000;
/// Numbers of a block that is smaller.
const TO_KEEP: u64 = 20_000;

/// What was flipped, and what of it was seen.
struct Flips {
    fired: u64,
    detected: u64,
}

/// A cluster and the plugin of the jobs.
struct Ground {
    lab: Lab,
    plugin: PluginHash,
}

impl Ground {
    fn open(setup: &Setup) -> Result<Self> {
        let lab = Lab::open(setup)?;
        let plugin = lab.cluster.upload(&artifact("libnaughty.so")?)?.hash;
        Ok(Self { lab, plugin })
    }

    fn request(&self, entry: &str, args: &[(&str, &str)]) -> SubmitRequest {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SubmitRequest { plugin: Some(self.plugin), entry: entry.into(), args, ..nothing() }
    }

    /// Runs a job with a standing token in place, after it was run without. Its answer must be the same.
    fn run(
        &self,
        trial: &mut Trial,
        point: &str,
        request: &SubmitRequest,
        detected: impl Fn(&[LoggedEvent]) -> u64,
    ) -> Result<Flips> {
        let (_, right) = self.lab.cluster.run(request)?;
        self.run_again(trial, point, request, &right, detected)
    }

    /// [`Ground::run`], for a job whose answer is known.
    fn run_again(
        &self,
        trial: &mut Trial,
        point: &str,
        request: &SubmitRequest,
        right: &[u8],
        detected: impl Fn(&[LoggedEvent]) -> u64,
    ) -> Result<Flips> {
        let fault = format!("flip {}", trial.draw.any());
        let ((app, found), fired) = self.lab.standing(point, &fault, || self.lab.cluster.run(request))?;
        ensure(found == right, format!("{point}: an answer from damaged bytes is another one"))?;
        let log = self.lab.events(app)?;
        only_lost_ran_again(&log)?;
        Ok(Flips { fired, detected: detected(&log) })
    }
}

/// All of it.
pub fn flipped(trial: &mut Trial) -> Result<Finding> {
    let little = Ground::open(&Lab::setup(2).set("worker.memory", MEMORY))?;
    let mut finding = runs(&little, trial)?;
    finding = finding.and(partitions(&little, trial)?);
    finding = finding.and(outputs(&little, trial)?);
    little.lab.close(2)?;
    // Read over a socket before, now from the files of others.
    let mapping = Ground::open(&Lab::setup(2).set("worker.memory", MEMORY).set("shuffle.same_host", "map"))?;
    finding = finding.and(outputs(&mapping, trial)?);
    mapping.lab.close(2)?;
    let shared = Ground::open(&Lab::setup(2))?;
    finding = finding.and(values(&shared, trial)?);
    shared.lab.close(2)?;
    let alone = Ground::open(&Lab::setup(1))?;
    finding = finding.and(copies(&alone, trial)?);
    alone.lab.close(1)?;
    let mut sums: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in &finding.more {
        match sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum = added(sum, value),
            None => sums.push((name, value.clone())),
        }
    }
    Ok(Finding { more: sums, ..finding })
}

/// Adds figures of the form `seen/flipped`.
fn added(one: &str, other: &str) -> String {
    let parts = |text: &str| -> (u64, u64) {
        let (seen, fired) = text.split_once('/').unwrap_or((text, "0"));
        (seen.parse().unwrap_or(0), fired.parse().unwrap_or(0))
    };
    let ((seen, fired), (more_seen, more_fired)) = (parts(one), parts(other));
    format!("{}/{}", seen + more_seen, fired + more_fired)
}

/// Every flip of these must have been seen.
fn found(name: &'static str, least: u64, flips: &Flips) -> Result<Finding> {
    let Flips { fired, detected } = *flips;
    ensure(fired >= least, format!("{name}: only {fired} of {least} bits have flipped"))?;
    ensure(detected == fired, format!("{name}: {detected} of {fired} flipped bits were detected"))?;
    let finding = Finding { equal: true, ..Finding::default() }.fired(fired);
    Ok(finding.with(name, format!("{detected}/{fired}")))
}

/// Runs of sorting tasks: the attempt fails and says which run, the next one is right.
fn runs(ground: &Ground, trial: &mut Trial) -> Result<Finding> {
    let tasks = trial.amount(30, 1_000);
    let args = [("partitions", &*tasks.to_string()), ("numbers", &*TO_SORT.to_string())];
    let request = ground.request("spill", &args);
    let flips = ground.run(trial, "executor.run", &request, |log| {
        let names_it =
            |error: &Error| error.code == ErrorCode::BlockCorrupt && error.message.contains("run ");
        let failed = log.iter().filter(|line| match &line.event {
            AppEvent::TaskFailed { task, error } => task.attempt == 0 && names_it(error),
            _ => false,
        });
        failed.count() as u64
    })?;
    found("runs_detected", tasks, &flips)
}

/// Map outputs that a task, or its worker, has put on disk.
fn outputs(ground: &Ground, trial: &mut Trial) -> Result<Finding> {
    let tasks = trial.amount(20, 500);
    let mut finding = Finding { equal: true, ..Finding::default() };
    for (name, point, numbers) in [
        ("outputs_detected", "executor.spilled_output", TO_WRITE),
        ("spilled_detected", "worker.spilled", TO_KEEP),
    ] {
        let args = [("maps", &*tasks.to_string()), ("reducers", "4"), ("numbers", &*numbers.to_string())];
        let flips = ground.run(trial, point, &ground.request("exchange", &args), outputs_lost)?;
        finding = finding.and(found(name, tasks, &flips)?);
    }
    Ok(finding)
}

/// How many map outputs were found to be no good.
fn outputs_lost(log: &[LoggedEvent]) -> u64 {
    lost_outputs(log).len() as u64
}

/// Partitions that are kept on disk: each is made anew, by the first of three jobs and by each other one.
fn partitions(ground: &Ground, trial: &mut Trial) -> Result<Finding> {
    let count = trial.amount(20, 500);
    let args = [("partitions", &*count.to_string()), ("numbers", "2000"), ("place", "disk")];
    let flips = ground.run(trial, "worker.spilled", &ground.request("keep", &args), stores)?;
    // Those of the last job are read by nobody.
    let Flips { fired, detected: stores } = flips;
    ensure(stores == 3 * count, format!("{stores} partitions were made, not 3 x {count}"))?;
    ensure(fired == stores, format!("{fired} bits have flipped in {stores} partitions"))?;
    found("partitions_detected", 2 * count, &Flips { fired: fired - count, detected: stores - count })
}

/// Copies of shared values that were stored: each is one record that is written, but not by what carries
/// them.
fn copies_stored(log: &[LoggedEvent]) -> u64 {
    let mut carrying = BTreeSet::new();
    let mut stored = 0;
    for line in log {
        match &line.event {
            AppEvent::StageAdded { stage, name, .. } if name.contains("broadcast") => {
                carrying.insert(*stage);
            }
            AppEvent::TaskFinished { task, metrics } if !carrying.contains(&task.stage) => {
                stored += metrics.written_records;
            }
            _ => {}
        }
    }
    stored
}

/// The segments that carry shared values.
fn values(ground: &Ground, trial: &mut Trial) -> Result<Finding> {
    let count = trial.amount(20, 500);
    let args = [("values", &*count.to_string()), ("numbers", "1000"), ("rounds", "1")];
    let request = ground.request("share", &args);
    let flips = ground.run(trial, "executor.map_output", &request, outputs_lost)?;
    found("values_detected", count, &flips)
}

/// The copies of shared values that a worker keeps: the executor that has them decoded dies between two jobs,
/// and the next one does not use them.
fn copies(ground: &Ground, trial: &mut Trial) -> Result<Finding> {
    let count = trial.amount(20, 500);
    let args = [("values", &*count.to_string()), ("numbers", "1000"), ("rounds", "2")];
    let request = ground.request("share", &args);
    let (_, right) = ground.lab.cluster.run(&request)?;
    // After what carries them, and the four tasks of the first job.
    let nth = u32::try_from(count).unwrap_or(u32::MAX).saturating_add(5);
    let death = Token::plant(&ground.lab.faults(), "executor.task_start", nth, None, "die")?;
    let flips = ground.run_again(trial, "executor.cached", &request, &right, copies_stored)?;
    ensure(death.fired(), "no executor has died between two jobs")?;
    // Each is stored once by the first job, and again by the second where it was found damaged.
    let detected = flips.detected.saturating_sub(count);
    found("copies_detected", count, &Flips { detected, ..flips })
}
