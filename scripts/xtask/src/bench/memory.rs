//! Jobs over more data than memory, and a shuffle of many tasks: what processes use at most, what is spilled,
//! and whether anything stays.

use crate::{failed, nothing};
use clap::Args;
use firesteel_common::error::{ErrorCode, Result};
use firesteel_common::event::AppEvent;
use firesteel_common::http::{AppStatus, SubmitRequest};
use firesteel_common::id::AppId;
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use firesteel_tests::process::{self, Footprint, footprint, open_files};
use std::time::Instant;

const MIB: u64 = 1024 * 1024;
/// About the bytes of a record of the job `large`, as it is written: its key, a length, and 96 bytes of text.
const RECORD: u64 = 106;
/// What processes need for themselves, beside a quarter more than their memory.
const BESIDE: u64 = 64 * MIB;
/// The bar of the master's memory.
const MASTER_MIB: f64 = 512.0;

#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// Megabytes of records that are sorted and grouped
    #[arg(long, default_value_t = 2_500)]
    mb: u64,
    /// Mebibytes of memory of each of two workers
    #[arg(long, default_value_t = 256)]
    memory: u64,
    /// Partitions of these records
    #[arg(long, default_value_t = 16)]
    partitions: u64,
    /// Map tasks, and as many reducers, of the shuffle of many tasks
    #[arg(long, default_value_t = 2_000)]
    tasks: u64,
}

/// What a job was seen to use.
struct Watched {
    app: AppId,
    status: AppStatus,
    seconds: f64,
    /// Of the worker that used most, with its executors.
    peak: Footprint,
    /// Memory files and files without a name that a worker held at most.
    files: usize,
    spilled: u64,
}

/// Runs it.
///
/// # Errors
/// If an answer is wrong, a bar is missed, or something stays.
pub fn run(args: &MemoryArgs) -> Result<()> {
    let setup = Setup { settings: Vec::new(), ..Setup::new(2) };
    let setup = setup.set("shuffle.same_host", "tcp").set("worker.memory", args.memory * MIB);
    let mut cluster = Cluster::start(&setup)?;
    let plugin = cluster.upload(&artifact("libworkloads.so")?)?.hash;
    let records = args.mb * 1_000_000 / RECORD;
    let mut wrong = Vec::new();
    for (name, what, skewed) in [
        ("sort", "sort", false),
        ("group", "group", false),
        ("sort_skewed", "sort", true),
        ("group_skewed", "group", true),
    ] {
        let request = submission(
            plugin,
            "large",
            &[
                ("what", what.to_owned()),
                ("records", records.to_string()),
                ("partitions", args.partitions.to_string()),
                ("skewed", skewed.to_string()),
            ],
        );
        let watched = watch(&mut cluster, &request)?;
        let bar = args.memory * MIB * 5 / 4 + BESIDE;
        let peak = watched.peak.total();
        println!(
            "memory_{name} mb={} memory_mib={} seconds={:.1} peak_mib={} anonymous_mib={} bar_mib={} \
             spilled_mb={} {}",
            args.mb,
            args.memory,
            watched.seconds,
            peak / MIB,
            watched.peak.anonymous / MIB,
            bar / MIB,
            watched.spilled / 1_000_000,
            outcome(&cluster, &watched)?
        );
        if peak > bar {
            wrong.push(format!("{name} used {} MiB", peak / MIB));
        }
        wrong.extend(verdict(&cluster, &watched, name, records)?);
        wrong.extend(left(&mut cluster, name)?);
    }
    wrong.extend(many(&mut cluster, args)?);
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong.join("; "))) }
}

