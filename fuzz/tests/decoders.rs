//! Every decoder: what is kept in the corpus, what claims more than there is, and a short sweep of each.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use firesteel_fuzz::alloc::{Counting, is_counting, measure};
use firesteel_fuzz::mutate::Rng;
use firesteel_fuzz::sweep::{Until, run_one, sweep};
use firesteel_fuzz::targets::{Target, all, corpus};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Changed inputs of each target.
const INPUTS: u64 = 1_500;

fn target(name: &str) -> Target {
    all().into_iter().find(|target| target.name == name).unwrap()
}

#[test]
fn a_short_sweep_finds_nothing() {
    assert!(is_counting());
    for target in all() {
        for seed in [1, 2] {
            if let Err(finding) = sweep(&target, seed, Until::Count(INPUTS / 2)) {
                panic!("{finding}");
            }
        }
    }
}

#[test]
fn what_is_kept_is_taken() {
    for target in all() {
        for input in corpus(target.name).unwrap() {
            run_one(&target, 0, &input).unwrap_or_else(|finding| panic!("{finding}"));
        }
    }
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(all().iter().any(|target| target.name == name), "{name} is no target");
    }
}

/// Lengths that are not there are refused before room is made for them.
#[test]
fn a_length_of_any_size_costs_little() {
    for target in all() {
        for bits in 0..64 {
            for repeated in [1, 4, 64] {
                let input = (1_u64 << bits).to_le_bytes().repeat(repeated);
                for head in [&[][..], &[0; 4], &[1, 0, 0, 0], &[0xff; 4]] {
                    let input = [head, &input].concat();
                    run_one(&target, bits, &input).unwrap_or_else(|finding| panic!("{finding}"));
                }
            }
        }
    }
}

#[test]
fn what_is_nested_without_end_is_an_error() {
    for deep in ["[", "{\"a\":", "a=[", "a={b=", "[a.", "[[", "(", "\"", "\\", "app-"] {
        let input = deep.repeat(100_000);
        for name in ["submission", "event_log", "config", "conf", "ids", "descriptor"] {
            // The bound on memory is for inputs of a usual length; here it is the stack that counts.
            (target(name).run)(input.as_bytes());
        }
    }
    let record = |json: String| {
        let len = (json.len() as u32).to_le_bytes();
        [b"FSentry\x01".as_slice(), &len, json.as_bytes()].concat()
    };
    run_one(&target("descriptor"), 0, &record("[".repeat(60_000))).unwrap();
}

#[test]
fn a_bomb_costs_no_more_than_its_header_admits() {
    let zeros = vec![0; 64 << 20];
    let stored = firesteel_store::compress(&zeros).unwrap();
    drop(zeros);
    assert!(stored.len() < (64 << 20) / 200, "{} bytes", stored.len());
    for claimed in [0_u64, 10, 1 << 20] {
        let input = [claimed.to_le_bytes().as_slice(), &stored].concat();
        let ((), peak) = measure(|| (target("packed").run)(&input));
        assert!(peak < 8 << 20, "{peak} bytes for a payload that claims {claimed}");
    }
}

#[test]
fn a_sweep_finds_what_is_wrong() {
    let panics = |bytes: &[u8]| assert!(!bytes.starts_with(&[0xff, 0xff]), "it begins with two");
    let greedy =
        |bytes: &[u8]| drop(std::hint::black_box(vec![0_u8; 1 << (bytes.first().unwrap_or(&0) % 20)]));
    let seeds = |_: &mut Rng| vec![vec![0; 4]];
    for (run, what) in [(panics as fn(&[u8]), "it panics: it begins with two"), (greedy, "bytes of memory")] {
        let target = Target { name: "made_up", run, seeds, base: 1000, times: 1 };
        let finding = sweep(&target, 1, Until::Count(100_000)).unwrap_err();
        assert!(finding.what.contains(what), "{finding}");
        assert!(run_one(&target, 1, &finding.input).is_err(), "it is found again");
    }
}
