//! Prints how many tasks a second of one core the scheduler decides about, with few and with many workers,
//! and what an application costs while few or many wait. It counts time on the processor, not on the wall, so
//! that what else runs on the machine does not matter.

fn main() {
    for workers in [10, 100, 1_000, 10_000] {
        match firesteel_scheduler::bench::run(100_000, workers, &mut seconds_on_cpu) {
            Ok(result) => println!(
                "{:>6} workers: {:>9.0} tasks/s, {:.0} % local",
                result.workers,
                result.tasks_per_second,
                result.local * 100.0
            ),
            Err(error) => println!("{workers} workers: {error}"),
        }
    }
    for apps in [10, 100, 1_000, 10_000] {
        match firesteel_scheduler::bench::run_queue(apps, &mut seconds_on_cpu) {
            Ok(result) => println!("{apps:>6} applications: {:>7.1} us each", result.us_per_app),
            Err(error) => println!("{apps} applications: {error}"),
        }
    }
}

/// The first number of `schedstat` is the time on the processor in nanoseconds.
fn seconds_on_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    nanos.unwrap_or_default() / 1e9
}
