//! What the processes of applications print: one ring of bytes for each application, in memory.
//!
//! Link threads write, the daemon reads and waits. When a ring is full, its oldest bytes go; when all rings
//! together are, the logs of the applications that ended first go. Nothing survives the master.

use firesteel_common::http::{LogPiece, LogSource};
use firesteel_common::id::AppId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Sources of one log that are told apart.
const SOURCES_MAX: usize = 1024;
/// What the sources beyond these are called.
const OTHERS: &str = "others";
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
    /// Whose bytes lie in the ring, in their order.
    spans: VecDeque<Span>,
    /// Who has printed something, and how many bytes in all.
    sources: Vec<LogSource>,
    ended: Option<Instant>,
    driver_exited: bool,
    /// Made by the first who waits for more.
    more: Option<Arc<Notify>>,
}

/// Bytes of one source, up to an offset.
#[derive(Clone, Copy)]
struct Span {
    end: u64,
    source: usize,
}

/// What somebody wants of a log.
pub(crate) struct Wanted<'a> {
    /// Bytes from this offset on.
    pub from: u64,
    /// Only those of this source.
    pub source: Option<&'a str>,
    /// So many bytes at most.
    pub max: usize,
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
        log.add(source, bytes);
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

    /// An application is forgotten, and its log with it.
    pub(crate) fn forget(&self, app: AppId) {
        let mut inner = self.inner.lock();
        inner.bytes -= log_len(&inner.logs, app);
        inner.logs.remove(&app);
        inner.ended.retain(|ended| *ended != app);
    }

    /// Who has printed something, in the order of their first words.
    pub(crate) fn sources(&self, app: AppId) -> Vec<LogSource> {
        self.inner.lock().logs.get(&app).map(|log| log.sources.clone()).unwrap_or_default()
    }

    /// The output from an offset on. `ended_before` says that the application has ended, for one whose log is
    /// gone or never was.
    pub(crate) fn read(&self, app: AppId, wanted: &Wanted<'_>, ended_before: bool) -> Watched {
        let from = wanted.from;
        let mut inner = self.inner.lock();
        if ended_before && !inner.logs.contains_key(&app) {
            let piece = LogPiece { next: from, truncated: from == 0, end: true, text: String::new() };
            return Watched { piece, more: Arc::new(Notify::new()).notified_owned(), look_again: None };
        }
        let log = inner.logs.entry(app).or_default();
        let piece = log.piece(wanted);
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
    fn add(&mut self, source: &str, bytes: &[u8]) {
        let known = self.sources.iter().position(|known| known.source == source);
        let source = known.unwrap_or_else(|| {
            let name = if self.sources.len() < SOURCES_MAX { source } else { OTHERS };
            if self.sources.len() <= SOURCES_MAX {
                self.sources.push(LogSource { source: name.to_owned(), bytes: 0 });
            }
            self.sources.len() - 1
        });
        self.sources[source].bytes += bytes.len() as u64;
        self.ring.extend(bytes);
        let end = self.start + self.ring.len() as u64;
        match self.spans.back_mut() {
            Some(last) if last.source == source => last.end = end,
            _ => self.spans.push_back(Span { end, source }),
        }
    }

    fn drop_front(&mut self, excess: usize) {
        self.ring.drain(..excess);
        self.start += excess as u64;
        while self.spans.front().is_some_and(|span| span.end <= self.start) {
            self.spans.pop_front();
        }
    }

    fn wake(&mut self) {
        if let Some(more) = self.more.take() {
            more.notify_waiters();
        }
    }

    fn is_complete(&self) -> bool {
        self.ended.is_some_and(|ended| self.driver_exited || ended.elapsed() >= LATE)
    }

    fn piece(&self, wanted: &Wanted<'_>) -> LogPiece {
        let complete = self.is_complete();
        let end = self.start + self.ring.len() as u64;
        let at = wanted.from.clamp(self.start, end);
        let (mut bytes, mut next, ends_with_them) = self.take(at, end, wanted);
        if !(complete && next == end) && ends_with_them {
            let cut = cut_character(&bytes);
            bytes.truncate(bytes.len() - cut);
            next -= cut as u64;
        }
        LogPiece {
            next,
            truncated: wanted.from < self.start,
            end: complete && next == end,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// The bytes that are wanted between two offsets; up to where they were looked for; and whether the last
    /// one of these is among them.
    fn take(&self, mut at: u64, end: u64, wanted: &Wanted<'_>) -> (Vec<u8>, u64, bool) {
        let range =
            |from: u64, to: u64| self.ring.range((from - self.start) as usize..(to - self.start) as usize);
        let Some(source) = wanted.source else {
            let to = end.min(at + wanted.max as u64);
            return (range(at, to).copied().collect(), to, true);
        };
        let Some(source) = self.sources.iter().position(|known| known.source == source) else {
            return (Vec::new(), end, false);
        };
        let (mut bytes, mut ends_with_them) = (Vec::new(), false);
        let first = self.spans.partition_point(|span| span.end <= at);
        for span in self.spans.range(first..) {
            let room = (wanted.max - bytes.len()) as u64;
            if room == 0 {
                break;
            }
            ends_with_them = span.source == source;
            let to = if ends_with_them { span.end.min(at + room) } else { span.end };
            if ends_with_them {
                bytes.extend(range(at, to));
            }
            at = to;
        }
        (bytes, at, ends_with_them)
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
        read_of(logs, from, None, 1000)
    }

    fn read_of(logs: &Logs, from: u64, source: Option<&str>, max: usize) -> LogPiece {
        logs.read(APP, &Wanted { from, source, max }, false).piece
    }

    #[test]
    fn a_source_is_read_by_itself() {
        let logs = Logs::new(60);
        let name = "executor on worker-2";
        logs.write(APP, "driver", b"one\n[executor on worker-2] no\n", true);
        logs.write(APP, name, b"x\n", true);
        logs.write(APP, "driver", "é".as_bytes().split_at(1).0, true);
        let piece = read_of(&logs, 0, Some("driver"), 1000);
        assert_eq!((piece.text.as_str(), piece.next), ("one\n[executor on worker-2] no\n", 55));
        logs.write(APP, "driver", "é".as_bytes().split_at(1).1, true);
        assert_eq!(read_of(&logs, piece.next, Some("driver"), 1000).text, "é");
        let piece = read_of(&logs, 0, Some(name), 4);
        assert_eq!((piece.text.as_str(), piece.next), ("[exe", 34));
        assert_eq!(read_of(&logs, piece.next, Some(name), 1000).text, "cutor on worker-2] x\n");
        let none = read_of(&logs, 0, Some("executor on worker-3"), 1000);
        assert_eq!((none.text.as_str(), none.next), ("", 57));
        let source = |source: &str, bytes| LogSource { source: source.to_owned(), bytes };
        assert_eq!(logs.sources(APP), [source("driver", 32), source(name, 25)]);
        logs.write(APP, "driver", &[b'z'; 60], true);
        assert_eq!(read_of(&logs, 0, Some("driver"), 1000).text, "z".repeat(60));
        assert_eq!(read_of(&logs, 0, Some(name), 1000).text, "");
        assert!(read_of(&logs, 0, Some(name), 1000).truncated);
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
        let gone = logs.read(AppId(0), &Wanted { from: 0, source: None, max: 1000 }, true).piece;
        assert!(gone.end && gone.truncated && gone.text.is_empty());
    }
}
