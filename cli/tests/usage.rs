//! The binary without a cluster: help, misuse, wrong settings. (Being an integration test of this crate, it
//! also makes `cargo test` build the binary that the tests over real processes start.)
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn firesteel(args: &[&str]) -> Output {
    let empty = std::env::temp_dir().join("firesteel-no-such-directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_firesteel"));
    // Settings of whoever runs the tests have no say.
    for name in ["FIRESTEEL_MASTER", "FIRESTEEL_CONFIG", "FIRESTEEL_CONF_DIR", "SPARK_CONF_DIR", "SPARK_HOME"]
    {
        command.env_remove(name);
    }
    command.args(args).env("FIRESTEEL_RUN_DIR", empty).output().unwrap()
}

fn code_and_stderr(args: &[&str]) -> (Option<i32>, String) {
    let output = firesteel(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn stdout(args: &[&str]) -> String {
    let output = firesteel(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
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
        (&["status", "seven"], "app-N"),
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

#[test]
fn the_help_of_submit_shows_the_flags_of_spark_submit_that_work() {
    let help = stdout(&["submit", "--help"]);
    for flag in [
        "--master",
        "--deploy-mode",
        "--class",
        "--name",
        "-c, --conf",
        "--properties-file",
        "--load-spark-defaults",
        "--verbose",
        "--version",
        "--driver-memory",
        "--driver-cores",
        "--executor-memory",
        "--executor-cores",
        "--total-executor-cores",
        "--num-executors",
        "--queue",
        "--supervise",
        "--status",
        "--kill",
        "--wait",
        "--no-wait",
        "--follow",
        "--idempotency-key",
        "--tag",
        "--timeout",
        "--max-retries",
        "--dry-run",
        "-o, --output",
        "--quiet",
        "--token-file",
        "--strict",
    ] {
        assert!(help.contains(flag), "{flag} is missing:\n{help}");
    }
    assert!(stdout(&["submit", "--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_means_nothing_here_is_refused_with_the_reason() {
    for (flag, word) in [
        ("--jars", "shared object"),
        ("--packages", "package repository"),
        ("--exclude-packages", "package repository"),
        ("--repositories", "package repository"),
        ("--py-files", "Python"),
        ("--files", "not shipped"),
        ("--archives", "not shipped"),
        ("--proxy-user", "token"),
        ("--principal", "Kerberos"),
        ("--keytab", "Kerberos"),
        ("--remote", "Spark Connect"),
    ] {
        let (code, text) = code_and_stderr(&["submit", "job.so", flag, "x"]);
        assert_eq!(code, Some(2), "{flag}: {text}");
        assert!(text.contains(flag) && text.contains("is not supported") && text.contains(word), "{text}");
    }
}

#[test]
fn what_cannot_be_meant_is_misuse_before_anything_is_asked() {
    let long = "k".repeat(65);
    let cases: [(&[&str], &str); 13] = [
        (&["submit", "/", "--dry-run"], "is not a file"),
        (&["submit", "job.so", "--master", "yarn"], "yarn is not supported"),
        (&["submit", "job.so", "--master", "k8s://https://h:1"], "k8s is not supported"),
        (&["submit", "job.so", "--master", "local[0]"], "is not a master"),
        (&["submit", "job.so", "--master", "local", "--no-wait"], "temporary cluster"),
        (&["submit", "job.so", "--executor-memory", "lots"], "spark.executor.memory"),
        (&["submit", "job.so", "--timeout", "soon"], "firesteel.app.timeout"),
        (&["submit", "job.so", "--conf", "spark.cores.max"], "KEY=VALUE"),
        (&["submit", "job.so", "--strict", "-c", "spark.cores.mxa=1"], "did you mean spark.cores.max?"),
        (&["submit", "job.so", "--properties-file", "/no/such.conf"], "/no/such.conf"),
        (&["submit", "job.so", "--no-wait", "--max-retries", "1"], "--max-retries"),
        (&["local", "--http", "nonsense"], "'nonsense' is not an address"),
        (&["tokens", "create", "ci", "--role", "root"], "viewer, submit or admin"),
    ];
    for (args, word) in cases {
        let (code, text) = code_and_stderr(args);
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(word) && text.matches("error[").count() <= 1, "{args:?}: {text}");
    }
    let (code, text) = code_and_stderr(&["submit", "--sql", "/dev/null", "--idempotency-key", &long]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("64 characters"), "{text}");
}

#[test]
fn a_dry_run_prints_the_request_and_where_each_setting_is_from() {
    let dir = std::env::temp_dir().join(format!("firesteel-usage-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("my.conf"),
        "spark.executor.memory 1g\nspark.app.name nightly\nspark.cores.max=3\n",
    )
    .unwrap();
    std::fs::write(dir.join("q.sql"), "select 1").unwrap();
    let (conf, sql) = (dir.join("my.conf"), dir.join("q.sql"));
    let (conf, sql) = (conf.to_str().unwrap(), sql.to_str().unwrap());
    let flags = ["--properties-file", conf, "--executor-memory", "2g", "-c", "spark.cores.max=4"];
    let more = ["--tag", "team=a", "--num-executors", "9", "--driver-class-path", "x"];
    let output = firesteel(&[&["submit", "--dry-run", "--sql", sql][..], &flags, &more].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    let request: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(request["name"], "nightly");
    assert_eq!(request["conf"]["spark.executor.memory"], "2g");
    assert_eq!(request["conf"]["spark.cores.max"], "4");
    assert_eq!(request["tags"]["team"], "a");
    assert!(
        text.contains("warning: --num-executors is ignored") && text.contains("--driver-class-path"),
        "{text}"
    );
    assert!(
        text.lines().any(|line| line.starts_with("spark.app.name") && line.contains("my.conf")),
        "{text}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_file_that_is_no_plugin_is_refused_by_a_dry_run() {
    let (code, text) =
        code_and_stderr(&["submit", "--dry-run", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("PLUGIN_INVALID"), "{text}");
}

#[test]
fn settings_keys_codes_and_completions_are_printed_without_a_cluster() {
    let shown = stdout(&["config", "show", "--origin", "--set", "worker.cores=7"]);
    assert!(shown.lines().any(|line| line.starts_with("worker.cores ") && line.contains("7 ")), "{shown}");
    assert!(shown.contains("--set") && shown.contains("default"), "{shown}");
    let keys: serde_json::Value = serde_json::from_str(&stdout(&["config", "keys", "-o", "json"])).unwrap();
    let has = |key: &str| keys.as_array().unwrap().iter().any(|entry| entry["key"] == key);
    assert!(has("worker.memory") && has("spark.executor.memory"));
    assert!(stdout(&["explain", "not-found"]).starts_with("NOT_FOUND"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&["completions", shell]).contains("firesteel"), "{shell}");
    }
    let findings: serde_json::Value = serde_json::from_str(&stdout(&["doctor", "-o", "json"])).unwrap();
    assert!(findings.as_array().unwrap().iter().any(|finding| finding["what"] == "master"));
}

#[test]
fn a_file_too_large_for_a_plugin_is_refused_before_it_is_read() {
    let path = std::env::temp_dir().join(format!("firesteel-usage-large-{}.so", std::process::id()));
    // Sparse: it takes no room.
    std::fs::File::create(&path).unwrap().set_len(5 << 30).unwrap();
    let (code, text) = code_and_stderr(&["submit", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no plugin is longer than"), "{text}");
}

#[test]
fn a_master_whose_log_cannot_be_written_goes_on() {
    use std::io::{BufRead, BufReader, Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut master = Command::new(env!("CARGO_BIN_EXE_firesteel"))
        .args(["master", "--temporary", "--run-dir"])
        .arg(dir.path().join("run"))
        .args(["--die-with-parent", &std::process::id().to_string()])
        .stdout(std::process::Stdio::piped())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(master.stdout.take().unwrap()).lines().map_while(Result::ok);
    let http = lines.find_map(|line| Some(line.split_once("http://")?.1.trim().to_owned())).unwrap();
    for _ in 0..3 {
        // Each refusal is logged.
        let mut stream = std::net::TcpStream::connect(&http).unwrap();
        let request = format!("GET /x HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    master.kill().unwrap();
    master.wait().unwrap();
}
