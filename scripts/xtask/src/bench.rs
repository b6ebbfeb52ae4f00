//! `scripts/bench`: figures on stdout, nothing else written. What they mean stands in `docs/benchmarks.md`.

mod heartbeats;
mod memory;
mod queue;
mod rdd;

use crate::{failed, timing};
use clap::{Args, Subcommand};
use firesteel_common::error::{Error, Result};
use firesteel_scheduler::bench::run as run_scheduler;
use firesteel_tests::cluster::binary;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Ten workloads on two one-core workers, beside hand-written programs
    Rdd(rdd::RddArgs),
    /// Decisions of the scheduler, without processes
    Scheduler(SchedulerArgs),
    /// Many applications at once, and a restart of the master in the middle
    Queue(queue::QueueArgs),
    /// More data than memory, and a shuffle of many tasks
    Memory(memory::MemoryArgs),
    /// The heartbeats of many workers
    Heartbeats(heartbeats::HeartbeatsArgs),
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
        What::Rdd(args) => rdd::run(args),
        What::Scheduler(args) => scheduler(args),
        What::Queue(args) => queue::run(args),
        What::Memory(args) => memory::run(args),
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

fn median_of(runs: usize, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    (0..runs.max(1)).map(|_| measure()).collect::<Result<Vec<f64>>>().map(timing::median)
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
