//! `scripts/fuzz`: mutated input for the ports of a real cluster, or for every decoder.

use crate::{cargo, failed};
use clap::{Args, Subcommand};
use firesteel_common::error::Result;
use firesteel_fuzz::ports::{Plan, Report, run as run_ports};
use firesteel_tests::cluster::artifact;
use std::process::Command;

#[derive(Debug, Args)]
pub struct FuzzArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every port of a master and two workers: strangers, HTTP clients, and peers that know the key
    Ports(PortsArgs),
    /// Every decoder, and both state machines, with a bound on memory
    Decoders(DecodersArgs),
}

#[derive(Debug, Args)]
struct PortsArgs {
    /// Requests in all
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Everything that is sent follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give the cluster certificates
    #[arg(long)]
    tls: bool,
}

#[derive(Debug, Args)]
struct DecodersArgs {
    /// For each decoder
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Every input follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this one
    #[arg(long)]
    target: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If something is found.
pub fn run(args: &FuzzArgs) -> Result<()> {
    match &args.what {
        What::Ports(args) => ports(args),
        What::Decoders(args) => decoders(args),
    }
}

fn ports(args: &PortsArgs) -> Result<()> {
    let PortsArgs { requests, seed, tls } = *args;
    println!("fuzz_ports seed={seed} requests={requests} tls={tls}");
    let report = run_ports(Plan { seed, requests, tls })?;
    print(&report);
    Ok(())
}

fn print(report: &Report) {
    println!(
        "{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}",
        "peer", "requests", "cut off", "answers", "accepted", "refused", "silent", "seconds"
    );
    for (kind, (tally, seconds)) in &report.rows {
        println!(
            "{kind:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{seconds:>9.1}",
            tally.requests, tally.cut_off, tally.answered, tally.accepted, tally.refused, tally.silent
        );
    }
    for (name, warm, end) in &report.memory {
        println!("{name:<22}warm_mib={warm:.1} end_mib={end:.1} growth_mib={:.1}", end - warm);
    }
    println!(
        "requests={} refusals_counted={} log_bytes={} crashes=0 panics=0 clean_job=ok",
        report.requests(),
        report.refusals,
        report.log_bytes
    );
}

/// A program of its own, since it counts what is allocated.
fn decoders(args: &DecodersArgs) -> Result<()> {
    let mut command = Command::new(artifact("examples/decoders")?);
    command.args([args.seconds.to_string(), args.seed.to_string()]).args(&args.target);
    cargo::step(&mut command).map_err(|_| failed("an input was found that must not do what it does"))
}
