//! `firesteel new`: what it makes builds, and its test passes, with the libraries that are on this machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

#[test]
fn a_new_project_builds_and_its_test_passes() {
    let dir = tempfile::tempdir().unwrap();
    let new = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firesteel"));
        command.args(["new", name]).current_dir(dir.path()).output().unwrap()
    };
    let made = new("line-count");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let told = String::from_utf8(made.stdout).unwrap();
    assert!(told.contains("target/release/libline_count.so"), "{told}");
    assert_eq!(new("line-count").status.code(), Some(2), "it exists already");
    assert_eq!(new("../x").status.code(), Some(2));
    assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing half-made remains");

    let project = dir.path().join("line-count");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let build = cargo
        .args(["test", "--offline", "--quiet"])
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", dir.path().join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&build.stdout), String::from_utf8_lossy(&build.stderr));
    assert!(build.status.success() && out.contains("1 passed"), "{out}\n{err}");
}
