//! `scripts/test`: the same locally and in CI.
//!
//! Everything is run even if something before it failed. The tests come last, so the closing lines are those
//! of `cargo test`.

use crate::cargo::{cargo, has, step};
use crate::{failed, fences, sim};
use clap::Args;
use firesteel_common::error::{Error, Result};
use std::process::Command;

/// How many seeds of the simulator are run.
const SEEDS: u64 = 2_000;

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Only the tests, without formatting, lints, fences and the simulator
    #[arg(long)]
    only_tests: bool,
    /// Without the faults on real processes (`scripts/chaos --short`)
    #[arg(long)]
    no_chaos: bool,
    /// Further arguments for cargo test
    #[arg(last = true)]
    cargo_test: Vec<String>,
}

/// Runs all of it.
///
/// # Errors
/// Names what failed.
pub fn run(args: &TestArgs) -> Result<()> {
    let mut wrong = Vec::new();
    let mut note = |done: Result<()>| {
        if let Err(error) = done {
            eprintln!("failed: {}", error.message);
            wrong.push(error.message);
        }
    };
    if !args.only_tests {
        note(step(&mut cargo(&["fmt", "--all", "--check"])));
        note(clippy());
        note(fences::check());
        note(tools());
        note(doc());
        note(sim::sweep(0..SEEDS));
        if !args.no_chaos {
            note(chaos());
        }
    }
    let test = ["test", "--release", "--workspace", "--locked", "--no-fail-fast"];
    note(step(cargo(&test).args(&args.cargo_test)));
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong.join("; "))) }
}

fn clippy() -> Result<()> {
    let lint = ["clippy", "--release", "--workspace", "--all-targets", "--locked", "--quiet", "--"];
    step(cargo(&lint).args(["-D", "warnings"]))
}

/// The documentation builds, and every link in it leads somewhere.
fn doc() -> Result<()> {
    let doc = ["doc", "--release", "--workspace", "--no-deps", "--locked", "--quiet"];
    step(cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The rows of `docs/reliability.md` that are quick. In a process of its own, which adopts orphans.
fn chaos() -> Result<()> {
    let this = std::env::current_exe().map_err(|cause| Error::io("looking for this program", &cause))?;
    step(Command::new(this).args(["chaos", "--short"]))
}

/// Tools that are not part of the toolchain; `.ci/run` installs what it can get.
fn tools() -> Result<()> {
    let mut wrong = Vec::new();
    for (tool, args) in [
        ("cargo-deny", &["check", "licenses", "bans", "sources"][..]),
        ("typos", &["--config", "_typos.toml"][..]),
    ] {
        if !has(tool) {
            eprintln!("\n==> {tool} is not installed: left out");
        } else if let Err(error) = step(Command::new(tool).args(args)) {
            wrong.push(error.message);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong.join("; "))) }
}
