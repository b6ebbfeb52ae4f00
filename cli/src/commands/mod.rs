//! The table of commands: each has a file of its own, with its flags and its `run`.

mod admin;
mod apps;
mod audit;
mod completions;
mod config;
mod doctor;
mod driver;
mod events;
mod executor;
mod executors;
mod explain;
mod kill;
mod local;
mod logs;
mod master;
mod new;
mod plugins;
mod result;
mod status;
mod submit;
mod tokens;
mod ui;
mod worker;
mod workers;

use crate::failure::{Exit, Outcome};
use clap::{Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the application failed or was killed
  2    a wrong command line or setting
  3    no master there, or it does not answer
  4    the master refused the request
  5    this machine failed (a file, a process, a socket)
  101  the plugin has no such entry point
  124  the application ran longer than it may (--timeout)
  130  stopped with Ctrl-C

Data goes to standard output, everything else to standard error.
FIRESTEEL_LOG filters the log of a process (info, debug, firesteel_master=debug).";

/// Runs compiled Rust jobs and SQL on a cluster of processes.
///
/// `firesteel local` starts a cluster on this machine; `firesteel submit` runs something on it.
#[derive(Debug, Parser)]
#[command(name = "firesteel", version, propagate_version = true)]
#[command(after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more about what this process does, on standard error
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Local(local::LocalArgs),
    New(new::NewArgs),
    Submit(Box<submit::SubmitArgs>),
    Status(status::StatusArgs),
    Result(result::ResultArgs),
    Logs(logs::LogsArgs),
    Kill(kill::KillArgs),
    Apps(apps::AppsArgs),
    Workers(workers::WorkersArgs),
    Executors(executors::ExecutorsArgs),
    Plugins(plugins::PluginsArgs),
    Events(events::EventsArgs),
    Tokens(tokens::TokensArgs),
    Audit(audit::AuditArgs),
    Ui(ui::UiArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Completions(completions::CompletionsArgs),
    Master(master::MasterArgs),
    Worker(worker::WorkerArgs),
    /// What an operator does beside running the cluster
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// A driver process; its parent speaks to it over standard input
    #[command(hide = true)]
    Driver,
    /// An executor process; its worker speaks to it over standard input
    #[command(hide = true)]
    Executor,
}

impl Command {
    /// Whether it is a long-lived part of a cluster, whose log is of interest by itself.
    pub fn is_server(&self) -> bool {
        matches!(self, Command::Master(_) | Command::Worker(_))
    }

    /// Does it.
    pub fn run(self) -> Outcome<Exit> {
        match self {
            Command::Local(args) => args.run(),
            Command::New(args) => args.run(),
            Command::Submit(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Result(args) => args.run(),
            Command::Logs(args) => args.run(),
            Command::Kill(args) => args.run(),
            Command::Apps(args) => args.run(),
            Command::Workers(args) => args.run(),
            Command::Executors(args) => args.run(),
            Command::Plugins(args) => args.run(),
            Command::Events(args) => args.run(),
            Command::Tokens(args) => args.run(),
            Command::Audit(args) => args.run(),
            Command::Ui(args) => args.run(),
            Command::Config(args) => args.run(),
            Command::Doctor(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Master(args) => args.run(),
            Command::Worker(args) => args.run(),
            Command::Admin(command) => command.run(),
            Command::Driver => driver::run(),
            Command::Executor => executor::run(),
        }
    }
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For reading.
    #[default]
    Table,
    /// As the master's HTTP daemon says it.
    Json,
}

/// A list on stdout, in one of the two formats.
fn print_list<T: serde::Serialize>(
    list: &[T],
    format: ListFormat,
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Outcome<Exit> {
    match format {
        ListFormat::Json => print_json(&list)?,
        ListFormat::Table => {
            let rows: Vec<_> = list.iter().map(row).collect();
            crate::print::data(crate::print::table(header, &rows).as_bytes())?;
        }
    }
    Ok(Exit::Done)
}

/// A value as JSON on stdout.
fn print_json<T: serde::Serialize>(value: &T) -> Outcome<()> {
    let text = serde_json::to_string_pretty(value).map_err(|cause| {
        let message = format!("writing JSON: {cause}");
        firesteel_common::Error::new(firesteel_common::ErrorCode::Internal, message)
    })?;
    crate::print::line(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn helper_processes_are_not_shown() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("\n  submit ") && !help.contains("\n  executor "), "{help}");
    }
}
