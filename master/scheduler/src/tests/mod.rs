//! Stories told to the scheduler line by line, and what it wants done about each, as text.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a story that cannot go on has failed")]

mod drain;
mod drivers;
mod exclusion;
mod jobs;
mod limits;
mod loss;
mod peers;
mod placement;
mod queue;
mod render;
mod script;
mod settings;
mod speculation;
mod workers;

use script::Script;

/// Runs a story and compares what the scheduler wanted with what is expected, line by line.
fn check(story: &str, expected: &str) {
    let told = Script::run(story);
    let clean = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    assert!(clean(&told) == clean(expected), "the scheduler wanted:\n{told}\nexpected was:\n{expected}");
}

#[test]
fn the_benchmark_runs_all_its_tasks_where_they_prefer() {
    let mut time = 0.0;
    let mut clock = || {
        time += 1.0;
        time
    };
    let result = crate::bench::run(2_000, 50, &mut clock).unwrap();
    assert_eq!((result.tasks, result.local), (2_000, 1.0));
}
