//! Every port of real processes under mutated input: a master and two workers, strangers at their sockets,
//! clients of the HTTP daemon, and peers that know the key and were taken over.
//!
//! Nothing may end, panic, or grow; strangers hear nothing; what is refused is counted; and a clean job runs
//! afterwards with the right answer. Everything that is sent follows from a seed (which of it meets which
//! moment of the processes does not).

mod insiders;
mod strangers;
mod tap;
mod web;
mod wire;

use crate::mutate::Rng;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::http::{DeployMode, SubmitRequest, WorkerInfo};
use firesteel_common::id::PluginHash;
use firesteel_common::protocol::codec::CODEC_BINCODE;
use firesteel_net::Key;
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use firesteel_tests::process;
use insiders::{Insider, client_driver};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tap::{Recording, Tap};
use wire::Way;

/// Connections at once.
const THREADS: u64 = 4;
/// How long an answer may take, or the end of a connection whose other end has said all it has to say.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much a process may grow between its warm-up and the end, in MiB.
const GROWTH_MIB: f64 = 16.0;
/// Of a hundred requests, those that warm up.
const WARM: u64 = 10;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything that is sent follows from it.
    pub seed: u64,
    /// Requests in all, roughly.
    pub requests: u64,
    /// Whether the cluster has certificates.
    pub tls: bool,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests and messages that were sent.
    pub requests: u64,
    /// Those that the other end did not take, because it had closed.
    pub cut_off: u64,
    /// Answers.
    pub answered: u64,
    /// Of these, acceptances (of HTTP).
    pub accepted: u64,
    /// Of these, refusals.
    pub refused: u64,
    /// Connections that were neither answered nor closed in time.
    pub silent: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.cut_off += other.cut_off;
        self.answered += other.answered;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.silent += other.silent;
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By kind of peer: what became of its requests, and how long they took together, in seconds.
    pub rows: BTreeMap<&'static str, (Tally, f64)>,
    /// By process: MiB after the warm-up, and at the end.
    pub memory: Vec<(String, f64, f64)>,
    /// Refusals of strangers and of HTTP clients that the master has counted.
    pub refusals: u64,
    /// Bytes that all processes have logged.
    pub log_bytes: usize,
}

impl Report {
    /// Requests in all.
    pub fn requests(&self) -> u64 {
        self.rows.values().map(|(tally, _)| tally.requests).sum()
    }
}

/// The kinds of peers, each with its share of a hundred requests.
const KINDS: [(&str, u64); 7] = [
    ("stranger at control", 10),
    ("stranger at data", 10),
    ("http", 35),
    ("rogue worker", 20),
    ("rogue driver", 10),
    ("rogue fetcher", 5),
    ("rogue reader", 10),
];

/// Runs a plan against a cluster of its own.
///
/// # Errors
/// What must not be: a process that ended, panicked or grew, a stranger that was told something, a connection
/// that was left open, refusals that were not counted, or a clean job that fails.
pub fn run(plan: Plan) -> Result<Report> {
    let dir = tempfile::tempdir().map_err(|cause| Error::io("making a directory", &cause))?;
    let mut setup = Setup::new(0).set("shuffle.same_host", "tcp");
    let mut way = Way::default();
    if plan.tls {
        certificates(dir.path())?;
        way = Way::with_certificates(dir.path())?;
        for (key, file) in [("tls.ca", "ca.crt"), ("tls.cert", "{role}.crt"), ("tls.key", "{role}.key")] {
            setup = setup.set(key, dir.path().join(file).display());
        }
    }
    let mut cluster = Cluster::start(&setup)?;
    let tap = Tap::start(cluster.master())?;
    let direct = cluster.master().to_owned();
    for through in [tap.address(), &direct] {
        cluster.spawn_worker_through(through)?;
    }
    let plugin = cluster.upload(&artifact("libwordcount.so")?)?.hash;
    // Recorded: the links of worker, driver and fetcher.
    for _ in 0..2 {
        clean_job(&cluster, plugin)?;
    }
    let field = Field {
        master: cluster.master().to_owned(),
        http: cluster.http().split("://").last().unwrap_or_default().to_owned(),
        token: cluster.token().to_owned(),
        data: data_servers(&cluster)?,
        key: Key::load(&cluster.run_dir().join("secret"))?,
        known: tap.recordings(),
        way,
    };
    if field.known.len() < 3 && !plan.tls {
        return Err(broken(format!("only {} connections were recorded", field.known.len())));
    }
    let report = rounds(&cluster, &field, plan, plugin).map_err(|error| {
        let ends = cluster.logs().unwrap_or_default().into_iter().map(|(name, log)| last_lines(&name, &log));
        let detail = format!("{}\n{}", error.detail, ends.collect::<Vec<_>>().join("\n"));
        error.with_detail(detail)
    })?;
    cluster.stop()?;
    drop(tap);
    Ok(report)
}

