//! `firesteel audit`: who has asked the master for what, and what was refused.

use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;

/// Prints the latest entries of the audit log, a JSON object a line (for administrators)
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl AuditArgs {
    /// Prints them.
    pub fn run(self) -> Outcome<Exit> {
        let bytes = Client::find(&self.connect)?.get_bytes(&format!("/audit?limit={}", self.limit))?;
        print::data(print::safe(&String::from_utf8_lossy(&bytes)).as_bytes())?;
        Ok(Exit::Done)
    }
}
