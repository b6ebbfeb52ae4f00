//! The memory of one attempt: what its engine has asked for, and, in an account of its own, what is charged
//! for the segments and outputs that it holds. All of it comes out of the worker's budget, and goes back when
//! the attempt ends.

use super::answers::Answer;
use super::host::Host;
use super::signal::Signal;
use super::task::release_memory;
use super::trim::trim;
use firesteel_common::protocol::executor::FromExecutor;
use parking_lot::Mutex;
use std::sync::Arc;

/// Charges are asked for in steps of this many bytes, so that few questions are asked.
const STEP: u64 = 1024 * 1024;
/// What was granted for charges and is not needed goes back when it is more than this.
const SPARE_MAX: u64 = 4 * STEP;
/// After an engine that had more than this share of the worker's memory, the allocator gives back what it
/// keeps.
const LARGE_SHARE: u64 = 4;
/// A segment is large if it has more than this part of what a task may have, and more than [`STEP`].
const SEGMENT_PART: u64 = 8;

/// The memory of one attempt.
pub struct TaskMemory {
    host: Arc<Host>,
    signal: Arc<Signal>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// All that was granted and not returned, in bytes.
    granted: u64,
    /// Of these, for charges.
    for_charges: u64,
    /// The most that its engine had at once.
    most: u64,
    /// Of these, what is charged.
    charged: u64,
    /// Whether the last question for a charge was refused, and nothing was returned since.
    refused: bool,
    closed: bool,
}

/// Bytes that are charged until this is dropped.
pub struct Charge {
    memory: Arc<TaskMemory>,
    bytes: u64,
}

impl TaskMemory {
    /// Nothing yet.
    pub fn new(host: Arc<Host>, signal: Arc<Signal>) -> Arc<Self> {
        Arc::new(Self { host, signal, state: Mutex::default() })
    }

    /// A segment of more bytes does not lie in memory.
    pub fn large(&self) -> u64 {
        (self.host.share() / SEGMENT_PART).max(STEP)
    }

    /// Asks for memory for the engine; gives what was granted.
    pub fn acquire(&self, bytes: u64) -> u64 {
        let held = {
            let state = self.state.lock();
            state.granted - state.for_charges
        };
        let granted = self.ask(bytes, Some(held));
        let mut state = self.state.lock();
        state.granted += granted;
        state.most = state.most.max(state.granted - state.for_charges);
        granted
    }

    fn ask(&self, bytes: u64, held: Option<u64>) -> u64 {
        let request = |request| FromExecutor::AcquireMemory { request, bytes, held };
        match self.host.answers.ask(&self.host.worker, &self.signal, None, request) {
            Ok(Answer::Memory(granted)) => granted,
            _ => 0,
        }
    }

    /// Returns memory of the engine; never more than it has.
    pub fn release(&self, bytes: u64) {
        let bytes = {
            let mut state = self.state.lock();
            let bytes = bytes.min(state.granted - state.for_charges);
            state.granted -= bytes;
            bytes
        };
        self.give_back(bytes);
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            release_memory(&self.host, bytes);
        }
    }

    /// Charges bytes as far as they are granted: whoever has them already cannot do without.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        let mut charge = self.nothing();
        charge.grow(bytes);
        charge
    }

    /// A charge of nothing, that can grow.
    pub fn nothing(self: &Arc<Self>) -> Charge {
        Charge { memory: self.clone(), bytes: 0 }
    }

    fn reserve(&self, bytes: u64) -> bool {
        let missing = {
            let mut state = self.state.lock();
            if state.take(bytes) {
                return true;
            }
            if state.closed || state.refused {
                return false;
            }
            state.charged.saturating_add(bytes) - state.for_charges
        };
        let granted = self.ask(missing.div_ceil(STEP).saturating_mul(STEP), None);
        let useless = {
            let mut state = self.state.lock();
            state.granted += granted;
            state.for_charges += granted;
            // Whoever asks for a task that has ended meanwhile gets nothing: nobody would return it.
            if !state.closed && state.take(bytes) {
                return true;
            }
            state.refused = true;
            state.spare(0)
        };
        self.give_back(useless);
        false
    }

    fn unreserve(&self, bytes: u64) {
        let spare = {
            let mut state = self.state.lock();
            state.charged = state.charged.saturating_sub(bytes);
            state.refused = false;
            state.spare(SPARE_MAX)
        };
        self.give_back(spare);
    }

    /// The attempt has ended: everything goes back. What is still charged counts no more.
    pub fn close(&self) {
        let State { granted, most, .. } =
            std::mem::replace(&mut *self.state.lock(), State { closed: true, ..State::default() });
        // Nobody else can have what the allocator keeps of it.
        if most > self.host.setup.memory / LARGE_SHARE {
            trim();
        }
        self.give_back(granted);
    }
}

impl State {
    /// What is granted for charges and not needed, if that is more than `max`; it is to be returned.
    fn spare(&mut self, max: u64) -> u64 {
        let spare = self.for_charges.saturating_sub(self.charged);
        let spare = if spare > max { spare } else { 0 };
        self.for_charges -= spare;
        self.granted -= spare;
        spare
    }

    fn take(&mut self, bytes: u64) -> bool {
        let charged = self.charged.saturating_add(bytes);
        let fits = charged <= self.for_charges;
        if fits {
            self.charged = charged;
        }
        fits
    }
}

impl Charge {
    /// Charges more; `false`, and nothing more is charged, if that is not granted.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let granted = self.memory.reserve(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.unreserve(self.bytes);
        }
    }
}
