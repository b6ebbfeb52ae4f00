//! What the processes of applications print: one ring of bytes for each application, in memory.
//!
//! Link threads write, the daemon reads and waits. When a ring is full, its oldest bytes go; when all rings
//! together are, the logs of the applications that ended first go. Nothing survives the master.

use firesteel_common::http::LogPiece;
use firesteel_common::id::AppId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The most bytes of one answer.
const PIECE_MAX: usize = 1024 * 1024;
/// All logs together have room for this many full ones.
const FULL_LOGS: u64 = 64;
/// How long output may still arrive after an outcome, when its driver's worker does not say that it exited.
const LATE: Duration = Duration::from_secs(2);

/// The logs of all applications.
pub(crate) struct Logs {
    log_bytes_max: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    logs: BTreeMap<AppId, Log>,
    /// Applications that ended, the earliest first.
    ended: VecDeque<AppId>,
    /// Bytes of all logs.
    bytes: u64,
}

#[derive(Default)]
struct Log {
    ring: VecDeque<u8>,
    /// The offset of the first byte in the ring.
    start: u64,
    ended: Option<Instant>,
    driver_exited: bool,
    /// Made by the first who waits for more.
    more: Option<Arc<Notify>>,
}

/// A piece of a log, and what to wait on if it is empty.
pub(crate) struct Watched {
    /// The piece.
    pub piece: LogPiece,
    /// Ready when there is more, or the end.
    pub more: OwnedNotified,
    /// When to look again even if nothing comes.
    pub look_again: Option<Instant>,
}

impl Logs {
    /// No logs yet; each keeps at most `log_bytes_max` bytes.
    pub(crate) fn new(log_bytes_max: u64) -> Self {
        Self { log_bytes_max, inner: Mutex::default() }
    }

    /// A process has printed something. Lines of executors are marked with their source. What comes after the
    /// end of a log, or for an application that has ended and has none (`runs` is false), is dropped.
    pub(crate) fn write(&self, app: AppId, source: &str, bytes: &[u8], runs: bool) {
        let marked = (source != "driver").then(|| mark_lines(source, bytes));
        let bytes = marked.as_deref().unwrap_or(bytes);
        let mut inner = self.inner.lock();
        if runs {
            inner.logs.entry(app).or_default();
        }
        let Some(log) = inner.logs.get_mut(&app).filter(|log| !log.is_complete()) else { return };
        let before = log.ring.len() as u64;
        log.ring.extend(bytes);
        let excess = (log.ring.len() as u64).saturating_sub(self.log_bytes_max);
        log.drop_front(excess as usize);
        log.wake();
        inner.bytes = inner.bytes + log_len(&inner.logs, app) - before;
        inner.evict(self.log_bytes_max * FULL_LOGS);
    }

    /// The worker of an application's driver says that the driver exited: all that it printed has come.
    pub(crate) fn driver_exited(&self, app: AppId) {
        let mut inner = self.inner.lock();
        if let Some(log) = inner.logs.get_mut(&app) {
            log.driver_exited = true;
            log.wake();
        }
    }

    /// An application has its outcome.
    pub(crate) fn app_ended(&self, app: AppId, driver_is_ours: bool) {
        let mut inner = self.inner.lock();
        let log = inner.logs.entry(app).or_default();
        log.driver_exited |= !driver_is_ours;
        if log.ended.replace(Instant::now()).is_none() {
            inner.ended.push_back(app);
        }
        if let Some(log) = inner.logs.get_mut(&app) {
            log.wake();
        }
    }

    /// The output from an offset on. `ended_before` says that the application has ended, for one whose log is
    /// gone or never was.
    pub(crate) fn read(&self, app: AppId, from: u64, ended_before: bool) -> Watched {
        let mut inner = self.inner.lock();
        if ended_before && !inner.logs.contains_key(&app) {
            let piece = LogPiece { next: from, truncated: from == 0, end: true, text: String::new() };
            return Watched { piece, more: Arc::new(Notify::new()).notified_owned(), look_again: None };
        }
        let log = inner.logs.entry(app).or_default();
        let piece = log.piece(from);
        let more = Arc::clone(log.more.get_or_insert_with(|| Arc::new(Notify::new()))).notified_owned();
        let look_again = log.ended.filter(|_| !piece.end).map(|ended| ended + LATE);
        Watched { piece, more, look_again }
    }
}

fn log_len(logs: &BTreeMap<AppId, Log>, app: AppId) -> u64 {
    logs.get(&app).map_or(0, |log| log.ring.len() as u64)
}

impl Inner {
    fn evict(&mut self, budget: u64) {
        while self.bytes > budget {
            let Some(app) = self.ended.pop_front() else { return };
            self.bytes -= log_len(&self.logs, app);
            self.logs.remove(&app);
        }
    }
}

