//! Rows 1 to 6 and 36: workers and executors that die, come back, or leave.

use super::Trial;
use crate::chaos::jobs::Kind;
use crate::chaos::lab::{Finding, Lab, ensure, error_of, only_lost_ran_again, signal, until};
use firesteel_common::error::{ErrorCode, Result};
use firesteel_common::event::{AppEvent, LossReason};
use firesteel_common::http::SubmitRequest;
use firesteel_tests::cluster::{Extra, artifact};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bars: how soon a worker that died is missed, one that was started again is there, and a job without
/// workers fails. The first two are of the product (1.0 s and 0.2 s are set), with room for a busy machine.
const MISSED_MAX: Duration = Duration::from_millis(5000);
const BACK_MAX: Duration = Duration::from_millis(5000);

pub fn dies_while_its_tasks_run(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(3))?;
    let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    let (index, worker) = lab.other_worker(app, 3)?;
    lab.wait_for_work(app, worker, 1)?;
    lab.cluster.kill_worker(index);
    let begin = Instant::now();
    let lost = lab.wait_for(app, |log| {
        log.iter().find_map(|line| match &line.event {
            AppEvent::WorkerLost { worker: lost, reason } if *lost == worker => Some(*reason),
            _ => None,
        })
    })?;
    let missed = begin.elapsed();
    let finding = lab.verdict(app, &job, &run)?;
    only_lost_ran_again(&lab.events(app)?)?;
    ensure(finding.cost.lost > 0, "nothing was lost, though tasks ran")?;
    ensure(missed <= MISSED_MAX, format!("it was missed after {missed:?}"))?;
    lab.close(2)?;
    Ok(finding.fired(1).with("missed_ms", missed.as_millis()).with("reason", format!("{lost:?}")))
}

pub fn dies_after_its_map_outputs(trial: &mut Trial) -> Result<Finding> {
    // The master would miss it only much later.
    let setup = Lab::setup(3).set("scheduler.worker_timeout_ms", 60_000).set("scheduler.reconnect_ms", 4_000);
    let lab = Lab::open(&setup)?;
    let job = lab.job(Kind::Wordcount, trial.amount(300, 1000), &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    let (_, worker) = lab.other_worker(app, 3)?;
    let token = lab.plant("worker.data_request", 1, Some(worker), "die")?;
    let finding = lab.verdict(app, &job, &run)?;
    let log = lab.events(app)?;
    let at = |wanted: &dyn Fn(&AppEvent) -> bool| log.iter().position(|line| wanted(&line.event));
    let by_fetch = at(&|event| matches!(event, AppEvent::OutputLost { reason: LossReason::FetchFailed, .. }));
    let by_silence = at(&|event| matches!(event, AppEvent::WorkerLost { .. }));
    ensure(by_fetch.is_some(), "no output was found to be lost by fetching it")?;
    ensure(by_silence.is_none_or(|at| by_fetch < Some(at)), "the worker was missed before the output was")?;
    let blamed = at(&|event| matches!(event, AppEvent::TaskFailed { .. }));
    ensure(blamed.is_none(), "a reader was blamed")?;
    only_lost_ran_again(&log)?;
    let fired = u64::from(token.fired());
    let fetches = log.iter().filter(|line| matches!(line.event, AppEvent::FetchFailed { .. })).count();
    until("the worker is missed", || {
        Ok((lab.workers()?.iter().filter(|worker| worker.alive).count() == 2).then_some(()))
    })?;
    lab.close(2)?;
    Ok(finding.fired(fired).with("fetch_failures", fetches))
}

pub fn its_executor_dies(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(3))?;
    let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    let (index, worker) = lab.other_worker(app, 3)?;
    lab.wait_for_work(app, worker, 1)?;
    let executors = lab.children(index, "executor");
    executors.iter().for_each(|executor| signal(executor.pid, Signal::KILL));
    let finding = lab.verdict(app, &job, &run)?;
    let log = lab.events(app)?;
    let dead = log.iter().filter(|line| matches!(line.event, AppEvent::ExecutorLost { .. })).count();
    let outputs = log.iter().filter(|line| matches!(line.event, AppEvent::OutputLost { .. })).count();
    only_lost_ran_again(&log)?;
    ensure(outputs == 0, "a map output was lost with the executor")?;
    ensure(lab.metric("firesteel_workers_lost_total")? == 0, "the worker was lost, too")?;
    lab.close(3)?;
    Ok(finding.fired(dead as u64))
}