/// The last lines of a log.
fn last_lines(name: &str, log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    format!("-- {name}\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
}

/// The warm-up, and the rest.
fn rounds(cluster: &Cluster, field: &Field, plan: Plan, plugin: PluginHash) -> Result<Report> {
    let mut report = Report::default();
    let share = |percent: u64| Plan { requests: plan.requests * percent / 100, ..plan };
    round(cluster, field, share(WARM), plugin, &mut report)?;
    settle(cluster, plugin)?;
    let warm = memory(cluster)?;
    let rest = Plan { seed: plan.seed.wrapping_add(1 << 32), ..share(100 - WARM) };
    round(cluster, field, rest, plugin, &mut report)?;
    settle(cluster, plugin)?;
    report.memory =
        warm.into_iter().zip(memory(cluster)?).map(|((name, warm), (_, end))| (name, warm, end)).collect();
    check(cluster, &mut report)?;
    Ok(report)
}

/// Where everything is.
struct Field {
    master: String,
    http: String,
    token: String,
    data: Vec<String>,
    key: Key,
    known: Vec<Recording>,
    way: Way,
}

/// Every kind of peer in turn.
fn round(
    cluster: &Cluster,
    field: &Field,
    plan: Plan,
    plugin: PluginHash,
    report: &mut Report,
) -> Result<()> {
    for (at, (kind, percent)) in (0_u64..).zip(KINDS) {
        let begin = Instant::now();
        let refused_before = refusals(cluster)?;
        let requests = (plan.requests * percent / 100).max(1);
        let plan = Plan { seed: plan.seed ^ (at << 40), requests, ..plan };
        let tally = match kind {
            "rogue driver" => drivers(cluster, field, plan, plugin),
            _ => crowd(plan, |rng, tally| one(field, kind, rng, tally)),
        };
        let tally = tally.map_err(|error| error.context(format_args!("{kind}, seed {}", plan.seed)))?;
        let row = report.rows.entry(kind).or_default();
        row.0.add(tally);
        row.1 += begin.elapsed().as_secs_f64();
        // A worker reports refusals, too, and a rogue one says anything.
        if !kind.starts_with("rogue") {
            report.refusals += refusals(cluster)?.saturating_sub(refused_before);
        }
        let logs = cluster.logs()?;
        if let Some((name, line)) = panics(&logs) {
            return Err(broken(format!("{name} has panicked ({kind}, seed {}): {line}", plan.seed)));
        }
    }
    Ok(())
}

/// One connection of a kind.
fn one(field: &Field, kind: &str, rng: &mut Rng, tally: &mut Tally) -> Result<()> {
    let Field { master, http, token, data, key, known, way } = field;
    let insider = Insider { master, data, key, known, way };
    match kind {
        "stranger at control" => strangers::call(rng, way, master, known, tally),
        "stranger at data" => {
            let address = rng.pick(data).cloned().unwrap_or_default();
            strangers::call(rng, way, &address, known, tally)
        }
        "http" => web::call(rng, way, http, token, tally),
        "rogue worker" => insider.worker(rng, tally),
        "rogue fetcher" => insider.fetcher(rng, tally),
        _ => insider.reader(rng, tally),
    }
}

/// Several connections at once, one after the other on each thread, until all requests were sent.
fn crowd(plan: Plan, call: impl Fn(&mut Rng, &mut Tally) -> Result<()> + Sync) -> Result<Tally> {
    let share = plan.requests.div_ceil(THREADS);
    let work = |thread: u64| -> Result<Tally> {
        let mut rng = Rng::new(plan.seed.wrapping_mul(THREADS).wrapping_add(thread));
        let mut tally = Tally::default();
        // A connection that is turned away counts for one.
        let mut calls = 0;
        while tally.requests.max(calls) < share {
            calls += 1;
            call(&mut rng, &mut tally)?;
        }
        Ok(tally)
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        let mut all = Tally::default();
        for thread in threads {
            all.add(thread.join().map_err(|_| broken("a connection panicked".to_owned()))??);
        }
        Ok(all)
    })
}

/// Drivers of clients: each needs an application of its own.
fn drivers(cluster: &Cluster, field: &Field, plan: Plan, plugin: PluginHash) -> Result<Tally> {
    let Field { master, data, key, known, way, .. } = field;
    let insider = Insider { master, data, key, known, way };
    let mut rng = Rng::new(plan.seed);
    let mut tally = Tally::default();
    while tally.requests < plan.requests {
        let answer = cluster.submit(&request(plugin, DeployMode::Client))?;
        let driver = client_driver(answer.client_driver)?;
        insider.driver(&mut rng, answer.app, &driver, &mut tally)?;
    }
    Ok(tally)
}

