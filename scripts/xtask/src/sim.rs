//! `scripts/sim`: the simulator over many seeds, over one seed in words, or with a fault planted in it.

use crate::failed;
use clap::Args;
use firesteel_common::error::{Error, ErrorCode, Result, nearest};
use firesteel_tests::sim::{
    BUGS, Options, Outcome, PlantedBug, SCENARIOS, Scenario, Summary, run as run_seed, sweep as run_seeds,
};
use std::ops::Range;
use std::time::Instant;

/// In how many percent of the seeds each kind of fault must happen.
const FAULT_PERCENT_MIN: u64 = 5;
/// How many faults each seed must have, and of how many kinds.
const FAULTS_MIN: u32 = 5;
const KINDS_MIN: u32 = 3;
/// Seeds that are run before it is looked whether a planted fault was found.
const BATCH: u64 = 50;

#[derive(Debug, Args)]
pub struct SimArgs {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    seeds: u64,
    /// Run this one seed, and write down what happens in it
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Plant a fault (fencing, commit, recompute, release, retry), which must be found
    #[arg(long = "break", value_name = "BUG")]
    bug: Option<String>,
    /// One kind of fault only (restarts, leaves, pauses), which must cost nothing
    #[arg(long, value_name = "KIND", conflicts_with = "bug")]
    scenario: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If a seed failed, or a planted fault was not found.
pub fn run(args: &SimArgs) -> Result<()> {
    let bug = args.bug.as_deref().map(bug).transpose()?;
    let scenario = args.scenario.as_deref().map(scenario).transpose()?;
    match (args.seed, bug, scenario) {
        (Some(seed), bug, scenario) => replay(seed, &Options { bug, scenario, trace: true }),
        (None, Some(bug), _) => find(bug, args.seeds),
        (None, None, None) => sweep(0..args.seeds),
        (None, None, scenario) => sweep_scenario(args.seeds, &Options { scenario, ..Options::default() }),
    }
}

fn bug(name: &str) -> Result<PlantedBug> {
    BUGS.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug).ok_or_else(|| {
        let names = BUGS.map(|(name, _)| name);
        let help = match nearest(name, names) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("there are: {}", names.join(", ")),
        };
        Error::new(ErrorCode::BadArgument, format!("there is no fault '{name}' to plant")).with_help(help)
    })
}

fn scenario(name: &str) -> Result<Scenario> {
    SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario).ok_or_else(|| {
        let names = SCENARIOS.map(|(name, _)| name);
        Error::new(ErrorCode::BadArgument, format!("there is no kind '{name}'"))
            .with_help(format!("there are: {}", names.join(", ")))
    })
}

/// Runs seeds with one kind of fault.
fn sweep_scenario(seeds: u64, options: &Options) -> Result<()> {
    let begin = Instant::now();
    let summary = run_seeds(0..seeds, threads(), options);
    print(&summary, begin.elapsed().as_secs_f64());
    for (seed, failure) in summary.failures.iter().take(10) {
        println!("seed {seed} failed: {failure}");
    }
    match summary.failures.len() {
        0 => Ok(()),
        failed_seeds => Err(failed(format!("{failed_seeds} seeds failed"))),
    }
}

/// Runs seeds; each must hold, and the faults in them must be worth the name.
///
/// # Errors
/// Names the seeds that failed.
pub fn sweep(seeds: Range<u64>) -> Result<()> {
    eprintln!("\n==> simulator, {} seeds", seeds.end - seeds.start);
    let begin = Instant::now();
    let summary = run_seeds(seeds, threads(), &Options::default());
    print(&summary, begin.elapsed().as_secs_f64());
    for (seed, failure) in summary.failures.iter().take(10) {
        println!("seed {seed} failed: {failure}\n  replay it with: scripts/sim --seed {seed}");
    }
    if !summary.failures.is_empty() {
        return Err(failed(format!("{} seeds failed", summary.failures.len())));
    }
    if summary.fewest_faults < FAULTS_MIN || summary.fewest_kinds < KINDS_MIN {
        return Err(failed(format!(
            "a seed with fewer than {FAULTS_MIN} faults, or of fewer than {KINDS_MIN} kinds"
        )));
    }
    let rare = summary.rare_faults(FAULT_PERCENT_MIN);
    if summary.runs >= 200 && !rare.is_empty() {
        return Err(failed(format!("faults in fewer than {FAULT_PERCENT_MIN} % of the seeds: {rare:?}")));
    }
    Ok(())
}

fn print(summary: &Summary, seconds: f64) {
    let of = |word: &str| summary.failures.iter().filter(|(_, failure)| failure.starts_with(word)).count();
    println!(
        "seeds={} failed={} lost={} duplicated={} hung={} applications={} succeeded={} steps={} \
         faults_a_seed>={} kinds_a_seed>={} seconds={seconds:.1}",
        summary.runs,
        summary.failures.len(),
        of("lost:"),
        of("duplicated:"),
        of("hung:"),
        summary.apps,
        summary.succeeded,
        summary.steps,
        summary.fewest_faults,
        summary.fewest_kinds,
    );
    for (kind, seeds) in &summary.seeds_by_fault {
        println!("  fault {kind}: in {seeds} seeds ({} %)", seeds * 100 / summary.runs.max(1));
    }
}

/// One seed, in words.
fn replay(seed: u64, options: &Options) -> Result<()> {
    let outcome: Outcome = run_seed(seed, options);
    println!("{}", outcome.trace);
    println!(
        "seed={seed} ok={} applications={} steps={} virtual_seconds={:.3} faults={:?}",
        outcome.ok,
        outcome.apps,
        outcome.steps,
        outcome.virtual_us as f64 / 1e6,
        outcome.faults
    );
    match outcome.failure {
        Some(failure) => Err(failed(failure)),
        None => Ok(()),
    }
}

/// A planted fault must be found within `seeds` seeds.
fn find(bug: PlantedBug, seeds: u64) -> Result<()> {
    let options = Options { bug: Some(bug), ..Options::default() };
    for start in (0..seeds).step_by(BATCH as usize) {
        let summary = run_seeds(start..(start + BATCH).min(seeds), threads(), &options);
        if let Some((seed, failure)) = summary.failures.first() {
            println!(
                "found at seed {seed} ({} of {BATCH} seeds from {start}): {failure}",
                summary.failures.len()
            );
            return Ok(());
        }
    }
    Err(failed(format!("the planted fault {bug:?} was not found in {seeds} seeds")))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}
