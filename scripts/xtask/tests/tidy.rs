//! The house rules that no compiler checks: sizes, module docs, names, where `unsafe` may stand, what the
//! pure rooms must not touch, and where versions and licences may come from.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 110;
/// Drawers, not rooms.
const NAMES_BANNED: [&str; 6] = ["utils", "util", "helpers", "helper", "misc", "manager"];
/// The rooms that decide, and nothing else.
const PURE: [&str; 2] = ["master/scheduler/src", "worker/core/src"];
/// What a decision must not touch: clocks, chance, I/O, threads, and orders that differ from run to run.
const IMPURE: [&str; 12] = [
    "Instant::now",
    "SystemTime",
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "HashMap",
    "HashSet",
    "async fn",
    "println!",
    "rand::",
];
/// Paths of one machine; and a shell, which nothing here may start with text of a user. Written in halves, so
/// that this file does not name them itself.
const TEXTS_BANNED: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("/Use", "rs/"),
    concat!("sh ", "-c"),
];
/// Licences that a dependency may have; one of its alternatives is enough.
const LICENCES: [&str; 14] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "BSL-1.0",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "bzip2-1.0.6",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
const PACKAGES_BANNED: [&str; 2] = ["openssl-sys", "native-tls"];

#[test]
fn files_are_short_documented_and_well_named() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            wrong.push(format!("{path}: {} lines, at most {FILE_LINES_MAX}", lines.len()));
        }
        if !lines.first().is_some_and(|line| line.starts_with("//!")) {
            wrong.push(format!("{path}: does not begin with a module doc"));
        }
        let stem = Path::new(&path).file_stem().unwrap().to_string_lossy().into_owned();
        if NAMES_BANNED.contains(&stem.as_str()) {
            wrong.push(format!("{path}: '{stem}' says nothing about what is in it"));
        }
        for (number, line) in lines.iter().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                wrong.push(format!("{path}:{}: more than {LINE_CHARS_MAX} columns", number + 1));
            }
        }
        for (name, number, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "{path}:{number}: fn {name} has {length} lines, at most {FUNCTION_LINES_MAX}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_only_where_the_architecture_lists_it() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let is_unsafe = text.lines().any(|line| has_word(&without_texts(code(line)), "unsafe"));
        if is_unsafe && !architecture.contains(&path) {
            wrong.push(format!("{path}: unsafe code that ARCHITECTURE.md does not list"));
        }
        if is_unsafe && !text.contains("SAFETY:") {
            wrong.push(format!("{path}: unsafe code without a proof"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn decisions_touch_nothing() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        if !PURE.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for word in IMPURE.iter().filter(|word| code(line).contains(*word)) {
                wrong.push(format!("{path}:{}: {word} in a room that only decides", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_names_a_machine_or_starts_a_shell() {
    let mut wrong = Vec::new();
    for path in files().filter(|path| !path.ends_with("Cargo.lock")) {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in TEXTS_BANNED.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn versions_stand_in_one_table() {
    let mut wrong = Vec::new();
    for path in files().filter(|path| path.ends_with("/Cargo.toml")) {
        let manifest: toml::Table =
            toml::from_str(&std::fs::read_to_string(root().join(&path)).unwrap()).unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(toml::Value::Table(dependencies)) = manifest.get(section) else { continue };
            for (name, dependency) in dependencies {
                if dependency.is_str() || dependency.get("version").is_some() {
                    wrong.push(format!("{path}: the version of {name} belongs into the root's table"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn dependencies_have_known_licences_and_come_from_the_registry() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("metadata is JSON");
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("a list of packages") {
        let name = format!("{} {}", package["name"], package["version"]);
        if !is_allowed(package["license"].as_str().unwrap_or_default()) {
            wrong.push(format!("{name}: licence {}", package["license"]));
        }
        if package["source"].as_str().is_some_and(|source| source != REGISTRY) {
            wrong.push(format!("{name}: comes from {}", package["source"]));
        }
        if PACKAGES_BANNED.contains(&package["name"].as_str().unwrap_or_default()) {
            wrong.push(format!("{name}: there is to be one TLS, and it is not this"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whether one alternative of an SPDX expression is allowed in all its parts.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let every = |text: &str| {
        text.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
    };
    every(plain.trim())
}

#[test]
fn expressions_of_licences_are_understood() {
    assert!(
        is_allowed("MIT OR GPL-3.0")
            && is_allowed("MIT/Apache-2.0")
            && is_allowed("(MIT OR Apache-2.0) AND Zlib")
    );
    assert!(!is_allowed("GPL-3.0") && !is_allowed("MIT AND GPL-3.0") && !is_allowed(""));
}

#[test]
fn functions_are_measured_from_head_to_closing_brace() {
    let lines = ["impl X {", "    pub fn a(", "        b: u8,", "    ) -> u8 {", "        b", "    }", ""];
    let lines = [&lines[..], &["    fn c(&self);", "    fn d() {}", "}"]].concat();
    assert_eq!(functions(&lines), [("a".to_owned(), 2, 5), ("c".to_owned(), 8, 1), ("d".to_owned(), 9, 1)]);
}

/// Name, line and length of each function of formatted code.
fn functions(lines: &[&str]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let head = line.trim_start();
        let indent = &line[..line.len() - head.len()];
        let Some(rest) = after_fn(head) else { continue };
        let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
        let length = lines[at..]
            .iter()
            .position(|line| {
                let is_own = line.strip_prefix(indent).is_some_and(|rest| !rest.starts_with(' '));
                is_own && (line.ends_with('}') || line.ends_with(';'))
            })
            .map_or(lines.len() - at, |end| end + 1);
        found.push((name, at + 1, length));
    }
    found
}

/// What follows `fn `, if the line is the head of a function.
fn after_fn(head: &str) -> Option<&str> {
    const BEFORE: [&str; 8] =
        ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let (before, rest) = head.split_once("fn ")?;
    before.split_whitespace().all(|word| BEFORE.contains(&word)).then_some(rest)
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// A line without what stands between quotation marks.
fn without_texts(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Every file of the project, by its path below the root, as git sees them (also those not added yet).
fn files() -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    let root = root();
    found.sort();
    found.into_iter().map(move |path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned())
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        let name = entry.file_name();
        if kind.is_dir() && name != "target" && name != ".git" {
            walk(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().filter(|path| path.ends_with(".rs")).map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        (path, text)
    })
}
