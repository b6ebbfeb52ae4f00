//! Every decision of the master, as a pure state machine: facts go in, effects come out.
#![warn(missing_docs)]

pub mod event;
pub mod queries;

pub use event::{AppSubmission, Effect, Event, LinkId};
use firesteel_common::config::SchedulerConfig;
use firesteel_common::id::Epoch;
use firesteel_common::time::Timestamp;
pub use queries::{AppView, Counters, WorkerView};

/// A fault that the simulator plants in order to prove that it finds faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Accepts messages of old incarnations, epochs and attempts.
    Fencing,
    /// Lets a second outcome or result through.
    Commit,
    /// Does not recompute a lost output of a parent stage.
    Recompute,
    /// Never frees anything.
    Release,
    /// Drops a failed task instead of repeating it.
    Retry,
}

/// Everything the master decides.
pub struct Scheduler {
    _epoch: Epoch,
}

impl Scheduler {
    /// A scheduler that knows nothing yet; [`Event::Recovered`] is to be its first event.
    pub fn new(_config: SchedulerConfig, epoch: Epoch) -> Self {
        Self { _epoch: epoch }
    }

    /// Applies one fact and returns what must be done about it, in order.
    pub fn step(&mut self, _now: Timestamp, _event: Event) -> Vec<Effect> {
        Vec::new()
    }

    /// Plants a fault; only for proving that the simulator finds it.
    pub fn plant(&mut self, _bug: PlantedBug) {}

    /// The whole state as text.
    pub fn dump(&self) -> String {
        String::new()
    }
}

/// What must hold after every step.
pub mod invariants {
    use crate::Scheduler;

    /// Checks all invariants; says which one is broken.
    ///
    /// # Errors
    /// The text of the first broken invariant.
    pub fn check(_scheduler: &Scheduler) -> Result<(), String> {
        Ok(())
    }
}

/// How many tasks a second can be decided about.
pub mod bench {
    /// What was measured.
    #[derive(Clone, Copy, Debug)]
    pub struct BenchResult {
        /// Tasks decided about in a second of one core.
        pub tasks_per_second: f64,
    }

    /// Runs `tasks` tasks on `workers` simulated workers; `clock` gives seconds.
    pub fn run(_tasks: u32, _workers: u32, clock: &mut dyn FnMut() -> f64) -> BenchResult {
        let start = clock();
        BenchResult { tasks_per_second: 1.0 / (clock() - start) }
    }
}
