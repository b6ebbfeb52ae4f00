//! Rows 10 to 13: networks that are cut, one-sided, or slow. Namespaces stand for machines; where there are
//! none (no root), those rows are left out.

use super::Trial;
use crate::chaos::jobs::{Job, Kind};
use crate::chaos::lab::{Finding, Lab, ensure, only_lost_ran_again, until};
use crate::chaos::proc;
use crate::chaos::proxy::Proxy;
use firesteel_common::error::{ErrorCode, Result};
use firesteel_common::event::{AppEvent, FetchCause};
use firesteel_tests::cables::Cables;
use firesteel_tests::cluster::{Extra, Setup};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The budget of a worker's blocks on a slow link, and how much more memory it may take.
const BUDGET_MIB: u64 = 256;
const BUDGET_MORE_MIB: u64 = 64;

/// A cluster whose workers have machines of their own, or why there is none.
fn apart_workers(machines: u8, setup: Setup) -> Result<std::result::Result<(Lab, Cables), String>> {
    let cables = match Cables::lay(machines) {
        Ok(cables) => cables,
        Err(error) if error.code == ErrorCode::Unsupported => return Ok(Err(error.message)),
        Err(error) => return Err(error),
    };
    let mut setup = setup.set("tls.insecure_i_know", true);
    setup.listen = format!("{}:0", cables.home());
    let mut lab = Lab::open(&setup)?;
    for index in 0..usize::from(machines) {
        let listen = format!("{}:0", cables.address(index));
        let args = ["--listen", listen.as_str()];
        let extra = Extra { args: &args, netns: Some(cables.name(index)), ..Extra::default() };
        lab.cluster.spawn_worker_with(&extra)?;
        lab.cluster.worker_id(index)?;
    }
    lab.warm_up()?;
    Ok(Ok((lab, cables)))
}

pub fn cable(trial: &mut Trial) -> Result<Finding> {
    let mut finding: Option<Finding> = None;
    for cut_ms in if trial.short { vec![3_000] } else { vec![3_000, 30_000] } {
        let (lab, cables) = match apart_workers(2, Lab::setup(0))? {
            Ok(made) => made,
            Err(why) => return Ok(Finding::left_out(why)),
        };
        let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
        let (app, run) = lab.submit(&job)?;
        let (index, worker) = lab.other_worker(app, 2)?;
        lab.wait_for_work(app, worker, 1)?;
        cables.plug(index, false)?;
        lab.cluster.wait_for_workers(1)?;
        let found = lab.verdict(app, &job, &run)?;
        only_lost_ran_again(&lab.events(app)?)?;
        std::thread::sleep(Duration::from_millis(cut_ms));
        cables.plug(index, true)?;
        // TCP waits ever longer between its tries, so the way back takes a while.
        until("the worker is back", || {
            Ok((lab.workers()?.iter().filter(|worker| worker.alive).count() == 2).then_some(()))
        })?;
        let again = lab.run(&job)?;
        ensure(again.cost.lost == 0, "something is lost after the network is whole again")?;
        let lost = lab.metric("firesteel_workers_lost_total")?;
        let (fenced, stale) =
            (lab.metric("firesteel_messages_fenced_total")?, lab.metric("firesteel_reports_stale_total")?);
        lab.close(2)?;
        let found = found.fired(lost).with("cut_ms", cut_ms).with("fenced", fenced).with("stale", stale);
        finding = Some(match finding {
            Some(before) => before.and(found),
            None => found,
        });
    }
    Ok(finding.unwrap_or_default())
}

pub fn apart(trial: &mut Trial) -> Result<Finding> {
    let (lab, cables) = match apart_workers(2, Lab::setup(0))? {
        Ok(made) => made,
        Err(why) => return Ok(Finding::left_out(why)),
    };
    let job = lab.job(Kind::Wordcount, 200, &mut trial.draw)?;
    cables.cut(0, 1, true)?;
    let (app, run) = lab.submit(&job)?;
    let finding = lab.verdict(app, &job, &run)?;
    let log = lab.events(app)?;
    let unreachable =
        |event: &AppEvent| matches!(event, AppEvent::FetchFailed { cause: FetchCause::Unreachable, .. });
    let fetches = log.iter().filter(|line| unreachable(&line.event)).count();
    let blamed = log.iter().filter(|line| matches!(line.event, AppEvent::TaskFailed { .. })).count();
    ensure(blamed == 0, "a reader was blamed for what it could not reach")?;
    only_lost_ran_again(&log)?;
    cables.cut(0, 1, false)?;
    lab.close(2)?;
    Ok(finding.fired(fetches as u64))
}

