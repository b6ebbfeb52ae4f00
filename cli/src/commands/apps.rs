//! `firesteel apps`: the applications that a master knows.

use super::{ListFormat, print_list};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::http::AppStatus;

/// Lists the applications of the cluster
#[derive(Debug, Args)]
pub struct AppsArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl AppsArgs {
    /// One row for each.
    pub fn run(self) -> Outcome<Exit> {
        let apps: Vec<AppStatus> = Client::find(&self.connect)?.get("/applications")?;
        print_list(&apps, self.format, &["APPLICATION", "STATE", "SUBMITTED", "SECONDS", "NAME"], |app| {
            vec![
                app.app.to_string(),
                super::status::state(app.state).into(),
                print::utc(app.submitted_ms),
                super::status::seconds(app).unwrap_or_default(),
                app.name.clone(),
            ]
        })
    }
}
