//! Row 8: a driver dies. A supervised application starts it again, so often as is allowed; another one fails.
//! Either way its slots are free soon.

use super::Trial;
use crate::chaos::jobs::Kind;
use crate::chaos::lab::{Finding, Lab, PATIENCE, ensure, error_of, signal, until};
use firesteel_common::error::{Error, Result};
use firesteel_common::id::AppId;
use firesteel_tests::cluster::artifact;
use rustix::process::Signal;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How often a supervised driver is started again.
const AGAIN: u32 = 3;
/// How soon slots are free. The bar is 2 s; more is for a busy machine.
const FREE_MAX: Duration = Duration::from_secs(5);

pub fn dies(trial: &mut Trial) -> Result<Finding> {
    let finding = supervised(trial)?;
    let finding = finding.and(alone(trial)?);
    Ok(finding.and(client(trial)?))
}

/// Kills the driver of a running attempt; returns once it is dead.
fn kill_driver(lab: &mut Lab, app: AppId, attempt: u32) -> Result<()> {
    until("the driver runs", || {
        let status = lab.status(app)?;
        let index = match status.driver {
            Some(_) if status.attempt == attempt => lab.driver_worker(app, 2)?,
            _ => return Ok(None),
        };
        let drivers = lab.children(index, "driver");
        drivers.iter().for_each(|driver| signal(driver.pid, Signal::KILL));
        Ok((!drivers.is_empty()).then_some(()))
    })
}

fn supervised(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(2))?;
    let job = lab.job(Kind::Wordcount, 300, &mut trial.draw)?;
    let mut run = job.run();
    run.request.conf.insert("spark.driver.supervise".into(), "true".into());
    let deaths = 1 + trial.draw.below(u64::from(AGAIN)) as u32;
    let app = lab.cluster.submit(&run.request)?.app;
    for attempt in 1..=deaths {
        kill_driver(&mut lab, app, attempt)?;
    }
    let finding = lab.verdict(app, &job, &run)?;
    let attempt = lab.status(app)?.attempt;
    ensure(attempt == deaths + 1, format!("{deaths} drivers died, and attempt {attempt} succeeded"))?;
    // Once too often.
    run.request.conf.insert("firesteel.app.timeout".into(), "60s".into());
    let app = lab.cluster.submit(&run.request)?.app;
    for attempt in 1..=AGAIN + 1 {
        kill_driver(&mut lab, app, attempt)?;
    }
    let status = lab.cluster.wait(app)?;
    error_of(&status)?;
    ensure(status.attempt == AGAIN + 1, format!("it failed at attempt {}", status.attempt))?;
    lab.close(2)?;
    Ok(finding.fired(u64::from(deaths + AGAIN + 1)).with("attempts", attempt))
}

/// How long it takes until all slots are free.
fn all_free(lab: &Lab) -> Result<Duration> {
    let begin = Instant::now();
    until("slots are free", || {
        Ok(lab.workers()?.iter().all(|worker| worker.slots_free == worker.slots).then_some(()))
    })?;
    Ok(begin.elapsed())
}

fn alone(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(2))?;
    let job = lab.job(Kind::Wordcount, 500, &mut trial.draw)?;
    let (app, _) = lab.submit(&job)?;
    until("tasks run", || {
        Ok(lab.workers()?.iter().any(|worker| worker.slots_free < worker.slots).then_some(()))
    })?;
    kill_driver(&mut lab, app, 1)?;
    let free = all_free(&lab)?;
    let error = error_of(&lab.cluster.wait(app)?)?;
    ensure(free <= FREE_MAX, format!("slots were free after {free:?}"))?;
    lab.close(2)?;
    let finding = Finding { fired: 1, equal: true, ..Finding::default() };
    Ok(finding.with("unsupervised", error.code).with("free_ms", free.as_millis()))
}

/// A driver beside the client: it is killed with the command that runs it.
fn client(trial: &mut Trial) -> Result<Finding> {
    let lab = Lab::open(&Lab::setup(2))?;
    let job = lab.job(Kind::Wordcount, 500, &mut trial.draw)?;
    let run = job.run();
    let plugin = artifact("libwordcount.so")?;
    let mut submit = lab.cluster.firesteel(&["submit", "--deploy-mode", "client", "--entry", "wordcount"])?;
    submit.arg(plugin).args(run.request.args.iter().map(|(name, value)| format!("{name}={value}")));
    let before = lab.cluster.get_json::<Vec<firesteel_common::http::AppStatus>>("/applications")?.len();
    let child = submit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|cause| Error::io("starting a client", &cause))?;
    let begun = until("tasks run", || {
        Ok(lab.workers()?.iter().any(|worker| worker.slots_free < worker.slots).then_some(()))
    });
    let _ = child.kill();
    let _ = child.wait();
    begun?;
    let free = all_free(&lab)?;
    let apps: Vec<firesteel_common::http::AppStatus> = lab.cluster.get_json("/applications")?;
    ensure(apps.len() == before + 1, "the client's application is not there once")?;
    let newest = apps.iter().max_by_key(|app| app.app).map(|app| app.app).unwrap_or_default();
    let error = error_of(&lab.cluster.wait(newest)?)?;
    ensure(free <= FREE_MAX && free <= PATIENCE, format!("slots were free after {free:?}"))?;
    lab.close(2)?;
    let finding = Finding { fired: 1, equal: true, ..Finding::default() };
    Ok(finding.with("client_gone", error.code).with("client_free_ms", free.as_millis()))
}
