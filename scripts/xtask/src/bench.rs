//! `scripts/bench`: figures on stdout, nothing else written. What they mean stands in `docs/benchmarks.md`.

mod heartbeats;
mod queue;

use crate::{failed, text, timing};
use clap::{Args, Subcommand};
use firesteel_common::error::{Error, Result};
use firesteel_common::http::SubmitRequest;
use firesteel_common::id::{AppId, PluginHash};
use firesteel_scheduler::bench::run as run_scheduler;
use firesteel_tests::cluster::{Cluster, Setup, artifact, binary};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Jobs on two one-core workers whose fetches go over TCP
    Rdd(RddArgs),
    /// Decisions of the scheduler, without processes
    Scheduler(SchedulerArgs),
    /// Many applications at once, and a restart of the master in the middle
    Queue(queue::QueueArgs),
    /// The heartbeats of many workers
    Heartbeats(heartbeats::HeartbeatsArgs),
}

#[derive(Debug, Args)]
struct RddArgs {
    /// A directory of programs to compare with: `DIR/cost wc 2 FILE` counts the same words with two threads
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// A text to count; else text of this machine
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Bytes of the text of this machine, in MB
    #[arg(long, default_value_t = 256)]
    mb: u64,
    /// How often each is measured; the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Debug, Args)]
struct SchedulerArgs {
    /// Tasks
    #[arg(long, default_value_t = 100_000)]
    tasks: u32,
    /// Workers, several numbers separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    workers: Vec<u32>,
    /// How often each is measured; the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// Runs it.
///
/// # Errors
/// If something that is measured does not work.
pub fn run(args: &BenchArgs) -> Result<()> {
    match &args.what {
        What::Rdd(args) => rdd(args),
        What::Scheduler(args) => scheduler(args),
        What::Queue(args) => queue::run(args),
        What::Heartbeats(args) => heartbeats::run(args),
    }
}

fn scheduler(args: &SchedulerArgs) -> Result<()> {
    let origin = Instant::now();
    let mut clock = || origin.elapsed().as_secs_f64();
    for &workers in &args.workers {
        let rate = median_of(args.runs, || {
            run_scheduler(args.tasks, workers, &mut clock).map(|done| done.tasks_per_second).map_err(failed)
        })?;
        println!("scheduler workers={workers} tasks={} tasks_per_second={rate:.0}", args.tasks);
    }
    Ok(())
}

fn rdd(args: &RddArgs) -> Result<()> {
    println!("local_ready seconds={:.3}", median_of(args.runs, local_ready)?);
    let cluster = Cluster::start(&Setup::new(2).set("shuffle.same_host", "tcp"))?;
    let input = match &args.input {
        Some(path) => std::path::absolute(path).map_err(|cause| Error::io("finding the text", &cause))?,
        None => {
            let path = cluster.scratch().join("text.txt");
            text::collect(&path, args.mb << 20, true)?;
            path
        }
    };
    // Read once, so that every run finds it in the page cache.
    let bytes = std::fs::read(&input).map_err(|cause| Error::io("reading the text", &cause))?.len();
    let plugin = cluster.upload(&artifact("libwordcount.so")?)?.hash;
    let bench = Bench { cluster, plugin };
    let few = bench.cluster.scratch().join("few.txt");
    std::fs::write(&few, "to be or not to be\n").map_err(|cause| Error::io("writing a text", &cause))?;
    let first = median_of(args.runs, || bench.word_count(&few).map(|(wall, _)| wall))?;
    println!("first_result seconds={first:.3}");
    let tasks = median_of(args.runs, || bench.empty_tasks(1_000))?;
    println!("empty_tasks tasks=1000 seconds={tasks:.3}");
    let (mut walls, mut jobs, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs.max(1) {
        // One after the other, so that what disturbs the machine disturbs both.
        let (wall, job) = bench.word_count(&input)?;
        walls.push(wall);
        jobs.push(job);
        if let Some(dir) = &args.baseline {
            theirs.push(baseline(dir, &input)?);
        }
    }
    let (wall, job) = (timing::median(walls), timing::median(jobs));
    println!("word_count bytes={bytes} seconds={wall:.3} job_seconds={job:.3}");
    if !theirs.is_empty() {
        let their = timing::median(theirs);
        println!(
            "word_count_baseline seconds={their:.3} ratio={:.2} job_ratio={:.2}",
            wall / their,
            job / their
        );
    }
    bench.cluster.stop()
}

fn median_of(runs: usize, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    (0..runs.max(1)).map(|_| measure()).collect::<Result<Vec<f64>>>().map(timing::median)
}

struct Bench {
    cluster: Cluster,
    plugin: PluginHash,
}

impl Bench {
    /// Seconds from submission to result, and of these the job's.
    fn word_count(&self, input: &Path) -> Result<(f64, f64)> {
        let (wall, app) =
            self.entry("wordcount", &[("input", input.display().to_string()), ("top", "20".into())])?;
        Ok((wall, timing::jobs_seconds(&self.cluster.events(app)?)))
    }

    /// Seconds of a job of tasks that do nothing, on executors that run.
    fn empty_tasks(&self, tasks: u32) -> Result<f64> {
        let (_, app) = self.entry("empty_tasks", &[("count", tasks.to_string())])?;
        Ok(timing::last_job_seconds(&self.cluster.events(app)?))
    }

    fn entry(&self, entry: &str, args: &[(&str, String)]) -> Result<(f64, AppId)> {
        let request = SubmitRequest {
            name: String::new(),
            plugin: Some(self.plugin),
            entry: entry.to_owned(),
            args: args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            sql: None,
            tables: Default::default(),
            conf: std::collections::BTreeMap::new(),
            tags: std::collections::BTreeMap::new(),
            deploy_mode: Default::default(),
            idempotency_key: None,
        };
        let begin = Instant::now();
        let (app, _) = self.cluster.run(&request)?;
        Ok((begin.elapsed().as_secs_f64(), app))
    }
}

/// Seconds from the start of `firesteel local` to its line that says it is ready.
fn local_ready() -> Result<f64> {
    let dir = tempfile::tempdir().map_err(|cause| Error::io("making a directory", &cause))?;
    let begin = Instant::now();
    let mut child = Command::new(binary()?)
        .args(["local", "--workers", "2", "--cores", "1", "--temporary", "--run-dir"])
        .arg(dir.path())
        .args(["--die-with-parent", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| Error::io("starting firesteel local", &cause))?;
    let lines =
        BufReader::new(child.stdout.take().ok_or_else(|| failed("firesteel local has no output"))?).lines();
    let ready = lines.map_while(std::result::Result::ok).any(|line| line.starts_with("ready"));
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let _ = child.wait();
    if ready { Ok(seconds) } else { Err(failed("firesteel local was not ready")) }
}

/// Seconds that the baseline's program says it took.
fn baseline(dir: &Path, input: &Path) -> Result<f64> {
    let text = crate::cargo::output(Command::new(dir.join("cost")).args(["wc", "2"]).arg(input))?;
    let total = text.lines().find_map(|line| line.strip_prefix("TIME total "));
    total
        .and_then(|seconds| seconds.trim().parse().ok())
        .ok_or_else(|| failed(format!("{} said no total time", dir.display())))
}
