//! The files of the audit log: `audit.jsonl`, and `audit-000001.jsonl` and so on before it. A full one is
//! renamed and a new one begun; the chain of hashes goes on. Entries that find no room on the disk wait.

use super::chain::{BEGIN, Entry, Line, ROTATED};
use crate::clock::wall_ms;
use crate::files::create_private;
use firesteel_common::Error;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The file that is written.
pub(super) const CURRENT: &str = "audit.jsonl";
/// Bytes of a file; then the next is begun.
pub(super) const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Files that are kept beside the current one.
pub(super) const KEPT: u64 = 64;
/// Entries that wait for a disk that cannot be written; later ones are counted.
const WAITING_MAX: usize = 8192;

/// The name of an earlier file.
pub(super) fn name(number: u64) -> String {
    format!("audit-{number:06}.jsonl")
}

/// The number in the name of an earlier file.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

/// The numbers of the earlier files that are there.
pub(super) fn rotated(run_dir: &Path) -> Result<Vec<u64>, Error> {
    let failed = |cause| Error::io(format_args!("reading {}", run_dir.display()), &cause);
    let mut numbers = Vec::new();
    for entry in run_dir.read_dir().map_err(failed)? {
        numbers.extend(entry.map_err(failed)?.file_name().to_str().and_then(number_of));
    }
    Ok(numbers)
}

/// The writer's side.
pub(super) struct Files {
    run_dir: PathBuf,
    file: File,
    /// Of the current file.
    bytes: u64,
    file_bytes: u64,
    kept: u64,
    /// The number that the current file gets when it is full.
    number: u64,
    previous: String,
    waiting: VecDeque<Entry>,
    lost: u64,
    stuck: bool,
    dirty: bool,
}

impl Files {
    /// Opens the current file, or makes it, and goes on behind its last whole line.
    pub(super) fn open(run_dir: &Path, file_bytes: u64, kept: u64) -> Result<Self, Error> {
        let path = run_dir.join(CURRENT);
        let failed = |cause| Error::io(format_args!("opening {}", path.display()), &cause);
        let newest = rotated(run_dir)?.into_iter().max();
        if !path.exists() {
            create_private(&path)?;
        }
        let mut last = last_hash(&path).map_err(failed)?;
        if let (None, Some(newest)) = (&last, newest) {
            // It was killed between renaming the last one and writing into this one.
            last = last_hash(&run_dir.join(name(newest))).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).open(&path).map_err(failed)?;
        let bytes = end_line(&mut file).map_err(failed)?;
        let mut files = Self {
            run_dir: run_dir.to_owned(),
            file,
            bytes,
            file_bytes,
            kept,
            number: newest.unwrap_or(0) + 1,
            previous: last.unwrap_or_else(|| BEGIN.to_owned()),
            waiting: VecDeque::new(),
            lost: 0,
            stuck: false,
            dirty: false,
        };
        if let Some(newest) = newest.filter(|_| files.bytes == 0) {
            files.keep(files.rotation(newest));
        }
        Ok(files)
    }

    /// Keeps an entry until it is written.
    pub(super) fn keep(&mut self, entry: Entry) {
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            return;
        }
        self.waiting.push_back(entry);
    }

    /// Writes what waits, as far as the disk takes it.
    pub(super) fn write_waiting(&mut self) {
        while let Some(entry) = self.waiting.front() {
            match self.write(entry.clone()) {
                Ok(()) => {
                    self.waiting.pop_front();
                    self.stuck = false;
                }
                Err(error) => {
                    if !self.stuck {
                        tracing::error!(%error, "the audit log waits for the disk");
                    }
                    self.stuck = true;
                    return;
                }
            }
        }
        if self.lost > 0 {
            let what = format!("{} entries were lost while the disk could not be written", self.lost);
            tracing::error!("of the audit log {what}");
            self.lost = 0;
            let entry = Entry { action: "lose entries".to_owned(), decision: what, ..own_entry() };
            self.keep(entry);
            self.write_waiting();
        }
    }

    /// What of the log is not written.
    pub(super) fn unwritten(&self) -> usize {
        self.waiting.len() + self.lost as usize
    }

    /// Makes what was written outlive the machine.
    pub(super) fn sync(&mut self) {
        if std::mem::take(&mut self.dirty)
            && let Err(cause) = self.file.sync_data()
        {
            tracing::error!(%cause, "syncing the audit log");
        }
    }

    fn write(&mut self, entry: Entry) -> Result<(), Error> {
        if self.bytes >= self.file_bytes {
            self.rotate()?;
        }
        self.append(entry)
    }

    fn append(&mut self, entry: Entry) -> Result<(), Error> {
        let failed = |cause| Error::io("writing the audit log", &cause);
        let line = Line::new(entry, &self.previous);
        let mut text = serde_json::to_vec(&line).map_err(|cause| failed(cause.into()))?;
        text.push(b'\n');
        if let Err(cause) = self.file.write_all(&text) {
            // Half a line must not swallow the next one.
            self.file.set_len(self.bytes).map_err(failed)?;
            return Err(failed(cause));
        }
        self.bytes += text.len() as u64;
        self.previous = line.hash;
        self.dirty = true;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), Error> {
        self.sync();
        let (path, full) = (self.run_dir.join(CURRENT), self.run_dir.join(name(self.number)));
        let failed = |cause| Error::io(format_args!("beginning a new {}", path.display()), &cause);
        std::fs::rename(&path, &full).map_err(failed)?;
        // If this fails, entries go on into the renamed file until it succeeds.
        let new = create_private(&path)
            .and_then(|_| OpenOptions::new().read(true).append(true).open(&path).map_err(failed));
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                std::fs::rename(&full, &path).map_err(failed)?;
                return Err(error);
            }
        };
        (self.file, self.bytes) = (new, 0);
        self.number += 1;
        self.append(self.rotation(self.number - 1))?;
        for number in rotated(&self.run_dir)? {
            if number + self.kept < self.number {
                std::fs::remove_file(self.run_dir.join(name(number))).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The first entry of a file: which one it follows, and which is the oldest that is kept.
    fn rotation(&self, newest: u64) -> Entry {
        let oldest = (newest + 1).saturating_sub(self.kept).max(1);
        Entry {
            action: ROTATED.to_owned(),
            object: name(newest),
            decision: format!("kept from {}", name(oldest)),
            ..own_entry()
        }
    }
}

/// An entry about the log itself.
fn own_entry() -> Entry {
    Entry {
        at_ms: wall_ms(),
        principal: String::new(),
        source: String::new(),
        action: String::new(),
        object: String::new(),
        decision: String::new(),
    }
}

/// The hash that the next line follows; `None` in a file without entries.
fn last_hash(path: &Path) -> std::io::Result<Option<String>> {
    let mut last = None;
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Ok(line) = serde_json::from_slice::<Line>(&line) {
            last = Some(line.hash);
        }
        line.clear();
    }
    Ok(last)
}

/// Ends a line that a crash has torn: the chain goes on after it. Gives the length of the file.
fn end_line(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(length - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}
