//! Entries of the audit log and the chain of their hashes; the check of a whole log. It writes nothing.

use super::files::{CURRENT, number_of, rotated};
use firesteel_common::{Error, ErrorCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// What stands before the first line.
pub(super) const BEGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The action of the first entry of a file that follows another one.
pub(super) const ROTATED: &str = "rotate audit log";
/// The longest line that is read.
const LINE_MAX: u64 = 64 * 1024;

/// One line, without its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who; empty if it is not known.
    pub principal: String,
    /// Where it came from, `address:port`.
    pub source: String,
    /// What was done or tried, such as `submit`.
    pub action: String,
    /// With what, such as an application.
    pub object: String,
    /// `allowed`, or why not.
    pub decision: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) entry: Entry,
    /// Of the line before.
    pub(super) previous: String,
    /// Of this entry and `previous`.
    pub(super) hash: String,
}

impl Line {
    pub(super) fn new(entry: Entry, previous: &str) -> Self {
        let hash = hash_of(previous, &entry);
        Self { entry, previous: previous.to_owned(), hash }
    }
}

fn hash_of(previous: &str, entry: &Entry) -> String {
    let json = serde_json::to_string(entry).unwrap_or_default();
    let digest = Sha256::new().chain_update(previous).chain_update(json).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a check of an audit log has found in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Files that belong to it.
    pub files: usize,
    /// Entries whose place in the chain is right.
    pub entries: u64,
    /// Lines that are no entries, such as one that a crash has cut.
    pub passed_over: u64,
    /// The first file that is still there, if older ones were removed by the master itself.
    pub since: Option<String>,
    /// The hash of the last entry. Noted elsewhere, it shows later that nothing before it was taken away.
    pub last: String,
}

/// Checks that every entry of the audit log of a run directory follows the one before it, over all its files.
///
/// # Errors
/// `CONFLICT` naming the first line that was changed, or before which something is missing; `NOT_FOUND`
/// without an audit log; `IO`.
pub fn verify_audit(run_dir: &Path) -> Result<AuditReport, Error> {
    let mut numbers: Vec<u64> = rotated(run_dir)?;
    numbers.sort_unstable();
    let names: Vec<String> =
        numbers.iter().map(|number| super::files::name(*number)).chain([CURRENT.to_owned()]).collect();
    if numbers.is_empty() && !run_dir.join(CURRENT).exists() {
        let what = format!("there is no audit log in {}", run_dir.display());
        return Err(Error::new(ErrorCode::NotFound, what).with_help("name the run directory of a master"));
    }
    if let Some(gap) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(broken(&super::files::name(gap[0] + 1), "is missing"));
    }
    let first = numbers.first().copied().unwrap_or(1);
    let mut check = Check { previous: (first == 1).then(|| BEGIN.to_owned()), ..Check::default() };
    for name in &names {
        check.file(run_dir, name)?;
    }
    if first != 1 && check.kept_from != Some(first) {
        return Err(broken(&names[0], "is not the oldest that the master has kept"));
    }
    Ok(AuditReport {
        files: names.len(),
        entries: check.entries,
        passed_over: check.passed_over,
        since: (first != 1).then(|| names[0].clone()),
        last: check.previous.unwrap_or_default(),
    })
}

#[derive(Default)]
struct Check {
    /// Unknown before the first entry of a log whose beginning was removed.
    previous: Option<String>,
    entries: u64,
    passed_over: u64,
    /// Which file the master has kept first, by its own last word.
    kept_from: Option<u64>,
}

impl Check {
    fn file(&mut self, run_dir: &Path, name: &str) -> Result<(), Error> {
        let path = run_dir.join(name);
        let failed = |cause| Error::io(format_args!("reading {}", path.display()), &cause);
        let mut reader = BufReader::new(File::open(&path).map_err(failed)?);
        for number in 1.. {
            let mut line = Vec::new();
            if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            let Ok(line) = serde_json::from_slice::<Line>(&line) else {
                self.passed_over += 1;
                continue;
            };
            self.entry(&line).map_err(|what| broken(&format!("line {number} of {name}"), what))?;
        }
        Ok(())
    }

    fn entry(&mut self, line: &Line) -> Result<(), &'static str> {
        if line.hash != hash_of(&line.previous, &line.entry) {
            return Err("was changed");
        }
        if self.previous.as_ref().is_some_and(|previous| *previous != line.previous) {
            return Err("does not follow the one before it: something was changed or taken away there");
        }
        if line.entry.action == ROTATED {
            self.kept_from = line.entry.decision.strip_prefix("kept from ").and_then(number_of);
        }
        self.previous = Some(line.hash.clone());
        self.entries += 1;
        Ok(())
    }
}

fn broken(place: &str, what: &str) -> Error {
    Error::new(ErrorCode::Conflict, format!("the audit log is not whole: {place} {what}"))
        .with_help("what stands before it is in order; compare with copies that were made elsewhere")
}