/// A shuffle of many tasks on both sides.
fn many(cluster: &mut Cluster, args: &MemoryArgs) -> Result<Vec<String>> {
    let plugin = cluster.upload(&artifact("libnaughty.so")?)?.hash;
    let tasks = args.tasks.to_string();
    let numbers = 100;
    let arguments = [("maps", tasks.clone()), ("reducers", tasks), ("numbers", numbers.to_string())];
    let watched = watch(cluster, &submission(plugin, "exchange", &arguments))?;
    let master = process::memory(cluster.pids().first().copied().unwrap_or_default())?;
    println!(
        "shuffle maps={0} reducers={0} seconds={1:.1} master_peak_mib={2:.0} worker_peak_mib={3} \
         files={4} {5}",
        args.tasks,
        watched.seconds,
        master.peak,
        watched.peak.total() / MIB,
        watched.files,
        outcome(cluster, &watched)?
    );
    let mut wrong = Vec::new();
    if !outcome(cluster, &watched)?.contains(&format!("[{},", args.tasks * numbers)) {
        wrong.push("the shuffle of many tasks lost records".to_owned());
    }
    if master.peak > MASTER_MIB {
        wrong.push(format!("the master used {:.0} MiB", master.peak));
    }
    if watched.files as u64 > args.tasks {
        wrong.push(format!("{} files for {} map outputs", watched.files, args.tasks));
    }
    wrong.extend(left(cluster, "the shuffle of many tasks")?);
    Ok(wrong)
}

fn submission(
    plugin: firesteel_common::id::PluginHash,
    entry: &str,
    args: &[(&str, String)],
) -> SubmitRequest {
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    SubmitRequest { plugin: Some(plugin), entry: entry.to_owned(), args, ..nothing() }
}

/// Runs an application to its end, and looks at its workers all the time.
fn watch(cluster: &mut Cluster, request: &SubmitRequest) -> Result<Watched> {
    let workers: Vec<u32> = (0..2).filter_map(|index| cluster.worker_pid(index)).collect();
    let begin = Instant::now();
    let app = cluster.submit(request)?.app;
    let (mut peak, mut files) = (Footprint::default(), 0);
    let status = loop {
        for worker in &workers {
            let used = footprint(*worker);
            if used.total() > peak.total() {
                peak = used;
            }
            files = files.max(blocks(*worker));
        }
        let status: AppStatus = cluster.get_json(&format!("/applications/{app}?wait_ms=50"))?;
        if status.state.is_final() {
            break status;
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    let spilled = |event: &AppEvent| match event {
        AppEvent::TaskFinished { metrics, .. } => metrics.spilled_bytes,
        _ => 0,
    };
    let spilled = cluster.events(app)?.iter().map(|line| spilled(&line.event)).sum();
    Ok(Watched { app, status, seconds, peak, files, spilled })
}

/// Blocks that a process holds, in memory and on disk.
fn blocks(pid: u32) -> usize {
    let is_block = |name: &str| {
        name.starts_with("/memfd:") || (name.ends_with("(deleted)") && name.contains("/worker-"))
    };
    open_files(pid).iter().filter(|(name, _)| is_block(name)).count()
}

/// How a job ended, in a word or two.
fn outcome(cluster: &Cluster, watched: &Watched) -> Result<String> {
    Ok(match &watched.status.error {
        Some(error) => format!("error={} \"{}\"", error.code, error.message),
        None => {
            let result = cluster.get(&format!("/applications/{}/result", watched.app))?;
            format!("result={}", String::from_utf8_lossy(&result))
        }
    })
}

/// What is wrong with an answer. A key whose values do not fit may be refused, in words that help.
fn verdict(cluster: &Cluster, watched: &Watched, name: &str, records: u64) -> Result<Option<String>> {
    if let Some(error) = &watched.status.error {
        let text = format!("{error} {}", error.detail);
        let helps = text.contains("OUT_OF_MEMORY") && text.contains("partition");
        let may_fail = name == "group_skewed" && (error.code == ErrorCode::OutOfMemory || helps);
        return Ok((!may_fail).then(|| format!("{name} failed: {text}")));
    }
    let text = outcome(cluster, watched)?;
    let right = text.contains(&format!("\"records\":{records},")) && text.contains("\"falls\":0");
    Ok((!right).then(|| format!("{name} answered {text}")))
}

/// Waits until workers have let go of all blocks.
fn left(cluster: &mut Cluster, what: &str) -> Result<Option<String>> {
    let workers: Vec<u32> = (0..2).filter_map(|index| cluster.worker_pid(index)).collect();
    let begin = Instant::now();
    loop {
        let blocks: usize = workers.iter().map(|worker| blocks(*worker)).sum();
        if blocks == 0 {
            return Ok(None);
        }
        if begin.elapsed().as_secs() > 30 {
            return Ok(Some(format!("{blocks} blocks stay after {what}")));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