impl Log {
    fn drop_front(&mut self, excess: usize) {
        self.ring.drain(..excess);
        self.start += excess as u64;
    }

    fn wake(&mut self) {
        if let Some(more) = self.more.take() {
            more.notify_waiters();
        }
    }

    fn is_complete(&self) -> bool {
        self.ended.is_some_and(|ended| self.driver_exited || ended.elapsed() >= LATE)
    }

    fn piece(&self, from: u64) -> LogPiece {
        let complete = self.is_complete();
        let end = self.start + self.ring.len() as u64;
        let at = from.clamp(self.start, end);
        let skip = (at - self.start) as usize;
        let mut bytes: Vec<u8> = self.ring.range(skip..).take(PIECE_MAX).copied().collect();
        let is_last = at + bytes.len() as u64 == end;
        if !(complete && is_last) {
            bytes.truncate(bytes.len() - cut_character(&bytes));
        }
        LogPiece {
            next: at + bytes.len() as u64,
            truncated: from < self.start,
            end: complete && is_last,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

/// How many bytes at the end are the beginning of a character whose rest has not come yet.
fn cut_character(bytes: &[u8]) -> usize {
    match std::str::from_utf8(&bytes[bytes.len().saturating_sub(4)..]) {
        Ok(_) => 0,
        Err(error) if error.error_len().is_none() => bytes.len().min(4) - error.valid_up_to(),
        Err(_) => last_start(bytes),
    }
}

/// The same for a tail that does not begin at a character: what follows the last byte that starts one.
fn last_start(bytes: &[u8]) -> usize {
    let back = bytes.iter().rev().take(3).position(|byte| byte & 0xC0 == 0xC0);
    let Some(back) = back else { return 0 };
    let tail = &bytes[bytes.len() - back - 1..];
    match std::str::from_utf8(tail) {
        Err(error) if error.error_len().is_none() => tail.len(),
        _ => 0,
    }
}

/// Puts the source before every line.
fn mark_lines(source: &str, bytes: &[u8]) -> Vec<u8> {
    let mut marked = Vec::with_capacity(bytes.len() + 64);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        marked.extend_from_slice(b"[");
        marked.extend_from_slice(source.as_bytes());
        marked.extend_from_slice(b"] ");
        marked.extend_from_slice(line);
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(1);

    fn read(logs: &Logs, from: u64) -> LogPiece {
        logs.read(APP, from, false).piece
    }

    #[test]
    fn a_reader_follows_by_offsets() {
        let logs = Logs::new(1000);
        logs.write(APP, "driver", b"one\n", true);
        let piece = read(&logs, 0);
        assert_eq!((piece.text.as_str(), piece.next, piece.end), ("one\n", 4, false));
        logs.write(APP, "executor on worker-2", b"two\nthree\n", true);
        let piece = read(&logs, 4);
        assert_eq!(piece.text, "[executor on worker-2] two\n[executor on worker-2] three\n");
        logs.app_ended(APP, true);
        assert!(!read(&logs, piece.next).end);
        logs.driver_exited(APP);
        assert!(read(&logs, piece.next).end);
    }

    #[test]
    fn a_full_ring_drops_its_oldest_bytes_and_says_so() {
        let logs = Logs::new(10);
        logs.write(APP, "driver", b"0123456789", true);
        logs.write(APP, "driver", b"abc", true);
        let piece = read(&logs, 0);
        assert_eq!((piece.text.as_str(), piece.next, piece.truncated), ("3456789abc", 13, true));
        assert!(!read(&logs, 5).truncated);
    }

    #[test]
    fn a_character_is_never_cut() {
        let logs = Logs::new(1000);
        let text = "日本".as_bytes();
        logs.write(APP, "driver", &text[..5], true);
        let piece = read(&logs, 0);
        assert_eq!((piece.text.as_str(), piece.next), ("日", 3));
        logs.write(APP, "driver", &text[5..], true);
        assert_eq!(read(&logs, 3).text, "本");
        logs.write(APP, "driver", b"\xFF\xFFbad\n", true);
        assert_eq!(read(&logs, 6).text, "\u{FFFD}\u{FFFD}bad\n");
    }

    #[test]
    fn the_logs_of_the_earliest_ended_go_when_all_are_full() {
        let logs = Logs::new(10);
        for app in 0..=FULL_LOGS {
            logs.write(AppId(app), "driver", b"0123456789", true);
            logs.app_ended(AppId(app), false);
        }
        assert_eq!(logs.inner.lock().bytes, 10 * FULL_LOGS);
        let gone = logs.read(AppId(0), 0, true).piece;
        assert!(gone.end && gone.truncated && gone.text.is_empty());
    }
}