pub fn poison(_: &mut Trial) -> Result<Finding> {
    let lab = Lab::open(&Lab::setup(2))?;
    let plugin = lab.cluster.upload(&artifact("libwordcount.so")?)?.hash;
    // One task; four tokens of one meaning under four names.
    let tokens = ["executor.task_start", "executor.task_start:01", "executor.task_start:001"];
    let faults = lab.faults();
    for token in tokens {
        std::fs::write(faults.join(token), "die")
            .map_err(|cause| firesteel_common::Error::io("planting a fault", &cause))?;
    }
    let fourth = lab.plant("executor.task_start", 1, None, "die")?;
    let request = SubmitRequest {
        name: "poison".into(),
        plugin: Some(plugin),
        entry: "empty_tasks".into(),
        args: BTreeMap::from([("count".to_owned(), "1".to_owned())]),
        ..crate::nothing()
    };
    let app = lab.cluster.submit(&request)?.app;
    let error = error_of(&lab.cluster.wait(app)?)?;
    let dead =
        |line: &&firesteel_common::event::LoggedEvent| matches!(line.event, AppEvent::ExecutorLost { .. });
    let killed = lab.cluster.events(app)?.iter().filter(dead).count() as u64;
    let text = format!("{} {}", error.message, error.detail);
    let codes = [ErrorCode::TaskRetriesExhausted, ErrorCode::ProcessDied];
    ensure(codes.contains(&error.code), format!("it failed otherwise: {error}"))?;
    ensure(killed == 4 && fourth.fired(), format!("{killed} executors died: {error}"))?;
    ensure(text.contains("worker-"), format!("the error names no worker: {text}"))?;
    lab.close(2)?;
    Ok(Finding { fired: killed, equal: true, ..Finding::default() })
}

pub fn all_die(trial: &mut Trial) -> Result<Finding> {
    const GRACE_MS: u64 = 3_000;
    let setup = Lab::setup(2).set("scheduler.no_workers_timeout_ms", GRACE_MS);
    let mut lab = Lab::open(&setup)?;
    let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
    // Nobody comes back.
    let (app, _) = lab.submit(&job)?;
    let (_, worker) = lab.other_worker(app, 2)?;
    lab.wait_for_work(app, worker, 1)?;
    (0..2).for_each(|index| lab.cluster.kill_worker(index));
    let begin = Instant::now();
    let error = error_of(&lab.cluster.wait(app)?)?;
    let failed_after = begin.elapsed();
    ensure(error.code == ErrorCode::NoWorkers, format!("it failed otherwise: {error}"))?;
    ensure(failed_after < Duration::from_millis(GRACE_MS) + 2 * MISSED_MAX, format!("{failed_after:?}"))?;
    // Others come in time.
    (0..2).try_for_each(|_| lab.cluster.spawn_worker())?;
    lab.cluster.wait_for_workers(2)?;
    let (app, run) = lab.submit(&job)?;
    until("tasks run", || Ok(lab.events(app)?.iter().any(is_finish).then_some(())))?;
    (2..4).for_each(|index| lab.cluster.kill_worker(index));
    (0..2).try_for_each(|_| lab.cluster.spawn_worker())?;
    let finding = lab.verdict(app, &job, &run)?;
    let attempt = lab.status(app)?.attempt;
    lab.close(2)?;
    let finding = finding.fired(2).with("failed_ms", failed_after.as_millis());
    Ok(finding.with("driver_attempts", attempt))
}

