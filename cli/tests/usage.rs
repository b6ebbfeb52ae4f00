//! The binary without a cluster: help, misuse, wrong settings. (Being an integration test of this crate, it
//! also makes `cargo test` build the binary that the tests over real processes start.)
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn firesteel(args: &[&str]) -> Output {
    let empty = std::env::temp_dir().join("firesteel-no-such-directory");
    Command::new(env!("CARGO_BIN_EXE_firesteel")).args(args).env("FIRESTEEL_RUN_DIR", empty).output().unwrap()
}

#[test]
fn help_is_an_answer_and_shows_what_there_is() {
    for args in [&["--help"][..], &["submit", "--help"], &["local", "--help"], &["help", "worker"]] {
        let output = firesteel(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty() && output.stdout.len() > 300, "{args:?}");
    }
}

#[test]
fn misuse_and_wrong_settings_end_with_2() {
    let cases: [(&[&str], &str); 5] = [
        (&["nothing"], "nothing"),
        (&["status", "7"], "app-N"),
        (&["master", "--set", "master.htpp=x"], "did you mean 'http'?"),
        (&["local", "--workers", "0"], "workers"),
        (&["worker", "--cores", "0"], "worker.cores"),
    ];
    for (args, word) in cases {
        let output = firesteel(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(word), "{args:?}: {text}");
    }
}

#[test]
fn without_a_master_commands_end_with_3() {
    let output = firesteel(&["apps"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("error[UNREACHABLE]") && text.contains("help:"), "{text}");
}
