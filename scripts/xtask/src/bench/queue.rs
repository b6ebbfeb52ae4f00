//! Many applications at once: all are accepted, none is lost or there twice, a restarted master knows them,
//! and every one comes to an end.
//!
//! The submissions come over several HTTP connections at a real cluster, whose workers run drivers meanwhile.
//! Then the master is killed and started again. What has not run when its time is over is killed over HTTP.

use crate::failed;
use clap::Args;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::http::{AppState, AppStatus, SubmitRequest, SubmitResponse};
use firesteel_common::id::{AppId, PluginHash};
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use firesteel_tests::process;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The bars.
const SUBMIT_P99_MS: f64 = 50.0;
const MASTER_MIB: f64 = 512.0;
const READY_SECONDS: f64 = 5.0;
/// Entries of one page of the list at most, as the daemon promises.
const PAGE: usize = 1000;
/// How long the applications may take to end once they are killed.
const END_PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct QueueArgs {
    /// Applications
    #[arg(long, default_value_t = 10_000)]
    apps: u64,
    /// HTTP connections that submit
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// Drivers that each of the two workers runs at once
    #[arg(long, default_value_t = 1)]
    drivers: u32,
    /// How long applications run before those that wait are killed, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Runs it.
///
/// # Errors
/// If an application is lost, there twice, or does not end; or a bar is missed.
pub fn run(args: &QueueArgs) -> Result<()> {
    let setup = Setup::new(2).set("worker.max_drivers", args.drivers).set("master.queue_max", args.apps);
    let mut cluster = Cluster::start(&setup)?;
    let plugin = cluster.upload(&artifact("libwordcount.so")?)?.hash;
    let mut missed = Vec::new();
    let mut bar = |what: &str, found: f64, most: f64| {
        if found > most {
            missed.push(format!("{what} is {found:.1}, and {most:.1} is the bar"));
        }
    };

    let begin = Instant::now();
    let submitted = submit_all(&cluster, plugin, args)?;
    let seconds = begin.elapsed().as_secs_f64();
    let times = sorted(submitted.iter().map(|(_, ms)| *ms).collect());
    let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
    println!(
        "queue_submit apps={} connections={} seconds={seconds:.2} p50_ms={p50:.2} p99_ms={p99:.2} \
         max_ms={:.2}",
        submitted.len(),
        args.connections,
        times.last().copied().unwrap_or(f64::NAN),
    );
    bar("submit p99 in ms", p99, SUBMIT_P99_MS);
    let full = master_memory(&cluster)?;
    println!("queue_master resident_mib={:.1} peak_mib={:.1}", full.resident, full.peak);
    bar("the master's peak in MiB", full.peak, MASTER_MIB);
    let ids: BTreeSet<AppId> = submitted.iter().map(|(app, _)| *app).collect();
    check(&listed(&cluster)?, &ids, "after the submissions")?;

    cluster.kill_master();
    let begin = Instant::now();
    cluster.restart_master()?;
    let ready = begin.elapsed().as_secs_f64();
    let again = submit_some(&cluster, plugin, args, &submitted)?;
    println!("queue_restart applications={} ready_seconds={ready:.3} same_key_same_app={again}", ids.len());
    bar("seconds until a restarted master is ready", ready, READY_SECONDS);
    check(&listed(&cluster)?, &ids, "after the restart")?;

    std::thread::sleep(Duration::from_secs(args.seconds));
    let ended = end_all(&cluster, args)?;
    check(&ended, &ids, "at the end")?;
    let count = |state: AppState| ended.iter().filter(|app| app.state == state).count();
    let (succeeded, killed) = (count(AppState::Succeeded), count(AppState::Killed));
    let last = master_memory(&cluster)?;
    println!(
        "queue_end succeeded={succeeded} killed={killed} failed={} lost=0 duplicated=0 peak_mib={:.1}",
        count(AppState::Failed),
        last.peak
    );
    bar("the restarted master's peak in MiB", last.peak, MASTER_MIB);
    if succeeded + killed != ended.len() {
        let odd = ended.iter().find(|app| app.state == AppState::Failed).and_then(|app| app.error.clone());
        missed.push(format!("applications have failed, the first with {odd:?}"));
    }
    cluster.stop()?;
    if missed.is_empty() { Ok(()) } else { Err(failed(missed.join("; "))) }
}

/// One connection to the daemon.
struct Client {
    agent: ureq::Agent,
    url: String,
    bearer: String,
}

impl Client {
    fn new(cluster: &Cluster) -> Self {
        let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(END_PATIENCE));
        let url = format!("{}/api/firesteel/v1", cluster.http());
        Self { agent: config.build().new_agent(), url, bearer: format!("Bearer {}", cluster.token()) }
    }

    fn post<T: serde::Serialize>(&self, path: &str, message: &T) -> Result<ureq::Body> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("Authorization", &self.bearer);
        let answer = request.send_json(message).map(|answer| answer.into_body());
        answer.map_err(|cause| Error::new(ErrorCode::Unreachable, format!("POST {path}: {cause}")))
    }

    fn submit(&self, request: &SubmitRequest) -> Result<AppId> {
        let answer = self.post("/applications", request)?.read_json::<SubmitResponse>();
        answer
            .map(|answer| answer.app)
            .map_err(|cause| failed(format!("the answer to a submission: {cause}")))
    }
}

