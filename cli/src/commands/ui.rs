//! `firesteel ui`: a link that logs a browser in to the pages of the master.

use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::http::LoginLink;

/// Prints a link to the pages of the cluster
///
/// The link counts once and for a minute; the browser that opens it may do what the
/// token of this command allows, for twelve hours.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct UiArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

impl UiArgs {
    /// Asks for a link.
    pub fn run(self) -> Outcome<Exit> {
        let client = Client::find(&self.connect)?;
        let link: LoginLink = client.post("/login-links", &serde_json::Value::Null)?;
        print::line(format!("{}{}", client.root(), link.path))?;
        Ok(Exit::Done)
    }
}
