//! Rows 7 and 9: the master dies at any moment, also between its journal and its answer. No accepted
//! application is lost, none is there twice, none that has an outcome runs again.

use super::Trial;
use crate::chaos::jobs::{Job, Kind};
use crate::chaos::lab::{Finding, Lab, ensure};
use crate::{failed, nothing};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::http::{AppStatus, SubmitRequest};
use firesteel_common::id::{AppId, PluginHash};
use firesteel_tests::cluster::artifact;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that submit while the master dies.
const CLIENTS: u64 = 3;
/// How soon a master that is started again is ready.
const READY_MAX: Duration = Duration::from_secs(5);

/// What clients were answered: key and application.
type Accepted = Mutex<BTreeMap<String, AppId>>;

pub fn dies_at_any_moment(trial: &mut Trial) -> Result<Finding> {
    let setup = Lab::setup(2).set("worker.max_drivers", 2).set("master.queue_max", 100_000);
    let mut lab = Lab::open(&setup)?;
    let plugin = lab.cluster.upload(&artifact("libwordcount.so")?)?.hash;
    let job = lab.job(Kind::Wordcount, 300, &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    let accepted = Accepted::default();
    let kills = trial.amount(12, 200);
    let (mut slowest, mut done): (Duration, BTreeMap<AppId, u32>) = Default::default();
    for round in 0..kills {
        let stop = AtomicBool::new(false);
        let pause = Duration::from_micros(trial.draw.below(80_000));
        let (url, token) = (lab.cluster.http().to_owned(), lab.cluster.token().to_owned());
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (accepted, stop, url, token) = (&accepted, &stop, &url, &token);
                scope.spawn(move || submit_until(url, token, plugin, (round, client), accepted, stop));
            }
            std::thread::sleep(pause);
            lab.cluster.kill_master();
            stop.store(true, Ordering::Relaxed);
        });
        let begin = Instant::now();
        lab.cluster.restart_master()?;
        slowest = slowest.max(begin.elapsed());
        // What had an outcome before keeps it, at the same driver attempt.
        let list = everything(&lab)?;
        for (app, attempt) in &done {
            let now = list.get(app).ok_or_else(|| failed(format!("{app} is lost, which had ended")))?;
            let same = now.state.is_final() && now.attempt == *attempt;
            ensure(same, format!("{app} had ended at attempt {attempt}, and is {now:?}"))?;
        }
        done = list.values().filter(|app| app.state.is_final()).map(|app| (app.app, app.attempt)).collect();
        whole(&accepted, &list)?;
    }
    ensure(slowest <= READY_MAX, format!("a master was ready after {slowest:?}"))?;
    let finding = settle(&mut lab, &job, (app, &run), &accepted)?;
    lab.close(2)?;
    let count = accepted.lock().unwrap_or_else(PoisonError::into_inner).len();
    let finding = finding.fired(kills).with("accepted", count).with("lost_apps", 0).with("run_twice", 0);
    Ok(finding.with("ready_max_ms", slowest.as_millis()))
}

/// All end, and are there once; the job that was in progress has its right answer.
fn settle(
    lab: &mut Lab,
    job: &Job,
    (app, run): (AppId, &crate::chaos::jobs::Run),
    accepted: &Accepted,
) -> Result<Finding> {
    lab.cluster.wait_for_workers(2)?;
    let finding = lab.verdict(app, job, run)?;
    let ids: Vec<AppId> = accepted.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect();
    for id in ids {
        let status = lab.cluster.wait(id)?;
        if let Some(error) = status.error {
            return Err(error.context(id));
        }
        let ends = lab.cluster.events(id)?;
        let ended = |line: &&firesteel_common::event::LoggedEvent| {
            matches!(line.event, firesteel_common::event::AppEvent::AppEnded { .. })
        };
        let ends = ends.iter().filter(ended).count();
        ensure(ends == 1, format!("{id} ended {ends} times"))?;
    }
    Ok(finding)
}

/// Every application of the master, by id.
fn everything(lab: &Lab) -> Result<BTreeMap<AppId, AppStatus>> {
    let mut all = BTreeMap::new();
    loop {
        let page: Vec<AppStatus> =
            lab.cluster.get_json(&format!("/applications?offset={}&limit=1000", all.len()))?;
        if page.is_empty() {
            return Ok(all);
        }
        let before = all.len();
        all.extend(page.into_iter().map(|app| (app.app, app)));
        ensure(all.len() > before, "the list of applications goes in circles")?;
    }
}

/// Whether every accepted submission is there, and no key twice.
fn whole(accepted: &Accepted, list: &BTreeMap<AppId, AppStatus>) -> Result<()> {
    let accepted = accepted.lock().unwrap_or_else(PoisonError::into_inner);
    for (key, app) in accepted.iter() {
        let found = list.get(app).ok_or_else(|| failed(format!("{app} ({key}) was accepted and is lost")))?;
        ensure(found.name == *key, format!("{app} is another one: {}", found.name))?;
    }
    let mut names = BTreeSet::new();
    let twice = list.values().find(|app| app.name.starts_with("key-") && !names.insert(app.name.as_str()));
    ensure(twice.is_none(), format!("a key is there twice: {twice:?}"))
}

