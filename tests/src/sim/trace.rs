//! What happens, in words: one line for each event and effect, for the replay of a seed.

use std::fmt::{Arguments, Write};

/// The longest trace that is kept, in bytes; what comes after is left out.
const TRACE_MAX: usize = 64 * 1024 * 1024;

/// The text of a run; empty unless it was asked for.
#[derive(Debug)]
pub(crate) struct Trace {
    on: bool,
    text: String,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, text: String::new() }
    }

    pub(crate) fn line(&mut self, now: u64, words: Arguments<'_>) {
        if self.on && self.text.len() < TRACE_MAX {
            // Writing to a string does not fail.
            let _ = writeln!(self.text, "{:>3}.{:06} {words}", now / 1_000_000, now % 1_000_000);
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Writes a line of the trace, if anybody wants it.
macro_rules! say {
    ($world:expr, $($words:tt)*) => {
        if $world.trace.is_on() {
            let now = $world.clock.now();
            $world.trace.line(now, format_args!($($words)*));
        }
    };
}
pub(crate) use say;
