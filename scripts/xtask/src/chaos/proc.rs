//! What `/proc` says of the processes of a cluster: who descends from whom, what they hold, what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A process as `/proc` shows it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its command line, by words.
    pub words: Vec<String>,
    /// Whether it has ended and nobody has waited for it.
    pub ended: bool,
}

impl Process {
    /// Whether it is one of Firesteel of this role (`worker`, `executor`, `driver`).
    pub fn is(&self, role: &str) -> bool {
        !self.ended && self.words.get(1).is_some_and(|word| word == role)
    }
}

/// Every process of the machine, by id.
pub fn all() -> BTreeMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, look(pid)?))).collect()
}

fn look(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    Some(Process { pid, parent, words: words.filter(|word| !word.is_empty()).collect(), ended })
}

/// What descends from a process, itself not included.
pub fn descendants(of: u32) -> Vec<Process> {
    let all = all();
    let (mut found, mut parents) = (Vec::new(), BTreeSet::from([of]));
    loop {
        let next: Vec<&Process> = all
            .values()
            .filter(|process| parents.contains(&process.parent) && !parents.contains(&process.pid))
            .collect();
        if next.is_empty() {
            return found;
        }
        parents.extend(next.iter().map(|process| process.pid));
        found.extend(next.into_iter().cloned());
    }
}

/// The processes that a process traces and that have ended.
pub fn ended_under(tracer: u32) -> Vec<u32> {
    let traced =
        |process: &&Process| process.ended && field(process.pid, "TracerPid:") == Some(u64::from(tracer));
    all().values().filter(traced).map(|process| process.pid).collect()
}

/// How many descriptors a process holds; `None` if it does not run.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Memory that a process has in RAM, in KiB; `None` if it does not run.
pub fn resident_kib(pid: u32) -> Option<u64> {
    field(pid, "VmRSS:")
}

/// The most that [`resident_kib`] ever was.
pub fn peak_kib(pid: u32) -> Option<u64> {
    field(pid, "VmHWM:")
}

fn field(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What has a name in `/dev/shm`.
pub fn shared_memory() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The cgroups that a worker has made and that are still there.
pub fn cgroups_of(worker: u32) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let roots = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(words.get(2), Some(&"cgroup" | &"cgroup2"))
            .then(|| words.get(1).map(PathBuf::from))
            .flatten()
    });
    let wanted = format!("firesteel-{worker}-");
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, u32)> = roots.map(|root| (root, 0)).collect();
    while let Some((dir, depth)) = open.pop() {
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for path in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(&wanted) {
                found.push(path);
            } else if depth < 4 {
                open.push((path, depth + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_descends_from_this_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = descendants(std::process::id());
        let sleeps = found.iter().any(|process| process.pid == child.id() && process.words[0] == "sleep");
        child.kill().unwrap();
        let zombie = loop {
            match look(child.id()) {
                Some(process) if !process.ended => {}
                other => break other,
            }
        };
        assert!(zombie.is_some_and(|process| process.ended && !process.is("60")));
        child.wait().unwrap();
        assert!(sleeps, "{found:?}");
        assert!(descriptors(std::process::id()).unwrap() > 0 && resident_kib(child.id()).is_none());
    }
}
