//! `scripts/quickstart`: a cluster of processes, word count over real text, and nothing left behind.

use crate::{failed, text, timing};
use clap::Args;
use firesteel_common::error::{Error, Result};
use firesteel_common::http::AppStatus;
use firesteel_common::task::TaskMetrics;
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How much text is collected, in bytes.
const TEXT_BYTES: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// A text file, a directory or a glob; else text of this machine is collected
    path: Option<PathBuf>,
    /// How many words to show
    #[arg(long, default_value_t = 10)]
    top: u32,
}

/// Runs it.
///
/// # Errors
/// If a step fails, or something is left behind.
pub fn run(args: &QuickstartArgs) -> Result<()> {
    let begin = Instant::now();
    let cluster = Cluster::start(&Setup::new(2))?;
    say(&format!(
        "a master and two workers run as processes {:?} ({:.2} s); HTTP at {}",
        cluster.pids(),
        begin.elapsed().as_secs_f64(),
        cluster.http()
    ));
    let input = match &args.path {
        Some(path) => std::path::absolute(path).map_err(|cause| Error::io("finding the text", &cause))?,
        None => collected(&cluster)?,
    };
    let words = count(&cluster, &input, args.top)?;
    println!("{}", readable(&words)?);
    let apps: Vec<AppStatus> = cluster.get_json("/applications")?;
    let app = apps.last().ok_or_else(|| failed("the master knows no application"))?;
    say("where the time went:");
    print_times(&cluster, app)?;
    let begin = Instant::now();
    let dir = cluster.run_dir().to_owned();
    cluster.stop()?;
    say(&format!(
        "all processes have ended and {} is gone ({:.2} s)",
        dir.display(),
        begin.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Talk goes to stderr, as everywhere.
fn say(text: &str) {
    eprintln!("» {text}");
}

/// Text of this machine, in the run directory, which vanishes whatever happens.
fn collected(cluster: &Cluster) -> Result<PathBuf> {
    let begin = Instant::now();
    let path = cluster.scratch().join("text.txt");
    let done = text::collect(&path, TEXT_BYTES, false)?;
    say(&format!(
        "collected {:.1} MB of text from {} files of this machine ({:.2} s)",
        done.bytes as f64 / 1e6,
        done.files,
        begin.elapsed().as_secs_f64()
    ));
    Ok(path)
}

/// Uploads and runs the word count with the command that a user would type.
fn count(cluster: &Cluster, input: &Path, top: u32) -> Result<String> {
    let plugin = artifact("libwordcount.so")?;
    let (input, top) = (format!("input={}", input.display()), format!("top={top}"));
    say(&format!("firesteel submit libwordcount.so --entry wordcount {input} {top}"));
    let begin = Instant::now();
    let plugin = plugin.to_string_lossy();
    let done = cluster
        .firesteel(&["submit", &plugin, "--entry", "wordcount", &input, &top])?
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|cause| Error::io("starting firesteel submit", &cause))?;
    if !done.status.success() {
        return Err(failed(format!("firesteel submit ended with {}", done.status)));
    }
    say(&format!("its result, after {:.2} s:", begin.elapsed().as_secs_f64()));
    Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
}

/// The JSON of the word count as a table.
fn readable(words: &str) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Counts {
        words: u64,
        distinct: u64,
        top: Vec<(String, u64)>,
    }
    let counts: Counts = serde_json::from_str(words)
        .map_err(|cause| failed(format!("the result is not understood: {cause}: {words}")))?;
    let mut text = format!("{:>12} words\n{:>12} different ones\n", counts.words, counts.distinct);
    for (word, count) in counts.top {
        text.push_str(&format!("{count:>12} {word}\n"));
    }
    Ok(text.trim_end().to_owned())
}

fn print_times(cluster: &Cluster, app: &AppStatus) -> Result<()> {
    let log = cluster.events(app.app)?;
    let total = app.ended_ms.unwrap_or(app.submitted_ms).saturating_sub(app.submitted_ms) as f64 / 1e3;
    println!("{:<34} {total:>8.3} s", "submission to outcome");
    println!("{:<34} {:>8.3} s", "  of these, its jobs", timing::jobs_seconds(&log));
    for stage in timing::stages(&log).values() {
        let m: &TaskMetrics = &stage.metrics;
        println!(
            "{:<34} {:>8.3} s  {} tasks: {:.3} s computing, {:.3} s waiting for segments, {:.1} MB read from \
             files, {:.1} MB from segments, {:.1} MB written",
            format!("    stage '{}'", stage.name),
            stage.span_us as f64 / 1e6,
            stage.tasks,
            m.run_us.saturating_sub(m.fetch_wait_us) as f64 / 1e6,
            m.fetch_wait_us as f64 / 1e6,
            m.input_bytes as f64 / 1e6,
            (m.local_read_bytes + m.remote_read_bytes) as f64 / 1e6,
            m.written_bytes as f64 / 1e6,
        );
    }
    Ok(())
}
