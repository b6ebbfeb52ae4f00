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
        let options = Options { bug: Some(bug), trace: false };
        let found = (0..2_000).find(|seed| !run(*seed, &options).ok);
        assert!(found.is_some(), "the planted bug '{name}' was not found");
    }
}

#[test]
fn a_seed_repeats_itself_to_the_letter() {
    let options = Options { bug: None, trace: true };
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
