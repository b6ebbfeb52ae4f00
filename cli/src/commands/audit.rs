//! `firesteel audit`: who has asked the master for what, and what was refused.

use super::ListFormat;
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use serde::Deserialize;

/// Shows the latest entries of the audit log: who did what, and who was refused (for administrators)
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// How to print it: json is the log as it is, an object a line, each with the hash of the one before
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl AuditArgs {
    /// Prints them.
    pub fn run(self) -> Outcome<Exit> {
        let bytes = Client::find(&self.connect)?.get_bytes(&format!("/audit?limit={}", self.limit))?;
        let text = String::from_utf8_lossy(&bytes);
        match self.format {
            ListFormat::Json => print::data(print::safe(&text).as_bytes())?,
            ListFormat::Table => {
                let rows: Vec<_> = text.lines().filter_map(row).collect();
                let header = ["TIME", "WHO", "FROM", "ACTION", "OBJECT", "DECISION"];
                print::data(print::table(&header, &rows).as_bytes())?;
            }
        }
        Ok(Exit::Done)
    }
}

/// What of an entry is for reading.
#[derive(Deserialize)]
struct Entry {
    at_ms: u64,
    principal: String,
    source: String,
    action: String,
    object: String,
    decision: String,
}

/// The cells of a line; none for one that is not understood.
fn row(line: &str) -> Option<Vec<String>> {
    let entry: Entry = serde_json::from_str(line).ok()?;
    let who = if entry.principal.is_empty() { "-".to_owned() } else { entry.principal };
    Some(vec![print::utc(entry.at_ms), who, entry.source, entry.action, entry.object, entry.decision])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_row() {
        let line = r#"{"at_ms":0,"principal":"","source":"127.0.0.1:1","action":"GET","object":"/x",
            "decision":"UNAUTHENTICATED","previous":"00","hash":"01"}"#;
        let row = row(line).unwrap();
        assert_eq!(row, ["1970-01-01 00:00:00 UTC", "-", "127.0.0.1:1", "GET", "/x", "UNAUTHENTICATED"]);
        assert!(super::row("{}").is_none());
    }
}
