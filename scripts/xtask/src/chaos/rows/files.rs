//! Rows 18 and 19: disks that are slow, and reads and writes that fail. Needs strace.

use super::Trial;
use crate::chaos::jobs::Kind;
use crate::chaos::lab::{Finding, Lab, ensure, keyed, until};
use crate::chaos::trace::Trace;
use firesteel_common::error::{Error, Result};
use firesteel_common::event::AppEvent;
use std::time::{Duration, Instant};

/// How long each write to the master's disk takes: longer than a worker may be silent (1 s).
const SLOW: Duration = Duration::from_millis(1_500);
/// Submissions at a slow disk, and how long each may take: those that wait together are written together.
const SUBMISSIONS: usize = 6;
const SUBMIT_MAX: Duration = Duration::from_millis(12_000);

pub fn slow_disk(trial: &mut Trial) -> Result<Finding> {
    if !Trace::is_possible() {
        return Ok(Finding::left_out("strace is not installed"));
    }
    let lab = Lab::open(&Lab::setup(2))?;
    let job = lab.job(Kind::Wordcount, 100, &mut trial.draw)?;
    let master = lab.cluster.pids().first().copied().unwrap_or_default();
    let inject = format!("fsync,fdatasync:delay_enter={}", SLOW.as_micros());
    let trace = Trace::attach(master, &inject, None, &lab.cluster.scratch().join("trace"))?;
    let mut runs = Vec::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..trial.amount(2, SUBMISSIONS as u64) {
        let begin = Instant::now();
        runs.push(lab.submit(&job)?);
        slowest = slowest.max(begin.elapsed());
    }
    let mut finding = Finding { equal: true, ..Finding::default() };
    for (app, run) in &runs {
        finding = finding.and(lab.verdict(*app, &job, run)?);
    }
    let fired = trace.injected();
    drop(trace);
    let lost = lab.metric("firesteel_workers_lost_total")?;
    ensure(lost == 0, format!("{lost} workers were given up while the disk was slow"))?;
    ensure(slowest >= SLOW, "a submission was answered before it was on the disk")?;
    ensure(slowest <= SUBMIT_MAX, format!("a submission took {slowest:?}"))?;
    ensure(finding.cost.lost == 0, "something was lost while the disk was slow")?;
    lab.close(2)?;
    Ok(finding.fired(fired).with("submit_max_ms", slowest.as_millis()))
}

pub fn bad_disk(trial: &mut Trial) -> Result<Finding> {
    if !Trace::is_possible() {
        return Ok(Finding::left_out("strace is not installed"));
    }
    let finding = bad_input(trial)?;
    Ok(finding.and(bad_journal(trial)?))
}

/// A file that a task reads cannot be read, twice.
fn bad_input(trial: &mut Trial) -> Result<Finding> {
    let lab = Lab::open(&Lab::setup(1))?;
    let job = lab.job(Kind::Wordcount, 100, &mut trial.draw)?;
    let mut run = job.run();
    // Strace counts the calls of each thread by itself, and each attempt may run on another one.
    run.request.conf.insert("spark.task.maxFailures".into(), "16".into());
    let input = run.request.args.get("input").cloned().unwrap_or_default();
    let file = std::path::Path::new(&input).join("003.txt");
    let worker = lab.cluster.pids().get(1).copied().unwrap_or_default();
    let log = lab.cluster.scratch().join("trace");
    let trace = Trace::attach(worker, "read,pread64,readv:error=EIO:when=1..2", Some(&file), &log)?;
    let app = lab.cluster.submit(&run.request)?.app;
    let finding = lab.verdict(app, &job, &run)?;
    let fired = trace.injected();
    drop(trace);
    let log = lab.events(app)?;
    let errors: Vec<&Error> = log
        .iter()
        .filter_map(|line| match &line.event {
            AppEvent::TaskFailed { error, .. } => Some(error),
            _ => None,
        })
        .collect();
    ensure(!errors.is_empty(), "no task has failed, though its input could not be read")?;
    let named = errors.iter().all(|error| format!("{error} {}", error.detail).contains("003.txt"));
    ensure(named, format!("an error does not name the file: {errors:?}"))?;
    lab.close(1)?;
    Ok(finding.fired(fired).with("tasks_failed", errors.len()))
}

/// The journal's disk refuses a write: the submission is refused, and the next one is taken.
fn bad_journal(trial: &mut Trial) -> Result<Finding> {
    let lab = Lab::open(&Lab::setup(2))?;
    let job = lab.job(Kind::Wordcount, 50, &mut trial.draw)?;
    let master = lab.cluster.pids().first().copied().unwrap_or_default();
    let log = lab.cluster.scratch().join("trace");
    let trace = Trace::attach(master, "fsync,fdatasync:error=EIO:when=1", None, &log)?;
    let run = job.run();
    let refused = lab.cluster.submit(&keyed(&run, "bad disk"));
    let fired = trace.injected();
    drop(trace);
    ensure(refused.is_err(), "a submission was accepted that is not on the disk")?;
    let again =
        until("submissions are taken again", || Ok(lab.cluster.submit(&keyed(&run, "bad disk")).ok()))?;
    let finding = lab.verdict(again.app, &job, &run)?;
    let apps: Vec<firesteel_common::http::AppStatus> = lab.cluster.get_json("/applications")?;
    let there = apps.iter().filter(|app| app.name == run.request.name && app.app >= again.app).count();
    ensure(there == 1, format!("the submission is there {there} times"))?;
    lab.close(2)?;
    let code = refused.err().map(|error| error.code.to_string()).unwrap_or_default();
    Ok(finding.fired(fired).with("refused", code))
}
