//! Prints how many tasks a second the scheduler decides about, with few and with many workers.

use std::time::Instant;

fn main() {
    let start = Instant::now();
    let mut clock = || start.elapsed().as_secs_f64();
    for workers in [10, 100, 1_000, 10_000] {
        match firesteel_scheduler::bench::run(100_000, workers, &mut clock) {
            Ok(result) => println!(
                "{:>6} workers: {:>9.0} tasks/s, {:.0} % local",
                result.workers,
                result.tasks_per_second,
                result.local * 100.0
            ),
            Err(error) => println!("{workers} workers: {error}"),
        }
    }
}
