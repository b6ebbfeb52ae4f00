//! The one binary. It reads the command line, hands over to the command, and turns its end into an exit code.
//!
//! What is *not* here: anything about jobs, stages or blocks. The rooms do the work; a command parses flags,
//! starts or asks a room, and prints.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

mod children;
mod client;
mod commands;
mod failure;
mod print;
mod rows;
mod run_dir;
mod settings;
mod signals;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, hence on stdout with exit code 0; the rest is misuse (2).
            let code = if error.use_stderr() { failure::Exit::Usage as u8 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    print::start_logging(cli.command.is_server(), cli.verbose);
    match cli.command.run() {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            print::error(&failure.error);
            ExitCode::from(failure.exit as u8)
        }
    }
}
