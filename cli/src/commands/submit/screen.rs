//! Where the talk of a running application goes: lines, and on a terminal one status line below them.
//!
//! The status line is cut by the terminal itself (its automatic line break is off while it is written), so
//! its width need not be known. Nothing here knows what the line says.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

const CLEAR: &str = "\r\x1b[K";
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Standard error with a status line at its end.
#[derive(Clone)]
pub struct Screen {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// Whether there is a status line at all.
    live: bool,
    /// What it says; empty for none.
    status: String,
    /// Whether something is being asked, so that nothing may be drawn.
    paused: bool,
    /// What is to be written after the question.
    held: Vec<u8>,
    /// Whether the last text ended its line.
    at_line_start: bool,
}

/// The most bytes that are kept while a question is asked.
const HELD_MAX: usize = 1 << 20;

impl Screen {
    /// A screen; with a status line if `wanted` and on a terminal that can have one.
    pub fn new(wanted: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = wanted && !dumb && io::stderr().is_terminal();
        let inner =
            Inner { live, status: String::new(), paused: false, held: Vec::new(), at_line_start: true };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Whether there is a status line.
    pub fn is_live(&self) -> bool {
        self.lock().live
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Text above the status line, as it is; it may end within a line.
    pub fn write(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut inner = self.lock();
        if inner.paused {
            let room = HELD_MAX.saturating_sub(inner.held.len());
            inner.held.extend(text.bytes().take(room));
            return;
        }
        let frame = inner.frame(text);
        put(frame.as_bytes());
    }

    /// A line above the status line.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// What the status line says from now on.
    pub fn status(&self, text: String) {
        let mut inner = self.lock();
        if inner.live && inner.status != text {
            inner.status = text;
            if !inner.paused && inner.at_line_start {
                let frame = inner.frame("");
                put(frame.as_bytes());
            }
        }
    }

    /// Takes the status line away for good.
    pub fn clear(&self) {
        let mut inner = self.lock();
        if inner.live && !inner.status.is_empty() {
            inner.status.clear();
            put(CLEAR.as_bytes());
        }
        inner.live = false;
    }

    /// Asks something; nothing is drawn until [`Screen::resume`].
    pub fn pause(&self, question: &str) {
        let mut inner = self.lock();
        inner.paused = true;
        let clear = if inner.live { CLEAR } else { "" };
        put(format!("{clear}{question}").as_bytes());
    }

    /// Draws again, what came meanwhile first.
    pub fn resume(&self) {
        let mut inner = self.lock();
        inner.paused = false;
        let held = String::from_utf8_lossy(&std::mem::take(&mut inner.held)).into_owned();
        let frame = inner.frame(&held);
        put(frame.as_bytes());
    }
}

impl Inner {
    /// What brings text above the status line.
    fn frame(&mut self, text: &str) -> String {
        if !self.live {
            return text.to_owned();
        }
        let clear = if self.at_line_start { CLEAR } else { "" };
        if !text.is_empty() {
            self.at_line_start = text.ends_with('\n');
        }
        // After half a line there is no place for the status line.
        if !self.at_line_start || self.status.is_empty() {
            return format!("{clear}{text}");
        }
        format!("{clear}{text}{NO_WRAP}{}{WRAP}", self.status)
    }
}

fn put(bytes: &[u8]) {
    // A closed stderr is no reason to fail.
    let mut out = io::stderr().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(live: bool) -> Inner {
        Inner { live, status: "S".into(), paused: false, held: Vec::new(), at_line_start: true }
    }

    #[test]
    fn the_status_line_stays_below_whole_lines() {
        let mut inner = inner(true);
        assert_eq!(inner.frame("a\n"), "\r\x1b[Ka\n\x1b[?7lS\x1b[?7h");
        assert_eq!(inner.frame("half"), "\r\x1b[Khalf");
        assert_eq!(inner.frame(" line\n"), " line\n\x1b[?7lS\x1b[?7h");
    }

    #[test]
    fn without_a_terminal_there_is_only_the_text() {
        assert_eq!(inner(false).frame("a\n"), "a\n");
    }
}
