//! `firesteel kill`: ends an application.

use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::id::AppId;

/// Ends an application: its tasks are stopped and everything of it is freed
#[derive(Debug, Args)]
pub struct KillArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl KillArgs {
    /// Asks for it; the end itself follows.
    pub fn run(self) -> Outcome<Exit> {
        Client::find(&self.connect)?.command(&format!("/applications/{}/kill", self.app))?;
        print::talk(format!("{} is being killed", self.app));
        Ok(Exit::Done)
    }
}
