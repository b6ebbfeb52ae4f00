//! Runs a target over its seeds, its kept inputs, and changes of both. A finding names the seed and holds the
//! input.

use crate::alloc::measure;
use crate::mutate::{Rng, mutate};
use crate::targets::{Target, corpus};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Inputs that are tried to make one shorter.
const SHRINKS: u32 = 4_000;

/// When a sweep ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many changed inputs.
    Count(u64),
    /// At this time.
    Time(Instant),
}

/// What a sweep has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Inputs.
    pub inputs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most memory that one of them cost, in bytes.
    pub peak: usize,
}

/// An input that must not do what it does.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which target.
    pub target: &'static str,
    /// The seed of the sweep.
    pub seed: u64,
    /// What happened.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "{} (seed {}): {}\n  {} bytes: {hex}", self.target, self.seed, self.what, self.input.len())
    }
}

/// Gives a target one input, and says how much memory that cost.
///
/// # Errors
/// The finding, if it panics or costs more than its bound.
pub fn run_one(target: &Target, seed: u64, input: &[u8]) -> Result<usize, Box<Finding>> {
    let found = |what| Box::new(Finding { target: target.name, seed, what, input: input.to_vec() });
    let (done, peak) = measure(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    if let Err(panic) = done {
        return Err(found(format!("it panics: {}", words(panic.as_ref()))));
    }
    let bound = target.bound(input.len());
    if peak > bound {
        return Err(found(format!("it takes {peak} bytes of memory, and {bound} are the bound")));
    }
    Ok(peak)
}

/// Runs a sweep.
///
/// # Errors
/// The first finding.
pub fn sweep(target: &Target, seed: u64, until: Until) -> Result<Seen, Box<Finding>> {
    let mut rng = Rng::new(seed);
    let mut begun = (target.seeds)(&mut rng);
    begun.extend(corpus(target.name).unwrap_or_default());
    begun.push(Vec::new());
    let mut seen = Seen::default();
    let mut take = |input: &[u8]| -> Result<(), Box<Finding>> {
        let peak = run_one(target, seed, input)?;
        seen.inputs += 1;
        seen.bytes += input.len() as u64;
        seen.peak = seen.peak.max(peak);
        Ok(())
    };
    begun.iter().try_for_each(|input| take(input))?;
    let mut count = 0;
    while match until {
        Until::Count(most) => count < most,
        Until::Time(end) => Instant::now() < end,
    } {
        count += 1;
        let mut input = rng.pick(&begun).cloned().unwrap_or_default();
        mutate(&mut rng, &mut input, &begun);
        take(&input)?;
    }
    Ok(seen)
}

/// Makes the input of a finding shorter, as long as it still is one.
pub fn shrink(target: &Target, finding: Box<Finding>) -> Box<Finding> {
    let mut best = finding;
    let mut piece = best.input.len() / 2;
    let mut tries = 0;
    while piece > 0 && tries < SHRINKS {
        let (mut at, before) = (0, best.input.len());
        while at < best.input.len() && tries < SHRINKS {
            tries += 1;
            let mut shorter = best.input.clone();
            shorter.drain(at..(at + piece).min(best.input.len()));
            match run_one(target, best.seed, &shorter) {
                Err(found) => best = found,
                Ok(_) => at += piece,
            }
        }
        if best.input.len() == before {
            piece /= 2;
        }
    }
    best
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
