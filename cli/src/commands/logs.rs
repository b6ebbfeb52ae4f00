//! `firesteel logs`: what the processes of an application have printed.

use crate::client::{Client, ConnectArgs, WAIT_MS};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::http::LogPiece;
use firesteel_common::id::AppId;

/// Prints what the driver and the executors of an application have printed
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    /// Go on as it grows, until the application has ended
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl LogsArgs {
    /// Prints the log on stdout.
    pub fn run(self) -> Outcome<Exit> {
        let client = Client::find(&self.connect)?;
        read(&client, self.app, self.follow, &mut |text| print::data(text.as_bytes()))?;
        Ok(Exit::Done)
    }
}

/// Hands out the log piece by piece, to its present end or (`follow`) to its last.
pub fn read(
    client: &Client,
    app: AppId,
    follow: bool,
    piece: &mut dyn FnMut(&str) -> Outcome<()>,
) -> Outcome<()> {
    let mut from = 0;
    loop {
        let wait = if follow { WAIT_MS } else { 0 };
        let log: LogPiece = client.get(&format!("/applications/{app}/logs?from={from}&wait_ms={wait}"))?;
        if log.truncated {
            print::talk("(older lines were dropped, since the log was full)");
        }
        piece(&print::safe(&log.text))?;
        let at_end = log.next == from;
        from = log.next;
        if log.end || (at_end && !follow) {
            return Ok(());
        }
    }
}