fn request(plugin: PluginHash, number: u64) -> SubmitRequest {
    SubmitRequest {
        name: name(number),
        plugin: Some(plugin),
        entry: "empty_tasks".to_owned(),
        args: BTreeMap::from([("count".to_owned(), "1".to_owned())]),
        sql: None,
        tables: BTreeMap::new(),
        conf: BTreeMap::new(),
        tags: BTreeMap::new(),
        deploy_mode: Default::default(),
        idempotency_key: Some(name(number)),
    }
}

fn name(number: u64) -> String {
    format!("queue-{number}")
}

/// Does something with every number below `count`, on as many threads as there are connections.
fn on_connections<T: Send>(
    cluster: &Cluster,
    connections: u64,
    count: u64,
    each: impl Fn(&Client, u64) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let step = connections.clamp(1, 64);
    let clients: Vec<Client> = (0..step).map(|_| Client::new(cluster)).collect();
    let work = |first: u64, client: &Client| -> Result<Vec<T>> {
        (first..count).step_by(step as usize).map(|number| each(client, number)).collect()
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..step).zip(&clients).map(|(first, client)| scope.spawn(move || work(first, client))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| failed("a connection panicked"))??);
        }
        Ok(all)
    })
}

/// The applications, each with the milliseconds that its submission took; in no order.
fn submit_all(cluster: &Cluster, plugin: PluginHash, args: &QueueArgs) -> Result<Vec<(AppId, f64)>> {
    on_connections(cluster, args.connections, args.apps, |client, number| {
        let begin = Instant::now();
        let app = client.submit(&request(plugin, number))?;
        Ok((app, begin.elapsed().as_secs_f64() * 1e3))
    })
}

/// Some of the submissions again, under the same keys: how many were answered with an application that is
/// there already.
fn submit_some(
    cluster: &Cluster,
    plugin: PluginHash,
    args: &QueueArgs,
    known: &[(AppId, f64)],
) -> Result<usize> {
    let client = Client::new(cluster);
    let known: BTreeSet<AppId> = known.iter().map(|(app, _)| *app).collect();
    let step = (args.apps / 100).max(1) as usize;
    let mut same = 0;
    for number in (0..args.apps).step_by(step) {
        let app = client.submit(&request(plugin, number))?;
        if !known.contains(&app) {
            return Err(failed(format!("{} was accepted a second time, as {app}", name(number))));
        }
        same += 1;
    }
    Ok(same)
}

/// The whole list, page by page; says how long the slowest page took.
fn listed(cluster: &Cluster) -> Result<Vec<AppStatus>> {
    let (mut all, mut slowest, mut pages): (Vec<AppStatus>, f64, u32) = (Vec::new(), 0.0, 0);
    loop {
        let begin = Instant::now();
        // More is asked for than a page holds.
        let path = format!("/applications?offset={}&limit=1000000", all.len());
        let page: Vec<AppStatus> = cluster.get_json(&path)?;
        slowest = slowest.max(begin.elapsed().as_secs_f64() * 1e3);
        if page.len() > PAGE {
            return Err(failed(format!("a page of the list has {} entries", page.len())));
        }
        if page.is_empty() {
            println!("queue_list applications={} pages={pages} slowest_page_ms={slowest:.1}", all.len());
            return Ok(all);
        }
        pages += 1;
        all.extend(page);
    }
}

/// Whether the list has exactly these applications, each of them once and under a name of its own.
fn check(list: &[AppStatus], ids: &BTreeSet<AppId>, when: &str) -> Result<()> {
    let found: BTreeSet<AppId> = list.iter().map(|app| app.app).collect();
    let names: BTreeSet<&str> = list.iter().map(|app| app.name.as_str()).collect();
    let (lost, strange) = (ids.difference(&found).count(), found.difference(ids).count());
    let twice = list.len() - names.len().min(found.len());
    if lost + strange + twice == 0 {
        return Ok(());
    }
    Err(failed(format!("{when}: {lost} lost, {strange} unknown, {twice} there twice")))
}

/// Kills what has not ended, and waits until all has.
fn end_all(cluster: &Cluster, args: &QueueArgs) -> Result<Vec<AppStatus>> {
    let open: Vec<AppId> =
        listed(cluster)?.iter().filter(|app| !app.state.is_final()).map(|app| app.app).collect();
    let begin = Instant::now();
    on_connections(cluster, args.connections, open.len() as u64, |client, number| {
        let app = open.get(number as usize).copied().unwrap_or_default();
        client.post(&format!("/applications/{app}/kill"), &()).map(drop)
    })?;
    println!("queue_kill applications={} seconds={:.2}", open.len(), begin.elapsed().as_secs_f64());
    loop {
        let all = listed(cluster)?;
        let left = all.iter().filter(|app| !app.state.is_final()).count();
        if left == 0 {
            return Ok(all);
        }
        if begin.elapsed() > END_PATIENCE {
            return Err(failed(format!("{left} applications do not end")));
        }
        std::thread::sleep(LOOK);
    }
}

fn master_memory(cluster: &Cluster) -> Result<process::Memory> {
    process::memory(cluster.pids().first().copied().unwrap_or_default())
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value that `percent` of the sorted ones do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_not_exceeded_by_so_many() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100.0, 198.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert!(percentile(&[], 50).is_nan());
    }
}
