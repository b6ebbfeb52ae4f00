//! Operators that are given too little memory: what they give is compared with a plain model, and it is seen
//! that they spill, give back what they were granted, and leave no run behind. One file for each kind.

#![expect(clippy::unwrap_used, reason = "tests")]

mod grouped;
mod joined;
mod sorted;
mod written;

use firesteel::testing::{LocalRunner, run_on};
use firesteel::{Context, ErrorCode, Result};
use proptest::test_runner::{Config, RngSeed};

/// Bytes that the tasks of the tests are granted, beside those that each operator has without asking: about
/// what a thousand records take.
pub const LITTLE: u64 = 24 * 1024;

/// How properties are tested: the same cases each time.
pub fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(13), ..Config::default() }
}

/// Numbers that look random and repeat.
pub fn numbers(seed: u64, count: usize) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    };
    (0..count).map(|_| next()).collect()
}

/// Runs a job with so much memory a task; its answer, and how much was spilled.
pub fn with_memory<T>(
    bytes: u64,
    job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>,
) -> (Result<T>, u64, u64) {
    let runner = LocalRunner::with_memory(2, bytes);
    let answer = run_on(&runner, job);
    let used = runner.memory();
    assert_eq!(used.granted, 0, "all memory is given back");
    assert_eq!(used.open_runs, 0, "no run is left");
    assert!(used.most <= bytes);
    assert_eq!(runner.metrics().spilled_bytes, used.spilled);
    (answer, used.spilled, used.runs)
}

/// Runs a job with little memory. It must spill.
pub fn spilling<T>(job: impl for<'s> FnOnce(&Context<'s>) -> Result<T>) -> T {
    let (answer, spilled, _) = with_memory(LITTLE, job);
    assert!(spilled > 0, "it was made to spill");
    answer.unwrap()
}

/// The error of a key whose values do not fit.
pub fn assert_too_large<T>(answer: Result<T>, operator: &str) {
    let error = answer.err().unwrap();
    assert_eq!(error.code, ErrorCode::OutOfMemory, "{error}");
    assert!(error.message.starts_with(operator), "{error}");
    assert!(error.message.contains("in partition "), "{error}");
    assert!(error.help.contains("--memory"), "{error}");
}