pub fn half_open(trial: &mut Trial) -> Result<Finding> {
    // What the worker says is lost: the master misses it. What the master says is lost: links give up a peer
    // that they do not hear for 20 s, which is more than a short run waits for.
    let directions = if trial.short { vec![(true, false)] } else { vec![(true, false), (false, true)] };
    let mut finding: Option<Finding> = None;
    for (forth, back) in directions {
        let mut lab = Lab::open(&Lab::setup(1))?;
        let proxy = Proxy::start(lab.cluster.master())?;
        let address = proxy.address();
        let args = ["--master", address.as_str()];
        lab.cluster.spawn_worker_with(&Extra { args: &args, ..Extra::default() })?;
        let worker = lab.cluster.worker_id(1)?;
        let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
        let (app, run) = submit_elsewhere(&lab, &job, worker)?;
        lab.wait_for_work(app, worker, 1)?;
        proxy.lose(forth, back);
        let found = lab.verdict(app, &job, &run)?;
        let swallowed = until("bytes are lost", || Ok(Some(proxy.swallowed()).filter(|bytes| *bytes > 0)))?;
        let lost = lab.metric("firesteel_workers_lost_total")?;
        ensure(lost > 0 || !forth, "a worker that is not heard was not given up")?;
        proxy.lose(false, false);
        until("the worker is back", || {
            Ok((lab.workers()?.iter().filter(|worker| worker.alive).count() == 2).then_some(()))
        })?;
        lab.close(2)?;
        let found = found.fired(1).with(if forth { "lost_forth" } else { "lost_back" }, swallowed);
        finding = Some(match finding {
            Some(before) => before.and(found),
            None => found,
        });
    }
    Ok(finding.unwrap_or_default())
}

/// Submits until the driver is on another worker than this one.
fn submit_elsewhere(
    lab: &Lab,
    job: &Job,
    worker: firesteel_common::id::WorkerId,
) -> Result<(firesteel_common::id::AppId, crate::chaos::jobs::Run)> {
    for _ in 0..10 {
        let (app, run) = lab.submit(job)?;
        if until("a driver", || Ok(lab.status(app)?.driver))? != worker {
            return Ok((app, run));
        }
        lab.verdict(app, job, &run)?;
    }
    Err(crate::failed("the driver is on the same worker every time"))
}

pub fn slow(trial: &mut Trial) -> Result<Finding> {
    let setup = Lab::setup(0).set("worker.memory", format!("{BUDGET_MIB}M"));
    let (lab, cables) = match apart_workers(2, setup)? {
        Ok(made) => made,
        Err(why) => return Ok(Finding::left_out(why)),
    };
    if let Err(error) = cables.slow(0, "1mbit").and_then(|()| cables.slow(1, "1mbit")) {
        lab.close(2)?;
        return Ok(Finding::left_out(error.message));
    }
    let job = lab.job(Kind::Sort, trial.amount(20, 60), &mut trial.draw)?;
    let workers: Vec<u32> = lab.cluster.pids().into_iter().skip(1).collect();
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = std::time::Instant::now();
    let finding = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let now = workers.iter().filter_map(|worker| proc::peak_kib(*worker)).max();
                peak.fetch_max(now.unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let finding = lab.run(&job);
        done.store(true, Ordering::Relaxed);
        finding
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let peak = peak.load(Ordering::Relaxed) / 1024;
    ensure(peak <= BUDGET_MIB + BUDGET_MORE_MIB, format!("a worker took {peak} MiB"))?;
    ensure(finding.cost.lost == 0, "a slow link was taken for a dead one")?;
    lab.close(2)?;
    Ok(finding.fired(2).with("seconds_slow", format!("{seconds:.1}")).with("worker_peak_mib", peak))
}
