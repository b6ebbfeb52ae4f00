//! The hand-written programs: their times, and whether they say the same as we do.

use super::data::Data;
use super::workload::Workload;
use crate::{cargo, failed};
use firesteel_common::error::Result;
use std::path::Path;
use std::process::Command;

/// How far two answers may lie apart, as a share of the greater one (and of 1): sums of doubles depend on
/// their order.
const APART: f64 = 2e-6;

/// What a program says.
pub struct Told {
    /// Its time.
    pub seconds: f64,
    /// Its results, line by line.
    pub results: String,
}

/// Runs the hand-written program of a workload.
///
/// # Errors
/// If it does not run, or tells no time.
pub fn hand_written(program: &Path, workload: &Workload, threads: u32, data: &Data) -> Result<Told> {
    let (name, args) = workload.program;
    let args = args.iter().map(|arg| data.value(arg));
    let text = cargo::output(Command::new(program).arg(name).arg(threads.to_string()).args(args))?;
    let after = |word: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let seconds =
        after(&format!("TIME {}", workload.clock)).first().and_then(|time| time.trim().parse().ok());
    let seconds = seconds.ok_or_else(|| failed(format!("{} {name} said no time", program.display())))?;
    Ok(Told { seconds, results: after("RESULT").join("\n") })
}

/// Compares the numbers in two answers, in their order: whole ones must be the same, others near.
///
/// # Errors
/// If they are not.
pub fn compare(workload: &str, ours: &str, theirs: &str) -> Result<()> {
    if workload == "first_result" || workload == "empty_tasks" {
        // Their program does nothing that has an answer.
        return Ok(());
    }
    let (our, their) = (numbers(ours), numbers(theirs));
    if our.len() == their.len() && !our.is_empty() && our.iter().zip(&their).all(|(a, b)| near(a, b)) {
        return Ok(());
    }
    Err(failed(format!("{workload}: our answer is not theirs")).with_detail(format!("{ours}\n{theirs}")))
}

/// The numbers of a text that stand alone. A sum of squares of counts, which the hand-written word count
/// tells and ours does not, is left out.
fn numbers(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| c.is_whitespace() || "\"[]{}:=,".contains(c));
    let mut numbers = Vec::new();
    let mut left_out = false;
    for part in parts {
        if part.parse::<f64>().is_ok_and(f64::is_finite) && !std::mem::take(&mut left_out) {
            numbers.push(part.to_owned());
        }
        left_out |= part == "sumsq" && text.contains("distinct");
    }
    numbers
}

fn near(ours: &str, theirs: &str) -> bool {
    if let (Ok(ours), Ok(theirs)) = (ours.parse::<i128>(), theirs.parse::<i128>()) {
        return ours == theirs;
    }
    match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(ours), Ok(theirs)) => (ours - theirs).abs() <= APART * ours.abs().max(theirs.abs()).max(1.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_the_same_and_others_near() {
        let ours = r#"{"points":3,"sum":-1.5,"first":[0.1,2e3]}"#;
        let theirs = |text: &str| compare("kmeans", ours, text).is_ok();
        assert!(theirs("n=3 sum=-1.500001\nc0 [0.1, 2000.001]"));
        assert!(!theirs("n=4 sum=-1.5\nc0 [0.1, 2000.0]"));
        assert!(!theirs("n=3 sum=-1.5\nc0 [0.1, 2000.1]"));
        assert!(!theirs("n=3 sum=-1.5\nc0 [0.1]"));
        assert!(!theirs(""));
        let words = "words=5 distinct=2 sumsq=13\ntop a=b 3\ntop 7 2";
        let ours = r#"{"words":5,"distinct":2,"top":[["a=b",3],["7",2]]}"#;
        assert!(compare("word_count", ours, words).is_ok());
        assert!(compare("word_count", ours, &words.replace("=b 3", "=b 4")).is_err());
    }
}
