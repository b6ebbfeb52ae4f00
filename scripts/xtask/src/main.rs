//! The project's own tasks, behind the doors in `scripts/`: test, quickstart, bench, sim, chaos, fuzz.
//!
//! It runs other programs (cargo, `firesteel`) and prints what came of it. What is *not* here: a part of the
//! product. Nothing depends on this crate.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

mod bench;
mod cargo;
mod chaos;
mod fences;
mod fuzz;
mod quickstart;
mod sim;
mod test;
mod text;
mod timing;

use clap::{Parser, Subcommand};
use firesteel_common::error::{Error, ErrorCode};
use std::process::ExitCode;

/// The project's own tasks
#[derive(Debug, Parser)]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Formatting, lints, fences, the simulator, and every test
    Test(test::TestArgs),
    /// Starts a cluster, counts the words of real text on it, and stops it
    Quickstart(quickstart::QuickstartArgs),
    /// Measures
    Bench(bench::BenchArgs),
    /// Runs the simulator over many seeds, or one seed in words
    Sim(sim::SimArgs),
    /// Kills a process of a real cluster in the middle of its work, and compares the answer
    Chaos(chaos::ChaosArgs),
    /// Mutated input for the ports of a real cluster, or for every decoder
    Fuzz(fuzz::FuzzArgs),
}

fn main() -> ExitCode {
    let done = match Xtask::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Quickstart(args) => quickstart::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Sim(args) => sim::run(&args),
        Task::Chaos(args) => chaos::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error[{}]: {}", error.code, error.message);
            for text in [&error.detail, &error.help].into_iter().filter(|text| !text.is_empty()) {
                eprintln!("{text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// A task that found what it must not find.
fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::JobFailed, message)
}

/// A submission of nothing, to be filled in.
fn nothing() -> firesteel_common::http::SubmitRequest {
    firesteel_common::http::SubmitRequest {
        name: String::new(),
        plugin: None,
        entry: String::new(),
        args: Default::default(),
        sql: None,
        tables: Default::default(),
        conf: Default::default(),
        tags: Default::default(),
        deploy_mode: Default::default(),
        idempotency_key: None,
    }
}
