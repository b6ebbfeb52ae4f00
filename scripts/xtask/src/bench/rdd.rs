//! `scripts/bench rdd`: ten workloads on two one-core workers, once with fetches over TCP and once mapped,
//! beside hand-written programs on the same data, in turns. Answers are compared before times are.
//!
//! What is *not* here: the workloads themselves, which are jobs (`jobs/wordcount`,
//! `tests/plugins/workloads`).

mod baseline;
mod data;
mod workload;

use super::{local_ready, median_of};
use crate::{failed, nothing, timing};
use baseline::{Told, compare, hand_written};
use clap::Args;
use data::Data;
use firesteel_common::error::{Error, Result};
use firesteel_common::http::SubmitRequest;
use firesteel_common::id::PluginHash;
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use workload::{WORKLOADS, Workload};

/// How workers of one machine fetch from each other: the settings of `shuffle.same_host`.
const TRANSPORTS: [&str; 2] = ["tcp", "map"];

/// With less memory a worker has no room for a cache at all, and nothing is to be expected of it.
const MEMORY_MIN: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct RddArgs {
    /// A directory of programs to compare with: `DIR/cost WORKLOAD THREADS ARGS…` does the same by hand
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// A directory of data; what is not there is made there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How much data is made: records of a sort and pairs of a join (a text has 100 bytes for each)
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Only this workload; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How often each is measured; the median is printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Runs it.
///
/// # Errors
/// If something that is measured does not work, an answer differs from that of the hand-written program, or a
/// bar is missed.
pub fn run(args: &RddArgs) -> Result<()> {
    let unknown = args.only.iter().find(|name| !WORKLOADS.iter().any(|one| one.name == name.as_str()));
    if let Some(name) = unknown {
        let known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        return Err(failed(format!("there is no workload {name}")).with_help(known.join(", ")));
    }
    let chosen: Vec<&Workload> = WORKLOADS
        .iter()
        .filter(|one| args.only.is_empty() || args.only.iter().any(|name| name == one.name))
        .collect();
    let data = Data::open(args.data.as_deref(), args.baseline.as_deref(), args.rows)?;
    if args.only.is_empty() {
        println!("local_ready seconds={:.3}", median_of(args.runs, local_ready)?);
    }
    let start = |transport: &&str| Bench::start(&Setup::new(2).set("shuffle.same_host", transport));
    let benches = TRANSPORTS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut missed = Vec::new();
    for workload in &chosen {
        data.provide(workload.files)?;
        missed.extend(measure(workload, &benches, &data, args)?);
    }
    benches.into_iter().try_for_each(|bench| bench.cluster.stop())?;
    let one = |name: &str| chosen.iter().find(|workload| workload.name == name);
    if let (Some(cached), Some(read)) = (one("logistic"), one("logistic_text")) {
        missed.extend(half_cached(cached, read, &data, args.runs)?);
    }
    if missed.is_empty() {
        Ok(())
    } else {
        Err(failed(format!("slower than the bar: {}", missed.join(", "))))
    }
}

/// Measures one workload and prints it. The name of it if it misses its bar.
fn measure(workload: &Workload, benches: &[Bench], data: &Data, args: &RddArgs) -> Result<Option<String>> {
    let program = args.baseline.as_deref().map(|dir| dir.join("cost"));
    let hand = |threads: u32| -> Result<Option<Told>> {
        let Some(program) = &program else { return Ok(None) };
        hand_written(program, workload, threads, data).map(Some)
    };
    let one = hand(1)?.map(|told| told.seconds);
    let mut ours: Vec<Vec<f64>> = vec![Vec::new(); benches.len()];
    let mut jobs = ours.clone();
    let mut two = Vec::new();
    for _ in 0..args.runs.max(1) {
        // One after the other, so that what disturbs the machine disturbs all.
        let answers = benches.iter().map(|bench| bench.run(workload, data)).collect::<Result<Vec<_>>>()?;
        let told = hand(2)?;
        for (number, answer) in answers.iter().enumerate() {
            if let Some(told) = &told {
                compare(workload.name, &answer.text, &told.results)?;
            } else if answer.text != answers[0].text && workload.exact {
                return Err(failed(format!(
                    "{}: {} over one way, {} over the other",
                    workload.name, answers[0].text, answer.text
                )));
            }
            ours[number].push(answer.seconds);
            jobs[number].push(answer.job_seconds);
        }
        two.extend(told.map(|told| told.seconds));
    }
    let two = (!two.is_empty()).then(|| timing::median(two));
    let mut missed = None;
    for (number, transport) in TRANSPORTS.iter().enumerate() {
        let seconds = timing::median(std::mem::take(&mut ours[number]));
        let job_seconds = timing::median(std::mem::take(&mut jobs[number]));
        let mut line = format!(
            "{} transport={transport} seconds={seconds:.3} job_seconds={job_seconds:.3}",
            workload.name
        );
        if let (Some(one), Some(two)) = (one, two) {
            let ratio = seconds / two;
            line += &format!(
                " two_threads={two:.4} one_thread={one:.4} ratio={ratio:.2} bar={:.2}",
                workload.bar
            );
            if ratio > workload.bar && *transport == "tcp" {
                line += " missed";
                missed = Some(workload.name.to_owned());
            }
        }
        println!("{line}");
    }
    Ok(missed)
}

/// Logistic regression where half of the points fit into memory, beside reading them anew for each step; its
/// name if it is not faster.
fn half_cached(cached: &Workload, read: &Workload, data: &Data, runs: usize) -> Result<Option<String>> {
    // A line of nine numbers has about 63 bytes, and a cached row 72. Half of all rows, on two workers.
    let path = data.value("{points.txt}");
    let bytes =
        std::fs::metadata(&path).map_err(|cause| Error::io(format!("looking at {path}"), &cause))?.len();
    let memory = bytes * 72 / 63 / 2 / 2;
    let bench = Bench::start(&Setup::new(2).set("shuffle.same_host", "tcp").set("worker.memory", memory))?;
    let (mut half, mut none) = (Vec::new(), Vec::new());
    for _ in 0..runs.max(1) {
        half.push(bench.run(cached, data)?.seconds);
        none.push(bench.run(read, data)?.seconds);
    }
    bench.cluster.stop()?;
    let (half, none) = (timing::median(half), timing::median(none));
    println!(
        "logistic_half_cached memory={memory} seconds={half:.3} read_anew={none:.3} ratio={:.2}",
        half / none
    );
    Ok((half >= none && memory >= MEMORY_MIN).then(|| "logistic_half_cached".to_owned()))
}

/// A cluster with the plugins of the workloads.
struct Bench {
    cluster: Cluster,
    plugins: BTreeMap<&'static str, PluginHash>,
}

/// What a run has said, and how long it took.
struct Answer {
    text: String,
    seconds: f64,
    job_seconds: f64,
}

impl Bench {
    fn start(setup: &Setup) -> Result<Self> {
        let cluster = Cluster::start(setup)?;
        let mut plugins = BTreeMap::new();
        for workload in &WORKLOADS {
            if !plugins.contains_key(workload.plugin) {
                plugins.insert(workload.plugin, cluster.upload(&artifact(workload.plugin)?)?.hash);
            }
        }
        Ok(Self { cluster, plugins })
    }

    fn run(&self, workload: &Workload, data: &Data) -> Result<Answer> {
        let args = workload.args.iter().map(|(name, value)| ((*name).to_owned(), data.value(value)));
        let request = SubmitRequest {
            plugin: self.plugins.get(workload.plugin).copied(),
            entry: workload.entry.to_owned(),
            args: args.collect(),
            ..nothing()
        };
        let begin = Instant::now();
        let (app, answer) = self.cluster.run(&request)?;
        let wall = begin.elapsed().as_secs_f64();
        let log = self.cluster.events(app)?;
        let job_seconds = timing::jobs_seconds(&log);
        let seconds = if workload.job_only { timing::last_job_seconds(&log) } else { wall };
        let text = String::from_utf8(answer)
            .map_err(|cause| Error::new(firesteel_common::error::ErrorCode::Codec, cause.to_string()))?;
        Ok(Answer { text, seconds, job_seconds })
    }
}
