//! The watchdog of memory: one thread of the worker that adds up what the processes of each bounded child use
//! by themselves (anonymous memory; mapped files and handed-over blocks are not theirs), and kills a child
//! that uses more than it may.

use super::cgroup::Group;
use rustix::process::Pid;
use std::collections::BTreeMap;

/// How often is looked.
pub const INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// The bytes of anonymous memory that a child's processes use: those of its cgroup, or of its process group.
pub fn used(leader: Pid, group: Option<&Group>) -> u64 {
    let processes = match group {
        Some(group) => group.processes(),
        None => members(leader),
    };
    processes.into_iter().map(anonymous).sum()
}

fn anonymous(process: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    anonymous_of(&status.unwrap_or_default())
}

fn anonymous_of(status: &str) -> u64 {
    let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let kilobytes = |name| {
        let value: Option<&str> = fields.get(name).copied();
        value.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    (kilobytes("RssAnon") + kilobytes("VmSwap")) << 10
}

/// The processes of a process group.
fn members(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![leader] };
    let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let group = leader.as_raw_nonzero().get();
    let inside = |process: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        group_of(&stat) == Some(group)
    };
    processes.filter(inside).filter_map(Pid::from_raw).collect()
}

/// The process group in a line of `/proc/PID/stat`; the name in it may hold anything.
fn group_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_understood() {
        assert_eq!(
            anonymous_of("Name:\tx\nRssAnon:\t  12 kB\nRssFile:\t 900 kB\nVmSwap:\t 4 kB\n"),
            16 << 10
        );
        assert_eq!(anonymous_of("Name:\tx\n"), 0);
        assert_eq!(group_of("17 (a) b ) S 1 17 17 0"), Some(17));
        assert_eq!(group_of("nothing"), None);
    }
}
