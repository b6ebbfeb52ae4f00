//! Text made from a seed, and its words counted by the system's own programs.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the word count answers.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Counts {
    pub words: u64,
    pub distinct: u64,
    pub top: Vec<(String, u64)>,
}

/// Writes about `bytes` bytes of words with a few very frequent and many rare ones, over several files.
pub fn write(dir: &Path, files: u32, bytes: u64, seed: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let mut chance = seed;
    let mut draw = move || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chance >> 33
    };
    for file in 0..files {
        let mut out = BufWriter::new(File::create(dir.join(format!("{file}.txt"))).unwrap());
        let mut left = bytes / u64::from(files);
        while left > 0 {
            // A product of two draws gives small numbers often.
            let word = format!("w{}{}", draw() % 64 * (draw() % 64), if draw() % 50 == 0 { "ü" } else { "" });
            let after = match draw() % 12 {
                0 => "\n",
                1 => "  ",
                2 => "\n\n",
                _ => " ",
            };
            out.write_all(word.as_bytes()).unwrap();
            out.write_all(after.as_bytes()).unwrap();
            left = left.saturating_sub((word.len() + after.len()) as u64);
        }
        out.flush().unwrap();
    }
}

/// The counts of all files of a directory, by `cat | tr | sort | uniq -c`.
pub fn counted_by_others(dir: &Path) -> BTreeMap<String, u64> {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut cat = Command::new("cat").args(files).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = |program: &str, args: &[&str], input: std::process::ChildStdout| {
        Command::new(program)
            .args(args)
            .env("LC_ALL", "C")
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut tr = pipe("tr", &["-s", " ", "\n"], cat.stdout.take().unwrap());
    let mut sort = pipe("sort", &[], tr.stdout.take().unwrap());
    let uniq = pipe("uniq", &["-c"], sort.stdout.take().unwrap()).wait_with_output().unwrap();
    for child in [&mut cat, &mut tr, &mut sort] {
        assert!(child.wait().unwrap().success());
    }
    let lines = String::from_utf8(uniq.stdout).unwrap();
    let counts = lines.lines().filter_map(|line| line.trim_start().split_once(' '));
    counts
        .filter(|(_, word)| !word.is_empty())
        .map(|(n, word)| (word.to_owned(), n.parse().unwrap()))
        .collect()
}

/// The counts that a job has written with `output=`.
pub fn counted_by_job(dir: &Path) -> BTreeMap<String, u64> {
    assert!(dir.join("_SUCCESS").exists() && !dir.join("_temporary").exists());
    let mut counts = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().to_string_lossy().starts_with("part-") {
            for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
                let (word, count) = line.split_once('\t').unwrap();
                assert_eq!(counts.insert(word.to_owned(), count.parse().unwrap()), None, "{word} came twice");
            }
        }
    }
    counts
}

/// What the word count must answer, given all counts.
pub fn expected(counts: &BTreeMap<String, u64>, top: usize) -> Counts {
    let mut sorted: Vec<(String, u64)> = counts.iter().map(|(word, count)| (word.clone(), *count)).collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sorted.truncate(top);
    Counts { words: counts.values().sum(), distinct: counts.len() as u64, top: sorted }
}
