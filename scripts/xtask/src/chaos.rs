//! `scripts/chaos`: real processes, real faults, and what came of it.
//!
//! Every row is a fault of the table in `docs/reliability.md`: it must fire, provably; the answer must be
//! that of a plain loop; and the cluster must answer a clean job afterwards and leave nothing. What is *not*
//! here: the pure core under millions of faults, which is the simulator's work (`scripts/sim`).

mod draw;
mod jobs;
mod kill;
mod lab;
mod plain;
mod proc;
mod proxy;
mod random;
mod report;
mod rows;
mod soak;
mod trace;

use crate::failed;
use clap::Args;
use firesteel_common::error::{Error, Result};
use lab::Finding;
use rows::Row;
use std::time::Instant;

/// What to do.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    #[command(flatten)]
    kill: kill::KillArgs,
    /// Runs these rows of the table
    #[arg(long, value_name = "N", group = "what")]
    row: Vec<u32>,
    /// Runs every row
    #[arg(long, group = "what")]
    all: bool,
    /// Runs the rows that CI runs, the long ones shortened; with --row or --all only shortens those
    #[arg(long)]
    short: bool,
    /// Runs so many random schedules of several faults each
    #[arg(long, value_name = "N", group = "what")]
    random: Option<u64>,
    /// Runs mixed jobs for so many minutes, with a kill every 20 s
    #[arg(long, value_name = "MINUTES", group = "what")]
    soak: Option<u64>,
    /// The seed of everything random
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Runs each row so often, with other seeds
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u64,
    /// Writes the figures into docs/reliability.md
    #[arg(long)]
    report: bool,
}

/// Runs it.
///
/// # Errors
/// Names what did not fire, answered wrongly, or left something.
pub fn run(args: &ChaosArgs) -> Result<()> {
    if let Some(victim) = args.kill.kill {
        return kill::run(&args.kill, victim);
    }
    // Whatever outlives its parent becomes a child of this process, and is found.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(|cause| Error::io("becoming the reaper of orphans", &cause.into()))?;
    let mut figures = report::Figures::default();
    let ran = match (args.random, args.soak) {
        (Some(schedules), _) => random::run(schedules, args.seed, &mut figures),
        (_, Some(minutes)) => soak::run(minutes, args.seed, &mut figures),
        _ => run_rows(args, &mut figures),
    };
    if args.report {
        report::write(&figures)?;
    }
    ran
}

fn run_rows(args: &ChaosArgs, figures: &mut report::Figures) -> Result<()> {
    let is_chosen = |row: &&Row| match args {
        ChaosArgs { all: true, .. } => true,
        ChaosArgs { short: true, row: rows, .. } if rows.is_empty() => row.short,
        _ => args.row.contains(&row.number),
    };
    let chosen: Vec<&Row> = rows::ROWS.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        let known: Vec<String> = rows::ROWS.iter().map(|row| row.number.to_string()).collect();
        return Err(failed("no row was chosen")
            .with_help(format!("--all, --short, or --row with one of {}", known.join(", "))));
    }
    let begin = Instant::now();
    let (mut wrong, mut left_out) = (Vec::new(), 0);
    for row in &chosen {
        for time in 0..args.times.max(1) {
            let seed = args.seed + time;
            match run_row(row, seed, args.short) {
                Ok((finding, seconds)) => {
                    left_out += u32::from(finding.left_out.is_some());
                    figures.row(row.number, &line(&finding), seconds);
                }
                Err(error) => {
                    eprintln!("row {} seed {seed}: {error}\n{}", row.number, error.detail);
                    wrong.push(format!("row {} (seed {seed}): {}", row.number, error.message));
                }
            }
        }
    }
    println!(
        "rows={} wrong={} left_out={left_out} seconds={:.0}",
        chosen.len(),
        wrong.len(),
        begin.elapsed().as_secs_f64()
    );
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong.join("; "))) }
}

fn run_row(row: &Row, seed: u64, short: bool) -> Result<(Finding, f64)> {
    let begin = Instant::now();
    let mut trial = rows::Trial { draw: draw::Draw::new(seed ^ u64::from(row.number) << 32), short };
    let finding = (row.run)(&mut trial)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("row={} seed={seed} {} seconds={seconds:.1}", row.number, line(&finding));
    if finding.left_out.is_none() && (finding.fired == 0 || !finding.equal) {
        return Err(failed("the fault did not fire, or an answer is another one"));
    }
    Ok((finding, seconds))
}

/// A finding in one line.
fn line(finding: &Finding) -> String {
    if let Some(why) = &finding.left_out {
        return format!("left_out=\"{why}\"");
    }
    let equal = if finding.equal { "yes" } else { "no" };
    let cost = finding.cost;
    let head = format!("fired={} equal={equal} reran={} lost={}", finding.fired, cost.reran, cost.lost);
    finding.more.iter().fold(head, |line, (name, value)| format!("{line} {name}={value}"))
}
