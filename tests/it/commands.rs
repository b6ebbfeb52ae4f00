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
    let input = cluster.scratch().join("text");
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
    let file = cluster.scratch().join("result");
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

#[test]
fn an_application_that_has_ended_cannot_be_killed_and_its_log_ends_with_the_master() {
    let _machine = machine();
    let mut cluster = Cluster::start(&setup()).unwrap();
    let plugin = wordcount();
    let plugin = plugin.to_str().unwrap();
    let output = firesteel(&cluster, &["submit", "--quiet", plugin, "--entry", "empty_tasks", "count=3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let killed = firesteel(&cluster, &["kill", "app-1"]);
    assert_eq!(killed.status.code(), Some(1), "{}", stderr(&killed));
    assert!(stderr(&killed).contains("has ended already (succeeded)"), "{}", stderr(&killed));
    let events = stdout(&firesteel(&cluster, &["events", "--follow", "app-1", "-o", "json"]));
    assert!(events.lines().last().is_some_and(|line| line.contains("app_ended")), "{events}");
    cluster.kill_master();
    cluster.restart_master().unwrap();
    let logs = firesteel(&cluster, &["logs", "app-1"]);
    assert!(
        logs.status.success() && stderr(&logs).contains("do not outlive the master"),
        "{}",
        stderr(&logs)
    );
    stop(cluster);
}

#[test]
fn an_application_that_takes_too_long_ends_with_124() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let plugin = wordcount();
    let plugin = plugin.to_str().unwrap();
    let args = ["submit", "--timeout", "100ms", plugin, "--entry", "empty_tasks", "count=60000"];
    let output = firesteel(&cluster, &args);
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(stderr(&output).contains("TIMED_OUT"), "{}", stderr(&output));
    stop(cluster);
}

#[test]
fn paths_of_the_command_are_understood_in_client_mode_only() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    text::write(&cluster.scratch().join("text"), 1, 1 << 16, 3);
    let plugin = wordcount();
    let plugin = plugin.to_str().unwrap();
    let submit = |more: &[&str]| {
        let args = [&["submit", plugin, "--entry", "wordcount", "top=1"], more].concat();
        cluster.firesteel(&args).unwrap().current_dir(cluster.scratch()).output().unwrap()
    };
    let output = submit(&["--deploy-mode", "client", "input=text"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = submit(&["input=text"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("give an absolute path"), "{}", stderr(&output));
    let input = format!("input={}", cluster.scratch().join("text").display());
    let output = submit(&[&input, "output=out"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("OUTPUT_NOT_WRITABLE"), "{}", stderr(&output));
    stop(cluster);
}

#[test]
fn a_temporary_cluster_lives_as_long_as_its_command() {
    let _machine = machine();
    let plugin = wordcount();
    let home = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(firesteel_tests::cluster::binary().unwrap());
    let args =
        ["submit", "--master", "local[2]", plugin.to_str().unwrap(), "--entry", "empty_tasks", "count=5"];
    let output = command.args(args).env("TMPDIR", home.path()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "0");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_worker_that_is_drained_leaves() {
    let _machine = machine();
    let cluster = Cluster::start(&setup()).unwrap();
    let drained = firesteel(&cluster, &["workers", "drain", "worker-2"]);
    assert!(drained.status.success(), "{}", stderr(&drained));
    let plugin = wordcount();
    let plugin = plugin.to_str().unwrap();
    let output = firesteel(&cluster, &["submit", "--quiet", plugin, "--entry", "empty_tasks", "count=3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = stdout(&firesteel(&cluster, &["events", "app-1", "-o", "json"]));
    assert!(!events.contains(r#""worker":2"#), "{events}");
    let unknown = firesteel(&cluster, &["workers", "drain", "worker-9"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", stderr(&unknown));
    stop(cluster);
}
