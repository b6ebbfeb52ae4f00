//! The cgroups of children: one directory for each worker, one in it for each child. They bound the number of
//! processes, and memory as a last resort; and they know every process of a child, wherever it went.
//!
//! Version 1 where it is mounted and writable, version 2 where it was delegated with its controllers, else
//! none. Memory that a child hands to its worker (sealed blocks) stays charged to the child, so that the
//! bound here is the child's own and the block store's together; what a child itself may use is watched in
//! `watch.rs`.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Processes and threads of one child at most.
const PROCESSES_MAX: &str = "1024";
/// How often everything in a cgroup is killed before it is given up.
const KILLS_MAX: u32 = 50;

/// The cgroups of one worker.
#[derive(Debug)]
pub struct Groups {
    version: u32,
    /// The directory of the worker in each hierarchy.
    roots: Vec<PathBuf>,
    next: AtomicU64,
}

/// The cgroups of one child, removed with the value.
#[derive(Debug)]
pub struct Group {
    directories: Vec<PathBuf>,
}

impl Groups {
    /// What this machine gives; `None` if it gives nothing.
    pub fn find(name: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        first(&mounts, &own, name).or_else(|| second(&mounts, &own, name))
    }

    /// Which version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Makes the group of a child; `memory` is the bound in bytes, 0 for none.
    pub fn child(&self, memory: u64) -> Option<Group> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let directories = self.roots.iter().map(|root| root.join(number.to_string())).collect();
        let group = Group { directories };
        for directory in &group.directories {
            std::fs::create_dir_all(directory).ok()?;
            let bounds =
                [("pids.max", PROCESSES_MAX.to_owned())].into_iter().chain((memory > 0).then(|| {
                    (
                        if self.version == 1 { "memory.limit_in_bytes" } else { "memory.max" },
                        memory.to_string(),
                    )
                }));
            for (file, bound) in bounds {
                let file = directory.join(file);
                if file.exists() {
                    std::fs::write(file, bound).ok()?;
                }
            }
        }
        Some(group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.roots.iter().for_each(|root| drop(std::fs::remove_dir(root)));
    }
}

impl Group {
    /// The lists of processes that the child writes itself into.
    pub fn lists(&self) -> Vec<PathBuf> {
        self.directories.iter().map(|directory| directory.join("cgroup.procs")).collect()
    }

    /// The processes in it.
    pub fn processes(&self) -> Vec<Pid> {
        let list = self.lists().first().and_then(|list| std::fs::read_to_string(list).ok());
        let list = list.unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()
    }

    /// Whether the kernel has killed something in it for lack of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let files = self
            .directories
            .iter()
            .flat_map(|directory| ["memory.oom_control", "memory.events"].map(|file| directory.join(file)));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).any(|text| {
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }

    /// Kills everything in it, also what is born meanwhile.
    pub fn kill(&self) {
        for _ in 0..KILLS_MAX {
            let processes = self.processes();
            if processes.is_empty() {
                return;
            }
            for process in processes {
                let _ = kill_process(process, Signal::KILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        for directory in &self.directories {
            // A killed process leaves its group a moment after its end is told.
            for _ in 0..KILLS_MAX {
                if std::fs::remove_dir(directory).is_ok() || !directory.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    }
}

/// Version 1: the hierarchies of processes and memory.
fn first(mounts: &str, own: &str, name: &str) -> Option<Groups> {
    let mut roots = Vec::new();
    for controller in ["pids", "memory"] {
        let mount = mounted(mounts, "cgroup", Some(controller))?;
        let own = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts.next()?.split(',').any(|name| name == controller).then(|| parts.next())?
        })?;
        roots.push(made(&mount.join(own.trim_start_matches('/')), name).or_else(|| made(&mount, name))?);
    }
    Some(Groups { version: 1, roots, next: AtomicU64::new(0) })
}

/// Version 2, if its controllers were delegated to where this worker is.
fn second(mounts: &str, own: &str, name: &str) -> Option<Groups> {
    let mount = mounted(mounts, "cgroup2", None)?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = made(&mount.join(own.trim_start_matches('/')), name)?;
    let _ = std::fs::write(root.join("cgroup.subtree_control"), "+memory +pids");
    let groups = Groups { version: 2, roots: vec![root], next: AtomicU64::new(0) };
    let trial = groups.child(0)?;
    let has = |file: &str| trial.directories.iter().all(|directory| directory.join(file).exists());
    let complete = has("memory.max") && has("pids.max");
    drop(trial);
    complete.then_some(groups)
}

fn mounted(mounts: &str, kind: &str, option: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let parts: Vec<&str> = line.split(' ').collect();
        let [_, place, found, options, ..] = parts.as_slice() else { return None };
        let has = option.is_none_or(|option| options.split(',').any(|one| one == option));
        (*found == kind && has).then(|| PathBuf::from(*place))
    })
}

fn made(below: &Path, name: &str) -> Option<PathBuf> {
    sweep(below);
    let path = below.join(name);
    std::fs::create_dir(&path).ok().map(|()| path)
}

/// Removes what workers that were killed have left; the kernel refuses where something still runs.
fn sweep(below: &Path) {
    let directories = |of: &Path| {
        let entries =
            std::fs::read_dir(of).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    for left in directories(below) {
        let name = left.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let worker =
            name.strip_prefix("firesteel-").and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
        if worker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            directories(&left).iter().for_each(|child| drop(std::fs::remove_dir(child)));
            let _ = std::fs::remove_dir(&left);
        }
    }
}
