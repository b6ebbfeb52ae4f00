//! `firesteel events`: the event log of an application, a JSON object a line.

use super::ListFormat;
use crate::client::{Client, ConnectArgs, WAIT_MS};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::id::{AppId, TaskId};
use serde::Deserialize;

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
        let mut from = 0;
        loop {
            let wait = if self.follow { WAIT_MS } else { 0 };
            let path = format!("/applications/{}/events?from={from}&wait_ms={wait}", self.app);
            let bytes = client.patiently(|client| client.get_bytes(&path))?;
            let before = from;
            let mut ended = false;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                from += 1;
                let known = serde_json::from_slice::<LoggedEvent>(line).ok();
                ended |= known.is_some_and(|logged| matches!(logged.event, AppEvent::AppEnded { .. }));
                let text = String::from_utf8_lossy(line);
                match self.format {
                    ListFormat::Json => print::line(&text)?,
                    ListFormat::Table => print::line(print::safe(&in_words(&text)))?,
                }
            }
            // A log that was given up has no end; then the state of the application is the end.
            let gone =
                self.follow && from == before && super::status::get(&client, self.app, 0)?.state.is_final();
            if ended || !self.follow || gone || print::is_closed() {
                return Ok(Exit::Done);
            }
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
