//! Rows 20 to 22: blocks that are damaged, cut short, or that somebody else lays hands on.

use super::Trial;
use crate::chaos::jobs::{Job, Kind};
use crate::chaos::lab::{Finding, Lab, ensure, lost_outputs, only_lost_ran_again, stores, until};
use crate::nothing;
use firesteel_common::error::Result;
use firesteel_common::event::{AppEvent, FetchCause};
use firesteel_common::http::SubmitRequest;
use firesteel_tests::cluster::artifact;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The standing token of this point, and what it leaves.
const TOKEN: &str = "executor.map_output";
/// The same for cached partitions.
const KEPT: &str = "executor.cached";
/// Map outputs of one job.
const OUTPUTS: u64 = 125;

pub fn flipped(trial: &mut Trial) -> Result<Finding> {
    let rounds = trial.amount(1, 4);
    let mut finding: Option<Finding> = None;
    // Read over a socket, and mapped.
    for same_host in ["tcp", "map"] {
        let lab = Lab::open(&Lab::setup(2).set("shuffle.same_host", same_host))?;
        for _ in 0..rounds {
            let files = trial.amount(40, OUTPUTS);
            let found = spoiled(&lab, trial, "flip", files)?;
            finding = Some(match finding.take() {
                Some(before) => before.and(found),
                None => found,
            });
        }
        lab.close(2)?;
    }
    let finding = finding.unwrap_or_default();
    let kept = kept_flipped(trial)?;
    let detected: u64 = finding.more.iter().filter_map(|(_, value)| value.parse::<u64>().ok()).sum();
    let flips = finding.fired;
    ensure(detected == flips, format!("{detected} of {flips} flipped bits were detected"))?;
    let finding = Finding { more: Vec::new(), ..finding }.with("detected", format!("{detected}/{flips}"));
    Ok(finding.and(kept).and(super::spilled::flipped(trial)?))
}

/// Cached partitions whose bits flip as they are stored, in memory and on disk: each is made anew.
fn kept_flipped(trial: &mut Trial) -> Result<Finding> {
    let rounds = trial.amount(1, 4);
    let partitions = trial.amount(40, OUTPUTS);
    let lab = Lab::open(&Lab::setup(2))?;
    let plugin = lab.cluster.upload(&artifact("libnaughty.so")?)?.hash;
    let (mut fired, mut detected) = (0, 0);
    for place in ["memory", "disk"] {
        let args =
            [("partitions", partitions.to_string()), ("numbers", "200".into()), ("place", place.into())];
        let args = args.map(|(name, value)| (name.to_owned(), value)).into();
        let request = SubmitRequest { plugin: Some(plugin), entry: "keep".into(), args, ..nothing() };
        let (_, right) = lab.cluster.run(&request)?;
        for _ in 0..rounds {
            let fault = format!("flip {}", trial.draw.any());
            let ((app, found), flips) = lab.standing(KEPT, &fault, || lab.cluster.run(&request))?;
            ensure(found == right, "an answer from damaged partitions is another one")?;
            // They are stored by the first of three jobs, and by each that has to make them anew.
            let stores = stores(&lab.cluster.events(app)?);
            ensure(stores == 3 * partitions, format!("{stores} partitions were made, not 3 x {partitions}"))?;
            ensure(flips == stores, format!("{flips} bits have flipped in {stores} partitions"))?;
            fired += 2 * partitions;
            detected += stores - partitions;
        }
    }
    lab.close(2)?;
    let finding = Finding { equal: true, ..Finding::default() }.fired(fired);
    Ok(finding.with("cached_detected", format!("{detected}/{fired}")))
}

/// Runs a job whose every map output is spoiled once.
fn spoiled(lab: &Lab, trial: &mut Trial, how: &str, files: u64) -> Result<Finding> {
    let job = Job::of(&lab.cluster, Kind::Wordcount, (100, files), &mut trial.draw)?;
    let fault = format!("{how} {}", trial.draw.any());
    let ((app, finding), fired) = lab.standing(TOKEN, &fault, || {
        let (app, run) = lab.submit(&job)?;
        Ok((app, lab.verdict(app, &job, &run)))
    })?;
    let log = lab.events(app)?;
    only_lost_ran_again(&log)?;
    // Each spoiled output is thrown away, because its bytes were seen to be wrong.
    let lost = lost_outputs(&log);
    let corrupt: BTreeSet<(u32, u32)> = log
        .iter()
        .filter_map(|line| match &line.event {
            AppEvent::FetchFailed { stage, map, cause: FetchCause::Corrupt, .. } => Some((stage.0, *map)),
            _ => None,
        })
        .collect();
    let detected = lost.intersection(&corrupt).count();
    Ok(finding?.fired(fired).with("detected", detected))
}

pub fn truncated(trial: &mut Trial) -> Result<Finding> {
    let lab = Lab::open(&Lab::setup(2))?;
    let files = trial.amount(10, 40);
    let finding = spoiled(&lab, trial, "cut", files)?;
    let killed = lab.metric("firesteel_workers_lost_total")?;
    ensure(killed == 0, "a worker was lost with an output that was cut short")?;
    ensure(finding.cost.lost >= finding.fired as u32, "an output that was cut short was taken")?;
    lab.close(2)?;
    let fired = finding.fired;
    Ok(Finding { more: Vec::new(), ..finding }.with("refused", format!("{fired}/{fired}")))
}

/// The memory files that a process holds.
fn memory_files(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:firesteel"))
    };
    entries.map(|entry| entry.path()).filter(is_ours).collect()
}

pub fn unnamed(trial: &mut Trial) -> Result<Finding> {
    let mut lab = Lab::open(&Lab::setup(2))?;
    let job = lab.job(Kind::Wordcount, trial.amount(500, 1000), &mut trial.draw)?;
    let (app, run) = lab.submit(&job)?;
    let (index, worker) = lab.other_worker(app, 2)?;
    lab.wait_for_work(app, worker, 2)?;
    let pid = lab.cluster.worker_pid(index).unwrap_or_default();
    // Whatever anybody may try through the descriptors of the worker, which root sees in /proc.
    let mut refused = 0;
    let files = until("blocks are there", || Ok(Some(memory_files(pid)).filter(|files| !files.is_empty())))?;
    for path in files {
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        let attempts = [
            file.set_len(0),
            file.set_len(1 << 20),
            file.write_all_at(b"overwritten", 0),
            file.write_all(b"overwritten"),
        ];
        let through = attempts.iter().filter(|attempt| attempt.is_ok()).count();
        ensure(through == 0, format!("{} was changed", path.display()))?;
        refused += attempts.len();
    }
    // And there is no file that could be deleted: what a worker has on disk holds no rows.
    let named = std::fs::read_dir(lab.cluster.run_dir()).into_iter().flatten().flatten();
    let workers = named.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("worker-")) && path.is_dir()
    });
    let mut blocks = 0;
    for dir in workers {
        blocks += count_blocks(&dir);
    }
    let finding = lab.verdict(app, &job, &run)?;
    ensure(blocks == 0, format!("{blocks} blocks have names"))?;
    ensure(finding.cost.reran == 0, "something ran again")?;
    lab.close(2)?;
    Ok(finding.fired(refused as u64).with("refused", refused).with("named_blocks", blocks))
}

/// Files below a directory that begin as a segment does.
fn count_blocks(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return count_blocks(&path);
            }
            let mut magic = [0; 4];
            let read = std::fs::File::open(&path)
                .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
            usize::from(read.is_ok() && magic == firesteel_common::block::MAGIC)
        })
        .sum()
}
