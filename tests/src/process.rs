//! What the system says of a process: its memory and its processor time, read from `/proc`.

use firesteel_common::error::{Error, ErrorCode, Result};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Clock ticks of `/proc/PID/stat` in a second (USER_HZ of Linux on every platform).
const TICKS: f64 = 100.0;

/// Memory of a process in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What is resident now.
    pub resident: f64,
    /// What was resident at most.
    pub peak: f64,
}

/// How much memory a process has.
///
/// # Errors
/// If it does not run.
pub fn memory(pid: u32) -> Result<Memory> {
    let text = read(pid, "status")?;
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    mib("VmRSS:")
        .zip(mib("VmHWM:"))
        .map(|(resident, peak)| Memory { resident, peak })
        .ok_or_else(|| gone(pid))
}

/// Processor time that a process has used so far, of all its threads, in seconds.
///
/// # Errors
/// If it does not run.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = read(pid, "stat")?;
    // The name of the program stands in parentheses and may hold anything; user and system time are the 12th
    // and 13th field behind it.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) / TICKS),
        _ => Err(gone(pid)),
    }
}

/// What a worker and its executors use together, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Footprint {
    /// Memory of their own.
    pub anonymous: u64,
    /// Memory files that one of them has open or mapped, each counted once.
    pub shared: u64,
}

impl Footprint {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.anonymous + self.shared
    }
}

/// What a worker and its executors use now. Processes that end meanwhile count as far as they were seen.
pub fn footprint(worker: u32) -> Footprint {
    let mut found = Footprint::default();
    let (mut files, mut mapped) = (BTreeMap::new(), BTreeMap::new());
    for pid in std::iter::once(worker).chain(executors(worker)) {
        let status = read(pid, "status").unwrap_or_default();
        found.anonymous += kilobytes(status.lines(), "RssAnon:") << 10;
        files.extend(open_files(pid).into_iter().filter_map(|(path, meta)| {
            path.starts_with("/memfd:").then(|| (meta.ino(), meta.blocks() * 512))
        }));
        resident_files(&read(pid, "smaps").unwrap_or_default(), &mut mapped);
    }
    let unopened = mapped.into_iter().filter(|(inode, _)| !files.contains_key(inode)).map(|(_, bytes)| bytes);
    found.shared = files.values().sum::<u64>() + unopened.sum::<u64>();
    found
}

/// The files that a process has open, with their names and what the system says of them.
pub fn open_files(pid: u32) -> Vec<(String, Metadata)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let name = std::fs::read_link(&path).ok()?.to_str()?.to_owned();
        Some((name, std::fs::metadata(&path).ok()?))
    };
    entries.filter_map(file).collect()
}

/// The executors of a worker.
pub fn executors(worker: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let parent = read(*pid, "stat")
            .ok()
            .and_then(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok());
        let command = read(*pid, "cmdline").unwrap_or_default();
        parent == Some(worker) && command.split('\0').nth(1) == Some("executor")
    };
    processes.filter(is_one).collect()
}

/// Memory files that are mapped: how many bytes of each are resident, by their inodes.
fn resident_files(smaps: &str, found: &mut BTreeMap<u64, u64>) {
    let mut inode = None;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, _, number, name, ..] = words[..]
            && name.starts_with("/memfd:")
        {
            inode = number.parse::<u64>().ok();
        } else if let (Some(of), true) = (inode, line.starts_with("Rss:")) {
            let bytes = kilobytes(std::iter::once(line), "Rss:") << 10;
            let most = found.entry(of).or_default();
            *most = bytes.max(*most);
            inode = None;
        }
    }
}

fn kilobytes<'a>(mut lines: impl Iterator<Item = &'a str>, name: &str) -> u64 {
    let number = lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

fn gone(pid: u32) -> Error {
    Error::new(ErrorCode::ProcessDied, format!("process {pid} has ended"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|cause| Error::io(format!("looking at process {pid}"), &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() -> Result<()> {
        let pid = std::process::id();
        let memory = memory(pid)?;
        assert!(memory.resident > 0.5 && memory.peak >= memory.resident, "{memory:?}");
        let mut sum = 0u64;
        while cpu_seconds(pid)? < 0.02 {
            sum = (0..1_000_000).fold(sum, |sum, n: u64| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert_ne!(sum, 1);
        assert!(cpu_seconds(u32::MAX).is_err());
        Ok(())
    }

    #[test]
    fn mapped_files_are_found_among_other_mappings() {
        let smaps = "7f00-7f10 r--s 00000000 00:01 77   /memfd:firesteel-x (deleted)\nRss: 12 kB\n\
                     7f20-7f30 rw-p 00000000 00:00 0\nRss: 900 kB\n\
                     7f40-7f50 r--s 00000000 00:01 77   /memfd:firesteel-x (deleted)\nRss: 16 kB\n";
        let mut found = BTreeMap::new();
        resident_files(smaps, &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(77, 16 << 10)]);
        assert!(footprint(std::process::id()).anonymous > 100_000);
    }
}
