//! Faults on demand, for tests: a file in the directory of tokens makes one thing go wrong once. Without that
//! directory (`faults.dir` is empty, as by default) nothing here ever looks at a disk. See `docs/faults.md`.

use firesteel_common::id::WorkerId;
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a point that can refuse or corrupt is told to do. The other faults happen inside [`Faults::hit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Act as if the thing asked for were not there.
    Refuse,
    /// Give it damaged.
    Corrupt,
}

/// The tokens, as one process sees them.
#[derive(Debug, Default)]
pub struct Faults {
    dir: Option<PathBuf>,
    worker: AtomicU64,
    /// How often the point of a token was passed since this process saw the token first.
    passed: Mutex<BTreeMap<String, u64>>,
}

/// The name of a token: `point[:N][@worker-N]`.
#[derive(Debug, PartialEq, Eq)]
struct Token<'a> {
    point: &'a str,
    nth: u64,
    worker: Option<WorkerId>,
}

fn parse(name: &str) -> Option<Token<'_>> {
    let (rest, worker) = match name.split_once('@') {
        Some((rest, worker)) => (rest, Some(worker.parse().ok()?)),
        None => (name, None),
    };
    let (point, nth) = match rest.split_once(':') {
        Some((point, nth)) => (point, nth.parse().ok()?),
        None => (rest, 1),
    };
    Some(Token { point, nth, worker })
}

impl Faults {
    /// Faults after the tokens of `dir`; none at all without it.
    pub fn new(dir: Option<&str>) -> Self {
        let dir = dir.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Self { dir, ..Self::default() }
    }

    /// Says which worker this is, for tokens that name one.
    pub fn set_worker(&self, worker: WorkerId) {
        self.worker.store(worker.0, Ordering::Relaxed);
    }

    /// Passes a point. Dies or hangs here if a token says so; returns what the caller must do otherwise.
    pub fn hit(&self, point: &str) -> Option<Fault> {
        let dir = self.dir.as_ref()?;
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.concerns(name, point))
            .collect();
        names.sort();
        names.iter().find_map(|name| self.pass(dir, name))
    }

    /// What the standing token of a point (`POINT*`) says, if it is there. It stays.
    pub fn standing(&self, point: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.as_ref()?.join(format!("{point}*"))).ok()?;
        Some(text.trim().to_owned())
    }

    /// Leaves a line of what a standing token has done.
    pub fn has_fired(&self, point: &str, what: &str) {
        let Some(dir) = &self.dir else { return };
        let file = dir.join(format!("fired-{point}*"));
        let said = File::options().create(true).append(true).open(file);
        // One write of a short line, so that those of several processes do not mix.
        if let Err(cause) = said.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes())) {
            tracing::warn!("fault: {point}*: {cause}");
        }
    }

    /// Whether there may be tokens at all.
    pub fn are_on(&self) -> bool {
        self.dir.is_some()
    }

    fn concerns(&self, name: &str, point: &str) -> bool {
        let here = WorkerId(self.worker.load(Ordering::Relaxed));
        parse(name)
            .is_some_and(|token| token.point == point && token.worker.is_none_or(|worker| worker == here))
    }

    /// Counts, and takes the token if its time has come.
    fn pass(&self, dir: &Path, name: &str) -> Option<Fault> {
        {
            let mut passed = self.passed.lock();
            let count = passed.entry(name.to_owned()).or_default();
            *count += 1;
            if *count < parse(name)?.nth {
                return None;
            }
            // A later token of the same name is counted anew.
            passed.remove(name);
        }
        let path = dir.join(name);
        let what = std::fs::read_to_string(&path).ok()?;
        // Renaming is what decides between several processes; only one of them succeeds.
        std::fs::rename(&path, dir.join(format!("fired-{name}"))).ok()?;
        tracing::warn!("fault: {name} = {}", what.trim());
        match what.trim() {
            "refuse" => Some(Fault::Refuse),
            "corrupt" => Some(Fault::Corrupt),
            "hang" => loop {
                std::thread::park();
            },
            "die" => loop {
                let _ = kill_process(getpid(), Signal::KILL);
            },
            other => {
                tracing::warn!("fault: {name} says '{other}', which is no fault");
                None
            }
        }
    }
}

/// Flips one bit of a file.
///
/// # Errors
/// If it cannot be read or written there.
pub fn flip(fd: impl AsFd, bit: u64) -> rustix::io::Result<()> {
    let mut byte = [0];
    rustix::io::pread(&fd, &mut byte, bit / 8)?;
    rustix::io::pwrite(&fd, &[byte[0] ^ (1 << (bit % 8))], bit / 8).map(drop)
}

/// A number that looks like chance, and is the same for the same words.
pub fn mixed<const N: usize>(words: [u64; N]) -> u64 {
    words.into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, word| {
        let mixed = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_token_fires_once_at_its_time_and_leaves_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::new(dir.path().to_str());
        faults.set_worker(WorkerId(2));
        let token = dir.path().join("worker.data_request:2@worker-2");
        std::fs::write(&token, "refuse\n").unwrap();
        std::fs::write(dir.path().join("worker.data_request@worker-1"), "corrupt").unwrap();
        assert_eq!(faults.hit("worker.map_output"), None);
        assert_eq!(faults.hit("worker.data_request"), None);
        assert_eq!(faults.hit("worker.data_request"), Some(Fault::Refuse));
        assert!(!token.exists() && dir.path().join("fired-worker.data_request:2@worker-2").exists());
        assert_eq!(faults.hit("worker.data_request"), None);
    }

    #[test]
    fn a_standing_token_stays_and_leaves_a_line_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::new(dir.path().to_str());
        assert_eq!(faults.standing("executor.map_output"), None);
        std::fs::write(dir.path().join("executor.map_output*"), "flip 7\n").unwrap();
        for line in ["one", "two"] {
            assert_eq!(faults.standing("executor.map_output").as_deref(), Some("flip 7"));
            assert_eq!(faults.hit("executor.map_output"), None);
            faults.has_fired("executor.map_output", line);
        }
        let lines = std::fs::read_to_string(dir.path().join("fired-executor.map_output*")).unwrap();
        assert_eq!(lines, "one\ntwo\n");
    }

    #[test]
    fn without_a_directory_there_are_no_faults() {
        assert_eq!(Faults::new(Some("")).hit("worker.data_request"), None);
        assert_eq!(Faults::new(None).hit("worker.data_request"), None);
        assert_eq!(Faults::new(Some("")).standing("worker.data_request"), None);
    }
}
