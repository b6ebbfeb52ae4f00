//! `firesteel executors`: the processes that run tasks.

use super::workers::sandbox;
use super::{ListFormat, print_list};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::http::ExecutorInfo;
use firesteel_common::id::AppId;

/// Lists the executors that run, with the sandbox that is in force on each
#[derive(Debug, Args)]
pub struct ExecutorsArgs {
    /// Only those of this application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: Option<AppId>,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl ExecutorsArgs {
    /// One row for each.
    pub fn run(self) -> Outcome<Exit> {
        let path = match self.app {
            Some(app) => format!("/applications/{app}/executors"),
            None => "/executors".to_owned(),
        };
        let executors: Vec<ExecutorInfo> = Client::find(&self.connect)?.get(&path)?;
        let header =
            ["APPLICATION", "WORKER", "HOST", "PID", "STARTED", "SLOTS", "USED", "MEMORY", "SANDBOX"];
        print_list(&executors, self.format, &header, |executor| {
            let memory = match executor.memory {
                0 => "-".to_owned(),
                bytes => format!("{} MiB", bytes >> 20),
            };
            vec![
                executor.app.to_string(),
                executor.worker.to_string(),
                executor.host.clone(),
                executor.pid.to_string(),
                print::utc(executor.started_ms),
                executor.slots.to_string(),
                executor.slots_used.to_string(),
                memory,
                sandbox(&executor.sandbox),
            ]
        })
    }
}