fn is_finish(line: &firesteel_common::event::LoggedEvent) -> bool {
    matches!(line.event, AppEvent::TaskFinished { .. })
}

pub fn comes_back(trial: &mut Trial) -> Result<Finding> {
    let mut finding: Option<Finding> = None;
    for missed_first in [false, true] {
        let setup = Lab::setup(2).set("scheduler.worker_timeout_ms", 2_000);
        let mut lab = Lab::open(&setup)?;
        let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
        let (app, run) = lab.submit(&job)?;
        let (index, worker) = lab.other_worker(app, 2)?;
        lab.wait_for_work(app, worker, 1)?;
        let workers = lab.workers()?;
        let address = workers.iter().find(|info| info.worker == worker).map(|info| info.address.clone());
        let address = address.unwrap_or_default();
        lab.cluster.kill_worker(index);
        if missed_first {
            lab.cluster.wait_for_workers(1)?;
        }
        let begin = Instant::now();
        let args = ["--listen", address.as_str()];
        lab.cluster.spawn_worker_with(&Extra { args: &args, ..Extra::default() })?;
        let id = lab.cluster.worker_id(2)?;
        let back = begin.elapsed();
        let found = lab.verdict(app, &job, &run)?;
        only_lost_ran_again(&lab.events(app)?)?;
        ensure(back <= BACK_MAX, format!("it was back after {back:?}"))?;
        let serves = lab.workers()?.into_iter().any(|info| info.worker == id && info.address == address);
        ensure(serves, format!("{id} does not serve at {address}"))?;
        lab.close(2)?;
        let name = if missed_first { "back_missed_ms" } else { "back_early_ms" };
        let found = found.fired(1).with(name, back.as_millis());
        finding = Some(match finding {
            Some(before) => before.and(found),
            None => found,
        });
    }
    Ok(finding.unwrap_or_default())
}

pub fn leaves(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(1))?;
    let first = lab.cluster.worker_id(0)?;
    let job = lab.job(Kind::Wordcount, 300, &mut trial.draw)?;
    // One attempt hangs on the first worker, so that the job cannot end before the second one has left.
    let hang = lab.plant("executor.task_start", 1, Some(first), "hang")?;
    lab.cluster.spawn_worker_with(&Extra { free: true, ..Extra::default() })?;
    lab.cluster.worker_id(1)?;
    let (app, run) = lab.submit(&job)?;
    until("one attempt is left", || {
        let log = lab.events(app)?;
        let tasks = log.iter().find_map(|line| match &line.event {
            AppEvent::StageAdded { tasks, .. } => Some(*tasks as usize),
            _ => None,
        });
        let finished = log.iter().filter(|line| is_finish(line)).count();
        Ok(tasks.filter(|tasks| finished + 1 == *tasks))
    })?;
    let begin = Instant::now();
    lab.cluster.signal_worker(1, Signal::TERM);
    ensure(lab.cluster.worker_has_ended(1), "the worker does not leave")?;
    let left = begin.elapsed();
    let driver = lab.status(app)?.driver;
    lab.children(0, "executor").iter().for_each(|executor| signal(executor.pid, Signal::KILL));
    let finding = lab.verdict(app, &job, &run)?;
    let outputs =
        lab.events(app)?.iter().filter(|line| matches!(line.event, AppEvent::OutputLost { .. })).count();
    ensure(outputs == 0, "map outputs were lost with a worker that was asked to leave")?;
    // What ran again is the attempt that was killed so that it hangs no longer.
    ensure(finding.cost.reran <= 1, format!("{} tasks ran again", finding.cost.reran))?;
    let fired = u64::from(hang.fired());
    lab.close(1)?;
    let recomputed = finding.cost.reran.saturating_sub(finding.cost.lost);
    let finding = finding.fired(fired).with("recomputed", recomputed);
    Ok(finding.with("left_ms", left.as_millis()).with("driver_moved", driver != Some(first)))
}
