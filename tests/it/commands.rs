//! The command line against a cluster: what goes to stdout, what to stderr, and how it ends.

use crate::text::{self, Counts};
use crate::{machine, setup, stop, wordcount};
use firesteel_tests::cluster::Cluster;
use std::process::Output;

fn firesteel(cluster: &Cluster, args: &[&str]) -> Output {
    cluster.firesteel(args).unwrap().output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn submit_gives_the_same_answer_in_both_deploy_modes() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let input = cluster.run_dir().join("text");
    text::write(&input, 2, 4 << 20, 3);
    let expected = text::expected(&text::counted_by_others(&input), 7);
    let (plugin, arg) = (wordcount(), format!("input={}", input.display()));
    let plugin = plugin.to_str().unwrap();
    for mode in ["client", "cluster"] {
        let args = ["submit", "--deploy-mode", mode, plugin, "--entry", "wordcount", &arg, "top=7"];
        let output = firesteel(&cluster, &args);
        assert!(output.status.success(), "{mode}: {}", stderr(&output));
        let found: Counts = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found, expected, "{mode}");
        assert!(stderr(&output).contains("submitted"), "{}", stderr(&output));
    }
    let apps = stdout(&firesteel(&cluster, &["apps"]));
    assert_eq!(apps.matches("succeeded").count(), 2, "{apps}");
    assert_eq!(stdout(&firesteel(&cluster, &["workers"])).matches("yes").count(), 2);
    assert!(stdout(&firesteel(&cluster, &["plugins"])).contains("wordcount input=<text>"));
    stop(cluster);
}

#[test]
fn a_submission_that_is_not_waited_for_can_be_asked_about() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let plugin = wordcount();
    let plugin = plugin.to_str().unwrap();
    let args = ["submit", "--no-wait", "--name", "nothing", plugin, "--entry", "empty_tasks", "count=3"];
    let app = stdout(&firesteel(&cluster, &args));
    let app = app.trim();
    let status = firesteel(&cluster, &["status", "--wait", app]);
    assert!(
        stdout(&status).contains("succeeded") && stdout(&status).contains("nothing"),
        "{}",
        stdout(&status)
    );
    assert_eq!(stdout(&firesteel(&cluster, &["result", app])).trim(), "0");
    let file = cluster.run_dir().join("result");
    let args = ["result", app, "--output-file", file.to_str().unwrap()];
    assert!(firesteel(&cluster, &args).status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "0");
    assert!(firesteel(&cluster, &["logs", "--follow", app]).status.success());
    stop(cluster);
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let plugin = wordcount();
    let plugin = plugin.to_str().unwrap();
    let cases: [(i32, &[&str], &str); 9] = [
        (0, &["--help"], ""),
        (2, &["submti"], "submit"),
        (2, &["submit"], "PLUGIN.so"),
        (2, &["submit", "/no/such.so"], "cargo build"),
        (2, &["submit", plugin, "top"], "ARG=VALUE"),
        (101, &["submit", plugin, "--entry", "wordcuont"], "wordcount"),
        (4, &["submit", plugin, "--entry", "wordcount", "inptu=x"], "BAD_ARGUMENT"),
        (1, &["submit", plugin, "--entry", "wordcount", "input=/no/such/text"], "INPUT_NOT_READABLE"),
        (4, &["status", "app-99"], "NOT_FOUND"),
    ];
    for (code, args, word) in cases {
        let output = firesteel(&cluster, args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(word), "{args:?}: {text}");
    }
    let mut nowhere = cluster.firesteel(&["apps"]).unwrap();
    let output = nowhere.env("FIRESTEEL_RUN_DIR", cluster.run_dir().join("nothing")).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let mut stranger = cluster.firesteel(&["apps"]).unwrap();
    let output = stranger.env("FIRESTEEL_TOKEN", "0".repeat(64)).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    stop(cluster);
}
