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
    /// Only what this source has printed: driver, or a word of the mark before its lines, such as executor
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
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
        let mut lines = Lines::of(self.source);
        read(&client, self.app, self.follow, &mut |text| print::data(lines.pick(text).as_bytes()))?;
        print::data(lines.rest().as_bytes())?;
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
    let mut gap_told = false;
    loop {
        let wait = if follow { WAIT_MS } else { 0 };
        let log: LogPiece = client.get(&format!("/applications/{app}/logs?from={from}&wait_ms={wait}"))?;
        if log.truncated && !gap_told {
            gap_told = true;
            print::talk(gap(&log));
        }
        piece(&print::safe(&log.text))?;
        let at_end = log.next == from;
        from = log.next;
        if log.end || (at_end && !follow) || print::is_closed() {
            return Ok(());
        }
    }
}

/// Why bytes are missing: a log that was full has text after the gap, one that is gone has none.
fn gap(log: &LogPiece) -> &'static str {
    if log.text.is_empty() && log.end {
        "(nothing of its output is kept: logs do not outlive the master, and old ones make room)"
    } else {
        "(older lines were dropped, since the log was full)"
    }
}

/// The lines of one source, out of text that comes in pieces.
struct Lines {
    source: Option<String>,
    partial: String,
}

impl Lines {
    fn of(source: Option<String>) -> Self {
        Self { source, partial: String::new() }
    }

    /// The whole lines of the source up to here.
    fn pick(&mut self, text: &str) -> String {
        let Some(source) = &self.source else { return text.to_owned() };
        self.partial.push_str(text);
        let end = self.partial.rfind('\n').map_or(0, |at| at + 1);
        let whole: String = self.partial.drain(..end).collect();
        whole.split_inclusive('\n').filter(|line| is_of(line, source)).collect()
    }

    /// The last line, if it has no end.
    fn rest(&self) -> &str {
        match &self.source {
            Some(source) if is_of(&self.partial, source) => &self.partial,
            _ => "",
        }
    }
}

/// Lines of executors begin with their mark in brackets; those of the driver have none.
fn is_of(line: &str, source: &str) -> bool {
    let mark = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(mark, _)| mark);
    match source {
        "driver" => !mark.is_some_and(|mark| mark.contains("worker-") || mark.contains("executor")),
        _ => mark.is_some_and(|mark| mark.split(' ').any(|word| word == source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_its_true_reason() {
        let piece = |text: &str, end| LogPiece { next: 9, truncated: true, end, text: text.to_owned() };
        assert!(gap(&piece("", true)).contains("do not outlive the master"));
        assert!(gap(&piece("x", false)).contains("was full"));
    }

    #[test]
    fn lines_of_one_source_are_picked_out_of_pieces() {
        let pieces = ["a\n[work", "er-2] b\n[worker-3] c\n", "d"];
        let picked = |source: Option<&str>| {
            let mut lines = Lines::of(source.map(str::to_owned));
            let mut text: String = pieces.iter().map(|piece| lines.pick(piece)).collect();
            text.push_str(lines.rest());
            text
        };
        assert_eq!(picked(None), pieces.concat());
        assert_eq!(picked(Some("driver")), "a\nd");
        assert_eq!(picked(Some("worker-2")), "[worker-2] b\n");
    }
}
