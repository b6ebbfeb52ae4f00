//! `firesteel events`: the event log of an application, a JSON object a line.

use super::ListFormat;
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::id::{AppId, TaskId};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::time::Duration;

/// How often an answer may end in a row without an event in it, and how long is waited before the next.
const IDLE_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// Prints everything that happened to an application: stages, attempts, losses
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    /// Go on as it grows, until the application has ended
    #[arg(short, long)]
    follow: bool,
    /// How to print it: json is the log as it is, an object a line
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl EventsArgs {
    /// Prints them.
    pub fn run(self) -> Outcome<Exit> {
        let mut client = Client::find(&self.connect)?;
        if self.follow {
            self.follow(&mut client)?;
            return Ok(Exit::Done);
        }
        let mut from = 0;
        loop {
            let path = format!("/applications/{}/events?from={from}", self.app);
            let bytes = client.patiently(|client| client.get_bytes(&path))?;
            let before = from;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                from += 1;
                self.print(&String::from_utf8_lossy(line))?;
            }
            // An answer has an end, a long log has several of them.
            if from == before || print::is_closed() {
                return Ok(Exit::Done);
            }
        }
    }

    /// Prints events as they come, to the last. A master that restarts meanwhile is asked for the rest.
    fn follow(&self, client: &mut Client) -> Outcome<()> {
        let path = format!("/applications/{}/events", self.app);
        let mut from: u64 = 0;
        let mut idle = 0;
        while idle < IDLE_MAX {
            let query = [("follow", "1".to_owned()), ("from", from.to_string())];
            let answer = client.patiently(|client| client.follow(&path, &query))?;
            let before = from;
            // An answer that breaks off is asked for again from where it ended.
            for line in BufReader::new(answer).lines().map_while(Result::ok) {
                if let Some(event) = line.strip_prefix("data: ") {
                    from += 1;
                    self.print(event)?;
                }
                if line == "event: end" || print::is_closed() {
                    return Ok(());
                }
            }
            // A log that was given up has no end; then the state of the application is the end.
            let of = client.patiently(|client| super::status::get(client, self.app, 0))?;
            if from == before && of.state.is_final() {
                return Ok(());
            }
            idle = if from == before { idle + 1 } else { 0 };
            std::thread::sleep(PAUSE);
        }
        let message = format!("the event log of {} breaks off again and again", self.app);
        Err(Error::new(ErrorCode::Unreachable, message).into())
    }

    fn print(&self, event: &str) -> Outcome<()> {
        match self.format {
            ListFormat::Json => print::line(event),
            ListFormat::Table => print::line(print::safe(&in_words(event))),
        }
    }
}

/// `task_failed task=… error=…`, of an object with a field `event`.
fn in_words(line: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let mut take = |name: &str| fields.remove(name).map(|value| plain(&value)).unwrap_or_default();
    let at = take("at").parse::<u64>().map_or_else(|_| "?".to_owned(), seconds);
    let mut text = format!("{at:>12} {}", take("event"));
    fields.remove("app");
    for (name, value) in &fields {
        text.push_str(&format!(" {name}={}", plain(value)));
    }
    text
}

/// A time on the master's clock, in seconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => match TaskId::deserialize(other) {
            Ok(task) => task.to_string(),
            Err(_) => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_words() {
        let line = r#"{"at":12,"app":"app-1","event":"stage_finished","stage":3}"#;
        assert_eq!(in_words(line), "    0.000012 stage_finished stage=3");
        assert_eq!(in_words("x"), "x");
    }
}
