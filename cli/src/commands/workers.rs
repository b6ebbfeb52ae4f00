//! `firesteel workers`: the workers that a master knows.

use super::{ListFormat, print_list};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use clap::Args;
use firesteel_common::http::WorkerInfo;

/// Lists the workers of the cluster
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl WorkersArgs {
    /// One row for each.
    pub fn run(self) -> Outcome<Exit> {
        let workers: Vec<WorkerInfo> = Client::find(&self.connect)?.get("/workers")?;
        let header = ["WORKER", "ALIVE", "SLOTS", "FREE", "DRIVERS", "HOST", "DATA SERVER"];
        print_list(&workers, self.format, &header, |worker| {
            vec![
                worker.worker.to_string(),
                if worker.alive { "yes" } else { "no" }.into(),
                worker.slots.to_string(),
                worker.slots_free.to_string(),
                worker.drivers.to_string(),
                worker.host.clone(),
                worker.address.clone(),
            ]
        })
    }
}
