//! `firesteel ui`: a link that logs a browser in to the pages of the master.

use super::{ListFormat, print_json};
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
    /// How to print it: json is an object with the link as its url
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl UiArgs {
    /// Asks for a link.
    pub fn run(self) -> Outcome<Exit> {
        let client = Client::find(&self.connect)?;
        let link: LoginLink = client.post("/login-links", &serde_json::Value::Null)?;
        let url = format!("{}{}", client.root(), link.path);
        match self.format {
            ListFormat::Table => print::line(url)?,
            ListFormat::Json => print_json(&serde_json::json!({ "url": url }))?,
        }
        Ok(Exit::Done)
    }
}
