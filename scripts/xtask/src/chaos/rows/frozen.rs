//! Rows 14 and 15: processes that stop for a while and go on, as a paused machine does.

use super::Trial;
use crate::chaos::jobs::Kind;
use crate::chaos::lab::{Finding, Lab, ensure, only_lost_ran_again, until};
use firesteel_common::error::Result;
use firesteel_common::event::AppEvent;
use rustix::process::Signal;
use std::time::Duration;

pub fn worker(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(3))?;
    let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    let (index, worker) = lab.other_worker(app, 3)?;
    lab.wait_for_work(app, worker, 1)?;
    lab.cluster.signal_worker(index, Signal::STOP);
    // Longer than the master's patience, which is 1 s here.
    std::thread::sleep(Duration::from_millis(trial.amount(2_500, 5_000)));
    let given_up = lab.metric("firesteel_workers_lost_total")?;
    lab.cluster.signal_worker(index, Signal::CONT);
    let finding = lab.verdict(app, &job, &run)?;
    only_lost_ran_again(&lab.events(app)?)?;
    until("the worker is back", || {
        Ok((lab.workers()?.iter().filter(|worker| worker.alive).count() == 3).then_some(()))
    })?;
    // What it does from now on counts again.
    let again = lab.run(&job)?;
    ensure(again.cost.lost == 0, "a worker that is back loses something")?;
    let (fenced, stale) =
        (lab.metric("firesteel_messages_fenced_total")?, lab.metric("firesteel_reports_stale_total")?);
    lab.close(3)?;
    Ok(finding.fired(given_up).with("fenced", fenced).with("stale", stale))
}

pub fn master(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(3))?;
    let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    until("tasks run", || {
        let finished = |event: &AppEvent| matches!(event, AppEvent::TaskFinished { .. });
        Ok(lab.events(app)?.iter().any(|line| finished(&line.event)).then_some(()))
    })?;
    let begin = std::time::Instant::now();
    lab.cluster.signal_master(Signal::STOP);
    let pid = lab.cluster.pids().first().copied().unwrap_or_default();
    let stands = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('T')).then_some(())
    };
    until("the master stands still", || Ok(stands()))?;
    std::thread::sleep(Duration::from_millis(trial.amount(3_000, 10_000)));
    lab.cluster.signal_master(Signal::CONT);
    let stopped = begin.elapsed();
    let finding = lab.verdict(app, &job, &run)?;
    let log = lab.events(app)?;
    let lost = log.iter().filter(|line| matches!(line.event, AppEvent::WorkerLost { .. })).count();
    ensure(lost == 0 && lab.metric("firesteel_workers_lost_total")? == 0, "a worker was given up on waking")?;
    ensure(finding.cost.reran == 0, "something ran again")?;
    lab.close(3)?;
    Ok(finding.fired(1).with("stopped_ms", stopped.as_millis()))
}
