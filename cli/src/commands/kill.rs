//! `firesteel kill`: ends an application.

use super::{ListFormat, print_json};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Failure, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::http::AppState;
use firesteel_common::id::AppId;

/// Ends an application: its tasks are stopped and everything of it is freed
///
/// One that was killed already is fine (exit code 0); one that has ended by itself
/// cannot be killed any more (exit code 1).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct KillArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    /// How to print the answer: json is its status, on standard output
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl KillArgs {
    /// Asks for it; the end itself follows.
    pub fn run(self) -> Outcome<Exit> {
        end(&self.connect, self.app, self.format)
    }
}

/// Ends an application, or says that it has ended.
pub fn end(connect: &ConnectArgs, app: AppId, format: ListFormat) -> Outcome<Exit> {
    let client = Client::find(connect)?;
    let before = super::status::get(&client, app, 0)?;
    match before.state {
        AppState::Killed => print::talk(format!("{app} was killed already")),
        AppState::Succeeded | AppState::Failed => {
            let how = before.state.as_str();
            let message = format!("{app} has ended already ({how}), so it cannot be killed");
            return Err(Failure::application(Error::new(ErrorCode::Conflict, message))
                .with_help(format!("`firesteel result {app}` prints what it has left")));
        }
        AppState::Waiting | AppState::Running => {
            client.command(&format!("/applications/{app}/kill"))?;
            print::talk(format!("{app} is being killed"));
        }
    }
    if format == ListFormat::Json {
        print_json(&super::status::get(&client, app, 0)?)?;
    }
    Ok(Exit::Done)
}
