//! The scripts of a cluster of several machines, with a stand-in for ssh that runs what it is given here.

use super::machine;
use firesteel_tests::cluster::binary;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// What is sent is what a login shell of the other machine would get.
const STAND_IN: &str = "#!/bin/sh\n[ \"$3\" = -- ] || exit 9\neval \"$5\"\n";

fn script(dir: &Path, name: &str, args: &[&str]) -> Output {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let mut command = Command::new(scripts.join(name));
    command.args(args).stdin(Stdio::null()).env_remove("FIRESTEEL_CONFIG");
    command.env("FIRESTEEL_RUN_DIR", dir.join("run")).env("FIRESTEEL_BIN", binary().unwrap());
    command.env("FIRESTEEL_SSH", dir.join("ssh")).env("FIRESTEEL_WORKERS", dir.join("workers"));
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Stops what a failed test has started.
struct Started(TempDir);

impl Drop for Started {
    fn drop(&mut self) {
        std::fs::write(self.0.path().join("workers"), "localhost\n").unwrap();
        script(self.0.path(), "stop-all", &[]);
    }
}

#[test]
fn a_cluster_is_started_looked_at_and_stopped() {
    let _machine = machine();
    let started = Started(TempDir::new().unwrap());
    let dir = started.0.path();
    std::fs::write(dir.join("ssh"), STAND_IN).unwrap();
    std::fs::set_permissions(dir.join("ssh"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(script(dir, "status", &[]).status.code(), Some(3));
    // A host that would be an option of ssh, or more than a name, reaches nothing.
    for odd in ["-oProxyCommand=x", "a;b", "a$(b)", "a b"] {
        std::fs::write(dir.join("workers"), odd).unwrap();
        let refused = script(dir, "stop-all", &[]);
        assert!(
            said(&refused).contains("one host a line") || said(&refused).contains("not the name"),
            "{odd}"
        );
    }
    std::fs::write(dir.join("workers"), "# one\n\nw1.example\n").unwrap();
    // A flag goes through as it is, whatever it would mean to a shell.
    let name = format!("x'; touch {}; `touch {0}` $(touch {0})", dir.join("canary").display());
    let all = script(dir, "start-all", &["--cores", "1", "--host", &name]);
    assert!(all.status.success(), "{}", said(&all));
    assert!(!dir.join("canary").exists());
    let status = script(dir, "status", &[]);
    assert!(status.status.success() && said(&status).contains("worker-1"), "{}", said(&status));
    for part in ["start-master", "start-worker"] {
        let again = script(dir, part, &[]);
        assert_eq!(again.status.code(), Some(4), "{}", said(&again));
        assert!(said(&again).contains("runs already"), "{}", said(&again));
    }
    let stopped = script(dir, "stop-all", &[]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    assert_eq!(script(dir, "status", &[]).status.code(), Some(3));
    // One that cannot start says why.
    let failed = script(dir, "start-master", &["--listen", "192.0.2.1:0"]);
    assert!(!failed.status.success() && said(&failed).contains("admin certs"), "{}", said(&failed));
}

#[test]
fn every_script_says_what_it_does() {
    let dir = TempDir::new().unwrap();
    for part in
        ["start-master", "start-worker", "start-all", "stop-master", "stop-worker", "stop-all", "status"]
    {
        let help = script(dir.path(), part, &["--help"]);
        assert!(help.status.success() && said(&help).starts_with(part), "{part}: {}", said(&help));
    }
}
