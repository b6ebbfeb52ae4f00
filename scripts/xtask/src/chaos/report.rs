//! The figures of the last run in `docs/reliability.md`, between two marks that nobody else writes between.

use super::rows::ROWS;
use crate::failed;
use firesteel_common::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The marks.
const BEGIN: &str = "<!-- figures: written by scripts/chaos --report -->";
const END: &str = "<!-- end of the figures -->";
/// The names of the lines that are no rows.
const RANDOM: &str = "random";
const SOAK: &str = "soak";

/// What was measured, by the row it belongs to.
#[derive(Debug, Default)]
pub struct Figures {
    lines: BTreeMap<String, String>,
}

impl Figures {
    /// A row came out right.
    pub fn row(&mut self, number: u32, line: &str, seconds: f64) {
        self.lines.insert(format!("{number:02}"), format!("{line} seconds={seconds:.1}"));
    }

    /// Random schedules were run.
    pub fn random(&mut self, line: &str) {
        self.lines.insert(RANDOM.into(), line.into());
    }

    /// A soak was run.
    pub fn soak(&mut self, line: &str) {
        self.lines.insert(SOAK.into(), line.into());
    }
}

/// Replaces those figures of the document that were measured anew; the others stay.
///
/// # Errors
/// If the document has no marks, or cannot be written.
pub fn write(figures: &Figures) -> Result<()> {
    let path = document();
    let text = std::fs::read_to_string(&path)
        .map_err(|cause| Error::io(format!("reading {}", path.display()), &cause))?;
    let text = merged(&text, figures).ok_or_else(|| failed(format!("{} has no marks", path.display())))?;
    std::fs::write(&path, text).map_err(|cause| Error::io(format!("writing {}", path.display()), &cause))
}

fn document() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    root.join("docs/reliability.md")
}

fn merged(text: &str, figures: &Figures) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (old, after) = rest.split_once(END)?;
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for line in old.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, _, figures] = cells[..]
            && (name.parse::<u32>().is_ok() || [RANDOM, SOAK].contains(&name))
        {
            let key = name.parse::<u32>().map_or(name.to_owned(), |number| format!("{number:02}"));
            lines.insert(key, figures.trim_matches('`').to_owned());
        }
    }
    lines.extend(figures.lines.clone());
    let mut table = String::from("| row | fault | figures |\n| --- | --- | --- |\n");
    for (key, line) in &lines {
        let number = key.parse::<u32>().ok();
        let fault = match key.as_str() {
            RANDOM => "several at random moments of random jobs",
            SOAK => "a kill every 20 s",
            _ => ROWS.iter().find(|row| Some(row.number) == number).map_or("", |row| row.fault),
        };
        let name = number.map_or(key.clone(), |number| number.to_string());
        table.push_str(&format!("| {name} | {fault} | `{line}` |\n"));
    }
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_stays() {
        let text = format!("head\n{BEGIN}\n{END}\ntail\n");
        let mut figures = Figures::default();
        figures.row(1, "fired=1", 2.0);
        figures.random("50 of 50");
        let first = merged(&text, &figures).unwrap();
        assert!(first.starts_with("head\n") && first.ends_with("\ntail\n"), "{first}");
        let mut figures = Figures::default();
        figures.row(2, "fired=7", 3.0);
        let second = merged(&first, &figures).unwrap();
        let one = "| 1 | a worker dies while its tasks run | `fired=1 seconds=2.0` |";
        for line in [one, "`fired=7 seconds=3.0`", "`50 of 50`"] {
            assert!(second.contains(line), "{second}");
        }
        assert_eq!(merged("no marks", &figures), None);
    }
}
