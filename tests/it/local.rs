//! `firesteel local`: soon there, and gone without a trace, however it ends.

use crate::machine;
use firesteel_tests::cluster::binary;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a local cluster and waits for its last line.
fn start(dir: &Path) -> Child {
    let mut child = Command::new(binary().unwrap())
        .args(["local", "--workers", "2", "--cores", "1", "--temporary", "--run-dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("ready")), "it must be ready");
    child
}

/// The processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<Pid> {
    let field = format!("PPid:\t{parent}");
    let is_child = |entry: &std::fs::DirEntry| {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line == field)
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten().filter(is_child);
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn is_gone(pid: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    // A process that has ended and that nobody has waited for does nothing any more.
    test_kill_process(pid).is_err() || state.contains(") Z ")
}

fn assert_nothing_remains(processes: &[Pid], dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while dir.exists() || !processes.iter().all(|pid| is_gone(*pid)) {
        assert!(Instant::now() < deadline, "left: {processes:?} or {}", dir.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_remains_after_a_stop() {
    let _machine = machine();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("run");
    let mut local = start(&dir);
    let processes = children(local.id());
    assert_eq!(processes.len(), 3, "a master and two workers");
    kill_process(Pid::from_child(&local), Signal::TERM).unwrap();
    assert!(local.wait().unwrap().success());
    assert_nothing_remains(&processes, &dir);
}

#[test]
fn nothing_remains_after_a_kill() {
    let _machine = machine();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("run");
    let mut local = start(&dir);
    let processes = children(local.id());
    local.kill().unwrap();
    local.wait().unwrap();
    assert_nothing_remains(&processes, &dir);
}

#[test]
fn two_clusters_do_not_share_a_directory() {
    let _machine = machine();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("run");
    let mut local = start(&dir);
    let second = Command::new(binary().unwrap()).arg("local").arg("--run-dir").arg(&dir).output().unwrap();
    assert_eq!(second.status.code(), Some(4), "{}", String::from_utf8_lossy(&second.stderr));
    kill_process(Pid::from_child(&local), Signal::TERM).unwrap();
    local.wait().unwrap();
}
