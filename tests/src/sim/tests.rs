//! The simulator's own tests: it passes, it finds what is planted, and it repeats itself exactly.

use super::*;

#[test]
fn fifty_seeds_hold() {
    let summary = sweep(0..50, 2, &Options::default());
    assert_eq!(summary.failures, vec![]);
    assert_eq!(summary.runs, 50);
    assert!(summary.fewest_faults >= 5 && summary.fewest_kinds >= 3, "{summary:?}");
}

#[test]
fn every_kind_of_fault_happens() {
    let summary = sweep(1000..1300, 2, &Options::default());
    assert_eq!(summary.rare_faults(5), vec![]);
}

#[test]
fn every_planted_bug_is_found() {
    for (name, bug) in BUGS {
        let options = Options { bug: Some(bug), ..Options::default() };
        let found = (0..2_000).find(|seed| !run(*seed, &options).ok);
        assert!(found.is_some(), "the planted bug '{name}' was not found");
    }
}

#[test]
fn what_costs_nothing_costs_nothing() {
    for (name, scenario) in SCENARIOS {
        let summary = sweep(0..100, 2, &Options { scenario: Some(scenario), ..Options::default() });
        assert_eq!(summary.failures, vec![], "{name}");
        assert!(summary.seeds_by_fault.values().sum::<u64>() >= 50, "{name}: {summary:?}");
    }
}

#[test]
fn seeds_that_have_failed_hold() {
    for seed in [1042, 10_645, 14_313, 15_469] {
        assert_eq!(run(seed, &Options::default()).failure, None, "seed {seed}");
    }
}

#[test]
fn a_seed_repeats_itself_to_the_letter() {
    let options = Options { trace: true, ..Options::default() };
    for seed in [3, 17] {
        let (one, two) = (run(seed, &options), run(seed, &options));
        assert!(one.trace.lines().count() > 100);
        assert!(one.trace == two.trace, "two runs of seed {seed} differ");
    }
}

#[test]
fn a_sweep_does_not_depend_on_the_number_of_threads() {
    let (one, three) = (sweep(0..20, 1, &Options::default()), sweep(0..20, 3, &Options::default()));
    assert_eq!((one.steps, one.seeds_by_fault), (three.steps, three.seeds_by_fault));
}