/// Makes certificates for this machine, as an operator does.
fn certificates(dir: &Path) -> Result<()> {
    let mut command = std::process::Command::new(firesteel_tests::cluster::binary()?);
    command.args(["admin", "certs", "--host", "127.0.0.1", "--out"]).arg(dir);
    let made = command.output().map_err(|cause| Error::io("making certificates", &cause))?;
    match made.status.success() {
        true => Ok(()),
        false => Err(broken(String::from_utf8_lossy(&made.stderr).into_owned())),
    }
}

fn request(plugin: PluginHash, deploy_mode: DeployMode) -> SubmitRequest {
    SubmitRequest {
        name: "fuzz".to_owned(),
        plugin: Some(plugin),
        entry: "empty_tasks".to_owned(),
        args: BTreeMap::from([("count".to_owned(), "8".to_owned())]),
        sql: None,
        tables: BTreeMap::new(),
        deploy_mode,
        idempotency_key: None,
        conf: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}

/// A job that says nothing wrong has the right answer.
fn clean_job(cluster: &Cluster, plugin: PluginHash) -> Result<()> {
    let input = cluster.scratch().join("input.txt");
    std::fs::write(&input, "to be or not to be\n").map_err(|cause| Error::io("writing a text", &cause))?;
    let mut request = request(plugin, DeployMode::Cluster);
    request.entry = "wordcount".to_owned();
    request.args = BTreeMap::from([("input".to_owned(), input.display().to_string())]);
    let (_, result) = cluster.run(&request)?;
    let text = String::from_utf8_lossy(&result).replace(char::is_whitespace, "");
    if text.contains("[\"be\",2],[\"to\",2]") || text.contains("[\"to\",2],[\"be\",2]") {
        return Ok(());
    }
    Err(broken(format!("the words of a clean job are counted wrong: {text}")))
}

/// Waits until only the real workers are there, and runs a clean job.
fn settle(cluster: &Cluster, plugin: PluginHash) -> Result<()> {
    cluster.wait_for_workers(2)?;
    clean_job(cluster, plugin)
}

fn data_servers(cluster: &Cluster) -> Result<Vec<String>> {
    let workers: Vec<WorkerInfo> = cluster.get_json("/workers")?;
    Ok(workers.into_iter().map(|worker| worker.address).collect())
}

fn refusals(cluster: &Cluster) -> Result<u64> {
    let page = String::from_utf8_lossy(&cluster.get("/metrics")?).into_owned();
    let line = page.lines().find_map(|line| line.strip_prefix("firesteel_requests_refused_total "));
    line.and_then(|count| count.trim().parse().ok())
        .ok_or_else(|| broken("the master does not count refusals".to_owned()))
}

fn memory(cluster: &Cluster) -> Result<Vec<(String, f64)>> {
    let names = cluster.logs()?.into_iter().map(|(name, _)| name);
    names.zip(cluster.pids()).map(|(name, pid)| Ok((name, process::memory(pid)?.resident))).collect()
}

/// What must be at the end.
fn check(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let logs = cluster.logs()?;
    report.log_bytes = logs.iter().map(|(_, log)| log.len()).sum();
    if let Some((name, line)) = panics(&logs) {
        return Err(broken(format!("{name} has panicked: {line}")));
    }
    for (name, warm, end) in &report.memory {
        if end - warm > GROWTH_MIB {
            let what = format!("{name} has grown from {warm:.1} MiB to {end:.1} MiB");
            return Err(broken(what).with_detail(format!("{:#?}", report.rows)));
        }
    }
    let silent: u64 = report.rows.values().map(|(tally, _)| tally.silent).sum();
    if silent > 0 {
        return Err(broken(format!("{silent} connections were not closed in time"))
            .with_detail(format!("{:#?}", report.rows)));
    }
    if report.refusals == 0 {
        return Err(broken("no refusal was counted".to_owned()));
    }
    Ok(())
}

fn panics(logs: &[(String, String)]) -> Option<(String, String)> {
    logs.iter().find_map(|(name, log)| {
        let line = log.lines().find(|line| line.contains("panicked"))?;
        Some((name.clone(), line.to_owned()))
    })
}

fn broken(what: String) -> Error {
    Error::new(ErrorCode::Internal, what)
}

/// A message as a frame.
fn frame(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes();
    [len.as_slice(), &[CODEC_BINCODE], message].concat()
}

/// What begins a TLS session, roughly.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 53]);
    hello.resize(105, 0);
    hello
}
