//! The simulator: the real scheduler and real worker cores in one process, under a virtual clock and a seeded
//! source of chance, with everything between them (network, processes, journal, tasks, drivers, clients)
//! simulated, and faults in all of it.
//!
//! A seed names a run completely: the same seed gives the same steps and the same text. A run makes
//! applications with random job graphs, lets faults happen, heals everything, and then demands that every
//! application has its outcome, that it is the one that a trivially simple sequential run gives, and that
//! nothing remains.
//!
//! ```text
//!  clients ──▶ journal ──▶ master shell ─ step ─▶ Scheduler          faults: at random times, everywhere
//!                             ▲  │ links (delay, break, late, twice)
//!  drivers ───────────────────┘  ▼
//!                          worker shells ─ step ─▶ WorkerCore ──▶ executors ──▶ blocks
//! ```
//!
//! What is *not* here: real sockets, processes and files, of which the chaos tests over real processes have
//! some.

mod checkers;
mod client;
mod clock;
mod content;
mod driver;
mod executor;
mod faults;
mod journal;
mod master;
mod network;
mod programs;
mod scenario;
#[cfg(test)]
mod tests;
mod trace;
mod worker;
mod workload;
mod world;

pub use firesteel_scheduler::PlantedBug;
pub use scenario::{SCENARIOS, Scenario};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A fault planted in the scheduler, to prove that it is found.
    pub bug: Option<PlantedBug>,
    /// Whether to write down what happens, in words.
    pub trace: bool,
    /// One kind of fault only, which must cost nothing; `None` for all of them.
    pub scenario: Option<Scenario>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Whether everything that was demanded held.
    pub ok: bool,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u32>,
    /// Steps of the scheduler and of worker cores.
    pub steps: u64,
    /// Applications that were submitted.
    pub apps: u32,
    /// Of these, how many ended with their right answer; the others were killed, or failed for a good reason.
    pub succeeded: u32,
    /// Virtual time at the end, in microseconds.
    pub virtual_us: u64,
    /// What did not hold. It begins with one word: `lost`, `duplicated`, `hung`, `wrong`, `inconsistent` or
    /// `left` (over), and a colon.
    pub failure: Option<String>,
    /// What happened, if it was asked for; for a failed run with the state of everything at its end.
    pub trace: String,
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many runs.
    pub runs: u64,
    /// The seeds that failed, with what did not hold, in order.
    pub failures: Vec<(u64, String)>,
    /// In how many runs each kind of fault happened at least once.
    pub seeds_by_fault: BTreeMap<&'static str, u64>,
    /// The fewest faults of any run that held (one that does not stops early).
    pub fewest_faults: u32,
    /// The fewest kinds of faults of any run that held.
    pub fewest_kinds: u32,
    /// Steps over all runs.
    pub steps: u64,
    /// Applications over all runs.
    pub apps: u64,
    /// Of these, how many ended with their right answer.
    pub succeeded: u64,
}

/// Every kind of fault, by the name under which it is counted.
pub fn fault_kinds() -> Vec<&'static str> {
    faults::Kind::ALL.iter().map(|kind| kind.name()).collect()
}

/// The planted faults, by the name that a command line takes.
pub const BUGS: [(&str, PlantedBug); 5] = [
    ("fencing", PlantedBug::Fencing),
    ("commit", PlantedBug::Commit),
    ("recompute", PlantedBug::Recompute),
    ("release", PlantedBug::Release),
    ("retry", PlantedBug::Retry),
];

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    world::World::new(seed, options).run()
}

/// Runs many seeds on `threads` threads. The summary does not depend on how many.
pub fn sweep(seeds: Range<u64>, threads: usize, options: &Options) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut summary = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return summary;
            }
            summary.add(run(seed, options));
        }
    };
    let mut total = Summary::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(summary) => total.merge(summary),
                Err(_) => total.failures.push((seeds.start, "a thread of the simulator panicked".to_owned())),
            }
        }
    });
    total.failures.sort();
    total
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        if outcome.ok {
            self.merge_fewest(outcome.faults.values().sum(), outcome.faults.len() as u32);
        }
        self.runs += 1;
        self.steps += outcome.steps;
        self.apps += u64::from(outcome.apps);
        self.succeeded += u64::from(outcome.succeeded);
        for kind in outcome.faults.keys() {
            *self.seeds_by_fault.entry(kind).or_default() += 1;
        }
        if let Some(failure) = outcome.failure {
            self.failures.push((outcome.seed, failure));
        }
    }

    fn merge_fewest(&mut self, faults: u32, kinds: u32) {
        // Every run has some, so that none means that nothing was counted yet.
        let first = self.fewest_faults == 0;
        self.fewest_faults = if first { faults } else { self.fewest_faults.min(faults) };
        self.fewest_kinds = if first { kinds } else { self.fewest_kinds.min(kinds) };
    }

    fn merge(&mut self, other: Summary) {
        if other.fewest_faults > 0 {
            self.merge_fewest(other.fewest_faults, other.fewest_kinds);
        }
        self.runs += other.runs;
        self.steps += other.steps;
        self.apps += other.apps;
        self.succeeded += other.succeeded;
        self.failures.extend(other.failures);
        for (kind, seeds) in other.seeds_by_fault {
            *self.seeds_by_fault.entry(kind).or_default() += seeds;
        }
    }

    /// The kinds of faults that happened in fewer than `percent` of the runs, with in how many they did.
    pub fn rare_faults(&self, percent: u64) -> Vec<(&'static str, u64)> {
        fault_kinds()
            .into_iter()
            .map(|kind| (kind, self.seeds_by_fault.get(kind).copied().unwrap_or_default()))
            .filter(|(_, seeds)| seeds * 100 < self.runs * percent)
            .collect()
    }
}