/// A small submission under a key, which is its name, too.
fn small(plugin: PluginHash, key: &str) -> SubmitRequest {
    SubmitRequest {
        name: key.to_owned(),
        plugin: Some(plugin),
        entry: "empty_tasks".into(),
        args: BTreeMap::from([("count".to_owned(), "1".to_owned())]),
        idempotency_key: Some(key.to_owned()),
        ..nothing()
    }
}

/// One client: submits one after the other until it is to stop or the master is gone.
fn submit_until(
    url: &str,
    token: &str,
    plugin: PluginHash,
    (round, client): (u64, u64),
    accepted: &Accepted,
    stop: &AtomicBool,
) {
    let agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(10)));
    let agent = agent.build().new_agent();
    for number in 0..8_u64 {
        let key = format!("key-{round}-{client}-{number}");
        let request = agent.post(format!("{url}/api/firesteel/v1/applications"));
        let answer =
            request.header("Authorization", format!("Bearer {token}")).send_json(small(plugin, &key));
        let answer = answer.and_then(|mut answer| answer.body_mut().read_json::<serde_json::Value>());
        let Ok(answer) = answer else { return };
        let app = answer.get("app").and_then(|app| serde_json::from_value(app.clone()).ok());
        if let Some(app) = app {
            accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(key, app);
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// How often the moment between journal and answer is looked for at most.
const ROUNDS_MAX: u64 = 120;

pub fn dies_before_it_answers(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(2))?;
    let plugin = lab.cluster.upload(&artifact("libwordcount.so")?)?.hash;
    let rounds = trial.amount(15, 100);
    let (mut before, mut between, mut after) = (0_u64, 0_u64, 0_u64);
    let mut centre = Duration::from_millis(4);
    let mut round = 0;
    // The moment is a short one, so it is looked for longer than that if it was never hit.
    while round < rounds || (between == 0 && round < ROUNDS_MAX) {
        let key = format!("key-{round}");
        round += 1;
        let request = small(plugin, &key);
        let pause = centre.mul_f64(0.6 + trial.draw.below(1000) as f64 / 1250.0);
        let answered = cut_off(&mut lab, &request, pause)?;
        lab.cluster.restart_master()?;
        let journaled = everything(&lab)?.values().any(|app| app.name == key);
        let app = lab.cluster.submit(&request)?.app;
        let again = lab.cluster.submit(&request)?.app;
        let list = everything(&lab)?;
        let there = list.values().filter(|app| app.name == key).count();
        ensure(there == 1 && app == again, format!("{key} is there {there} times"))?;
        ensure(journaled || !answered, format!("{key} was answered and is lost"))?;
        // The moments are drawn around the one in between, wherever that lies on this machine.
        match (journaled, answered) {
            (false, _) => {
                before += 1;
                centre = centre.mul_f64(1.25);
            }
            (true, false) => between += 1,
            (true, true) => {
                after += 1;
                centre = centre.mul_f64(0.8);
            }
        }
        centre = centre.clamp(Duration::from_micros(100), Duration::from_secs(2));
    }
    lab.cluster.wait_for_workers(2)?;
    for app in everything(&lab)?.into_keys() {
        let status = lab.cluster.wait(app)?;
        ensure(status.error.is_none(), format!("{app}: {:?}", status.error))?;
    }
    lab.close(2)?;
    let finding = Finding { fired: between, equal: true, ..Finding::default() };
    let finding = finding.with("rounds", round).with("before_journal", before);
    Ok(finding.with("between", between).with("after_answer", after))
}

/// Sends a submission, kills the master a moment later, and says whether the answer had come.
fn cut_off(lab: &mut Lab, request: &SubmitRequest, pause: Duration) -> Result<bool> {
    let failed = |cause: std::io::Error| Error::io("talking to the daemon", &cause);
    let address = lab.cluster.http().trim_start_matches("http://").to_owned();
    let body = serde_json::to_vec(request)
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("a submission: {cause}")))?;
    let head = format!(
        "POST /api/firesteel/v1/applications HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        lab.cluster.token(),
        body.len()
    );
    let mut stream = TcpStream::connect(&address).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.write_all(&[head.as_bytes(), &body].concat()).map_err(failed)?;
    let begin = Instant::now();
    while begin.elapsed() < pause {
        std::hint::spin_loop();
    }
    lab.cluster.kill_master();
    let mut answer = Vec::new();
    // The connection of a killed process ends, with or without an answer before.
    let _ = stream.read_to_end(&mut answer);
    Ok(answer.starts_with(b"HTTP/1.1 2"))
}
