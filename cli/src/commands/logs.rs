//! `firesteel logs`: what the processes of an application have printed.

use super::ListFormat;
use crate::client::{Client, ConnectArgs, WAIT_MS};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::http::LogPiece;
use firesteel_common::id::AppId;
use std::io::{ErrorKind, Read};

/// Prints what the driver and the executors of an application have printed
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    /// Only what this source has printed: driver, or a word of the mark before its lines, such as worker-2
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Go on as it grows, until the application has ended
    #[arg(short, long)]
    follow: bool,
    /// How to print it: json is an object a line, with its source and its text
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl LogsArgs {
    /// Prints the log on stdout.
    pub fn run(self) -> Outcome<Exit> {
        let client = Client::find(&self.connect)?;
        let mut lines = Lines::of(self.source.clone(), self.format == ListFormat::Json);
        let mut out = |text: &str| self.print(&lines.pick(text));
        if self.follow {
            self.follow(&client, &mut out)?;
        } else {
            read(&client, self.app, false, &mut out)?;
        }
        self.print(lines.rest())?;
        Ok(Exit::Done)
    }

    /// Hands out what comes, to its end.
    fn follow(&self, client: &Client, piece: &mut dyn FnMut(&str) -> Outcome<()>) -> Outcome<()> {
        let path = format!("/applications/{}/logs", self.app);
        let mut answer = client.follow(&path, &[("follow", "1".to_owned())])?;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while !print::is_closed() {
            match answer.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
                Err(cause) => return Err(client.broken_off(cause)),
            }
            piece(&print::safe(&whole_text(&mut bytes)))?;
        }
        Ok(())
    }

    fn print(&self, text: &str) -> Outcome<()> {
        if self.format == ListFormat::Table {
            return print::data(text.as_bytes());
        }
        let object = |line: &str| {
            let (source, text) = match mark(line) {
                Some(mark) => (mark, line[mark.len() + 2..].trim_start_matches(' ')),
                None => ("driver", line),
            };
            format!("{}\n", serde_json::json!({ "source": source, "text": text }))
        };
        print::data(text.lines().map(object).collect::<String>().as_bytes())
    }
}

/// Takes the text off the front of bytes, up to a character whose rest has not come yet.
fn whole_text(bytes: &mut Vec<u8>) -> String {
    let end = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    String::from_utf8_lossy(&bytes.drain(..end).collect::<Vec<u8>>()).into_owned()
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

/// The lines of one source, or of all, out of text that comes in pieces.
struct Lines {
    source: Option<String>,
    /// Whether a line is held back until it has its end, also when all are wanted.
    whole: bool,
    partial: String,
}

impl Lines {
    fn of(source: Option<String>, whole: bool) -> Self {
        Self { source, whole, partial: String::new() }
    }

    /// The whole lines of the source up to here.
    fn pick(&mut self, text: &str) -> String {
        if self.source.is_none() && !self.whole {
            return text.to_owned();
        }
        self.partial.push_str(text);
        let end = self.partial.rfind('\n').map_or(0, |at| at + 1);
        let whole: String = self.partial.drain(..end).collect();
        whole.split_inclusive('\n').filter(|line| self.wants(line)).collect()
    }

    /// The last line, if it has no end.
    fn rest(&self) -> &str {
        if self.wants(&self.partial) { &self.partial } else { "" }
    }

    fn wants(&self, line: &str) -> bool {
        self.source.as_ref().is_none_or(|source| is_of(line, source))
    }
}

/// Who printed a line, if it was an executor: its lines begin with their mark in brackets.
fn mark(line: &str) -> Option<&str> {
    let (mark, _) = line.strip_prefix('[')?.split_once(']')?;
    (mark.contains("worker-") || mark.contains("executor")).then_some(mark)
}

fn is_of(line: &str, source: &str) -> bool {
    match (mark(line), source) {
        (mark, "driver") => mark.is_none(),
        (Some(mark), _) => mark == source || mark.split(' ').any(|word| word == source),
        (None, _) => false,
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
    fn a_character_that_came_in_two_parts_is_one() {
        let text = "a日".as_bytes();
        let mut bytes = text[..2].to_vec();
        assert_eq!(whole_text(&mut bytes), "a");
        bytes.extend_from_slice(&text[2..]);
        assert_eq!(whole_text(&mut bytes), "日");
        bytes.extend_from_slice(b"\xffb");
        assert_eq!(whole_text(&mut bytes), "\u{fffd}b");
    }

    #[test]
    fn lines_of_one_source_are_picked_out_of_pieces() {
        let pieces = ["a\n[work", "er-2] b\n[worker-3] c\n", "d"];
        let picked = |source: Option<&str>| {
            let mut lines = Lines::of(source.map(str::to_owned), false);
            let mut text: String = pieces.iter().map(|piece| lines.pick(piece)).collect();
            text.push_str(lines.rest());
            text
        };
        assert_eq!(picked(None), pieces.concat());
        assert_eq!(picked(Some("driver")), "a\nd");
        assert_eq!(picked(Some("worker-2")), "[worker-2] b\n");
    }
}
