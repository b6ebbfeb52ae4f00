//! Partitions that go through a command: each record a line of its input, each line of its output a record.

use crate::operator::{ENOUGH, Flow, MORE, Operator, sealed};
use crate::ops::narrow::passes_on;
use crate::pipe::{Fed, Process};
use crate::plan::{Needs, Parents};
use crate::task::Task;
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Write};

sealed! { Pipe<Op> }

/// How many bytes of input are gathered before they are handed over.
const BUFFER: usize = 64 * 1024;
/// The longest line of output.
const LINE_MAX: usize = 64 * 1024 * 1024;

/// See [`crate::Rdd::pipe`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Pipe<Op> {
    /// What is the input.
    pub op: Op,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it has in its environment beside what the executor has.
    pub env: Vec<(String, String)>,
}

/// Output on its way to the sink.
struct Lines<'a, S> {
    command: &'a str,
    sink: &'a mut S,
    /// The start of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl<S: FnMut(String) -> Flow> Lines<'_, S> {
    fn line(&mut self, line: Vec<u8>) -> Result<Flow> {
        let line = String::from_utf8(line).map_err(|_| {
            let message = format!("a line of the output of {} is not UTF-8", self.command);
            Error::new(ErrorCode::JobFailed, message)
        })?;
        Ok((self.sink)(line))
    }

    /// Some more output.
    fn take(&mut self, output: &[u8]) -> Result<Flow> {
        let mut parts = output.split(|byte| *byte == b'\n');
        // The last part is the start of a line, perhaps of no bytes yet.
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            let mut line = std::mem::take(&mut self.begun);
            line.extend_from_slice(part);
            if self.line(line)?.is_break() {
                return Ok(ENOUGH);
            }
        }
        self.begun.extend_from_slice(last);
        if self.begun.len() > LINE_MAX {
            let message = format!("a line of the output of {} is longer than {LINE_MAX} bytes", self.command);
            return Err(Error::new(ErrorCode::TooLarge, message));
        }
        Ok(MORE)
    }

    /// The end of the output: a last line without an end.
    fn end(&mut self) -> Result<Flow> {
        let last = std::mem::take(&mut self.begun);
        if last.is_empty() { Ok(MORE) } else { self.line(last) }
    }
}

impl<'s, Op: Operator<'s, Item: Display>> Operator<'s> for Pipe<Op> {
    type Item = String;
    passes_on!();

    fn run<S>(&self, task: &Task<'s>, split: &Op::Split, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(String) -> Flow,
    {
        let process = Process::start(&self.command, &self.env)?;
        let mut lines = Lines { command: process.name(), sink, begun: Vec::new() };
        let mut stopped = false;
        // Hands input over, and takes the output that is in the way of it. Whether more is wanted.
        let mut feed = |bytes: Vec<u8>, lines: &mut Lines<'_, S>| -> Result<bool> {
            let mut bytes = bytes;
            loop {
                task.check_cancelled()?;
                match process.feed(bytes)? {
                    Fed::Taken => return Ok(true),
                    Fed::Refused => return Ok(false),
                    Fed::Later(back, output) => {
                        bytes = back;
                        if lines.take(&output)?.is_break() {
                            stopped = true;
                            return Ok(false);
                        }
                    }
                }
            }
        };
        let mut input = String::with_capacity(BUFFER + 1024);
        let mut failure = None;
        let _ = self.op.run(task, split, &mut |record| {
            // Writing to a string cannot fail, unless the record itself does.
            if writeln!(input, "{record}").is_err() {
                failure = Some(Error::new(ErrorCode::JobFailed, "a record cannot be written as text"));
                return ENOUGH;
            }
            if input.len() < BUFFER {
                return MORE;
            }
            let full = std::mem::replace(&mut input, String::with_capacity(BUFFER + 1024));
            match feed(full.into_bytes(), &mut lines) {
                Ok(true) => MORE,
                Ok(false) => ENOUGH,
                Err(error) => {
                    failure = Some(error);
                    ENOUGH
                }
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        feed(input.into_bytes(), &mut lines)?;
        if stopped {
            return Ok(ENOUGH);
        }
        process.end_input();
        while let Some(output) = process.output()? {
            task.check_cancelled()?;
            if lines.take(&output)?.is_break() {
                return Ok(ENOUGH);
            }
        }
        let flow = lines.end()?;
        while !process.ended()? {
            task.check_cancelled()?;
        }
        Ok(flow)
    }
}
