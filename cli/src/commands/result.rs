//! `firesteel result`: what an application has returned.

use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Failure, Outcome};
use crate::{print, rows};
use clap::Args;
use firesteel_common::http::{AppState, AppStatus};
use firesteel_common::id::AppId;
use std::path::{Path, PathBuf};

/// Flags of every command that prints a result.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// How to print the result: table, csv and raw are for rows of a query
    #[arg(short = 'o', long = "output", alias = "format", value_enum)]
    pub format: Option<rows::Format>,
    /// Write the result to a file instead
    #[arg(long = "output-file", value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Prints the result of an application, waiting for its end
#[derive(Debug, Args)]
pub struct ResultArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl ResultArgs {
    /// Prints it, or the error of the application.
    pub fn run(self) -> Outcome<Exit> {
        let client = Client::find(&self.connect)?;
        let status = super::status::ended(&client, self.app)?;
        print(&client, status, &self.output)
    }
}

/// Prints the result of an application that has ended.
///
/// # Errors
/// The application's own, with exit code 1.
pub fn print(client: &Client, status: AppStatus, output: &OutputArgs) -> Outcome<Exit> {
    let app = status.app;
    if status.state != AppState::Succeeded {
        let error = status.error.unwrap_or_else(|| {
            let message = format!("{app} was killed");
            firesteel_common::Error::new(firesteel_common::ErrorCode::Killed, message)
        });
        return Err(Failure::application(error));
    }
    let bytes = client.get_bytes(&format!("/applications/{app}/result"))?;
    print::data_to(&rows::render(bytes, output.format)?, output.output.as_deref().map(Path::new))?;
    Ok(Exit::Done)
}
