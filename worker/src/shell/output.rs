//! What children print: read from their pipe, bounded for each application, and handed on as it comes.

use super::mailbox::Slot;
use firesteel_common::id::AppAttemptId;
use firesteel_common::{Error, Payload, Result};
use firesteel_core::WorkerEvent;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{PipeReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the children of one application attempt may print on this worker, in bytes.
const OUTPUT_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of one message.
const CHUNK_LEN: usize = 64 * 1024;
/// What stands where the rest was left out.
const TRUNCATED: &[u8] = b"\n[output truncated: more than 64 MiB]\n";

/// Bytes of one child's output that are handed on in a second: more would hold up what else the worker has to
/// say, first of all that it lives. The child waits meanwhile.
const OUTPUT_RATE: u64 = 8 * 1024 * 1024;
/// Bytes that are handed on at once after a silence.
const OUTPUT_BURST: u64 = 1024 * 1024;

/// How much of the end of a child's output is kept to be shown with the child's end, in bytes.
const TAIL_LEN: usize = 1024;

/// The bytes, and whether all have come; with what is told when that changes.
type Shared = (Mutex<(VecDeque<u8>, bool)>, Condvar);

/// The end of what a child has printed.
#[derive(Clone, Default)]
pub struct Tail(Arc<Shared>);

impl Tail {
    fn add(&self, bytes: &[u8]) {
        let mut state = self.0.0.lock();
        state.0.extend(&bytes[bytes.len().saturating_sub(TAIL_LEN)..]);
        let over = state.0.len().saturating_sub(TAIL_LEN);
        state.0.drain(..over);
    }

    fn end(&self) {
        self.0.0.lock().1 = true;
        self.0.1.notify_all();
    }

    /// What there is when the pipe has been read to its end, or at `deadline`.
    pub fn text(&self, deadline: Instant) -> String {
        let mut state = self.0.0.lock();
        while !state.1 && !self.0.1.wait_until(&mut state, deadline).timed_out() {}
        let text = String::from_utf8_lossy(state.0.make_contiguous()).into_owned();
        text.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
    }
}

/// Slows one child's output down.
struct Pace(Cell<Instant>);

impl Default for Pace {
    fn default() -> Self {
        Self(Cell::new(Instant::now()))
    }
}

impl Pace {
    /// Waits until so many bytes more may be handed on: a fraction of a second at most.
    fn wait(&self, bytes: u64) {
        let time = |bytes: u64| Duration::from_micros(bytes.saturating_mul(1_000_000) / OUTPUT_RATE);
        let now = Instant::now();
        let paid = self.0.get().max(now.checked_sub(time(OUTPUT_BURST)).unwrap_or(now)) + time(bytes);
        self.0.set(paid);
        std::thread::sleep(paid.saturating_duration_since(now));
    }
}

/// Counts the output of every application.
#[derive(Clone, Default)]
pub struct Outputs {
    printed: Arc<Mutex<BTreeMap<AppAttemptId, Arc<AtomicU64>>>>,
}

impl Outputs {
    /// Reads the pipe of a child to its end, on a thread of its own.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn read(
        &self,
        app: AppAttemptId,
        source: &'static str,
        pipe: PipeReader,
        events: Slot,
    ) -> Result<Tail> {
        let tail = Tail::default();
        let kept = tail.clone();
        let printed = self.printed.lock().entry(app).or_default().clone();
        std::thread::Builder::new()
            .name(format!("{source}-output"))
            .spawn(move || {
                let pace = Pace::default();
                let hand_on = |bytes: Payload| {
                    pace.wait(bytes.len() as u64);
                    events.event(WorkerEvent::Output { app, source: source.to_owned(), bytes })
                };
                read_all(pipe, &printed, &kept, hand_on);
                kept.end();
            })
            .map_err(|cause| Error::io("starting a thread for the output of a child", &cause))?;
        Ok(tail)
    }

    /// Forgets an application.
    pub fn forget(&self, app: AppAttemptId) {
        self.printed.lock().remove(&app);
    }
}

/// Reads to the end, also what is not handed on, so that the child never waits for a reader.
fn read_all(mut pipe: impl Read, printed: &AtomicU64, tail: &Tail, hand_on: impl Fn(Payload) -> bool) {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let read = match pipe.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => read,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        tail.add(&chunk[..read]);
        let before = printed.fetch_add(read as u64, Ordering::Relaxed);
        if before >= OUTPUT_MAX {
            continue;
        }
        let room = (OUTPUT_MAX - before).min(read as u64) as usize;
        hand_on(Payload::from(&chunk[..room]));
        if room < read {
            hand_on(Payload::from(TRUNCATED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_where_it_is_too_much_and_still_read() {
        let kept = Mutex::new(Vec::new());
        let pipe = std::io::repeat(b'x').take(OUTPUT_MAX + 10 * CHUNK_LEN as u64 + 3);
        read_all(pipe, &AtomicU64::new(5), &Tail::default(), |bytes| {
            let mut kept = kept.lock();
            if kept.len() < 10 || bytes.len() < CHUNK_LEN {
                kept.push((bytes.len(), bytes[0]));
            }
            true
        });
        let kept = kept.into_inner();
        assert_eq!(kept[kept.len() - 2..], [(CHUNK_LEN - 5, b'x'), (TRUNCATED.len(), b'\n')]);
    }
}
