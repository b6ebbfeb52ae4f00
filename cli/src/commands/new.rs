//! `firesteel new NAME`: a project for a job, with everything of Firesteel that it is compiled from.
//!
//! The sources of the job crate are part of this binary, so a plugin of the project always fits it. They lie
//! in the project under `firesteel/`, in the same places as in Firesteel's own repository.

use crate::failure::Exit;
use crate::failure::{Failure, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::error::{Error, ErrorCode};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// Where the sources of the job crate lie in a project.
const BELOW: &str = "firesteel";
/// The longest name of a project, in bytes.
const NAME_MAX: usize = 64;
/// Names that mean something else to cargo or to Rust.
const TAKEN: [&str; 9] =
    ["firesteel", "common", "test", "core", "std", "alloc", "proc_macro", "crate", "self"];

/// Makes a project for a job: a crate that builds, has a test, and can be submitted at once
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The name of the project, such as line-count; also the name of its crate
    name: String,
    /// Where to make it (a directory of its name in the current one)
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

impl NewArgs {
    /// Writes the project beside its place, then moves it there, so that half of one never lies about.
    pub fn run(self) -> Outcome<Exit> {
        check_name(&self.name)?;
        let place = self.path.unwrap_or_else(|| PathBuf::from(&self.name));
        if place.exists() {
            let message = format!("{} exists already", place.display());
            return Err(
                Failure::usage(message).with_help("choose another name, or another place with --path")
            );
        }
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |cause: std::io::Error| Failure::io(format!("making {}", place.display()), &cause);
        std::fs::create_dir_all(parent).map_err(failed)?;
        let draft = parent.join(format!(".{}-{}", self.name, std::process::id()));
        let made =
            write_project(&draft, &self.name).and_then(|()| std::fs::rename(&draft, &place).map_err(failed));
        if made.is_err() {
            // What is left of a draft is of no use; that it cannot be removed is not what went wrong.
            std::fs::remove_dir_all(&draft).ok();
        }
        made?;
        let crate_name = self.name.replace('-', "_");
        print::line(format!(
            "{place} is there. Next:\n  cd {place}\n  cargo test && cargo build --release\n  \
             firesteel submit target/release/lib{crate_name}.so input=$PWD/README.md word=the",
            place = place.display()
        ))?;
        Ok(Exit::Done)
    }
}

fn check_name(name: &str) -> Outcome<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins_well || name.len() > NAME_MAX || !name.chars().all(plain) {
        let message = format!("'{name}' is not a name for a crate");
        let help = "a name is 1 to 64 lowercase letters, digits, '-' and '_', and begins with a letter";
        return Err(Failure::usage(message).with_help(help));
    }
    if TAKEN.contains(&name) || name.starts_with("firesteel-") {
        return Err(Failure::usage(format!("the name '{name}' is taken")).with_help("choose another one"));
    }
    Ok(())
}

fn write_project(draft: &Path, name: &str) -> Outcome<()> {
    for (file, text) in SOURCES.iter().filter(|(file, _)| !matches!(*file, "Cargo.toml" | "Cargo.lock")) {
        let text = if file.ends_with("Cargo.toml") { manifest_of_room(text)? } else { (*text).to_owned() };
        write(&draft.join(BELOW).join(file), &text)?;
    }
    write(&draft.join("Cargo.toml"), &manifest(name)?)?;
    // The versions that this Firesteel was built with; cargo leaves out what the project does not need.
    write(&draft.join("Cargo.lock"), source("Cargo.lock"))?;
    write(&draft.join(".gitignore"), "/target\n")?;
    write(&draft.join("README.md"), &README.replace("NAME", name).replace("LIB", &name.replace('-', "_")))?;
    write(&draft.join("src/lib.rs"), SAMPLE)
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    let failed = |cause: std::io::Error| Failure::io(format!("writing {}", path.display()), &cause);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

fn source(name: &str) -> &'static str {
    SOURCES.iter().find(|(file, _)| *file == name).map_or("", |(_, text)| text)
}

/// The manifest of one of Firesteel's crates, without what only its own tests need.
fn manifest_of_room(text: &str) -> Outcome<String> {
    let mut manifest: Table = parse(text)?;
    for section in ["dev-dependencies", "bench", "test", "example", "lints"] {
        manifest.remove(section);
    }
    Ok(manifest.to_string())
}

/// The project's own manifest: Firesteel's table of versions, with its crates where they lie here.
fn manifest(name: &str) -> Outcome<String> {
    let root: Table = parse(source("Cargo.toml"))?;
    let mut workspace = root.get("workspace").and_then(Value::as_table).cloned().unwrap_or_default();
    workspace.retain(|key, _| matches!(key, "resolver" | "package" | "dependencies"));
    if let Some(Value::Table(versions)) = workspace.get_mut("dependencies") {
        versions.retain(|_, version| {
            let place = version.get("path").and_then(Value::as_str).map(str::to_owned);
            match place {
                Some(place) if source(&format!("{place}/Cargo.toml")).is_empty() => false,
                Some(place) => {
                    if let Some(version) = version.as_table_mut() {
                        version.insert("path".to_owned(), Value::String(format!("{BELOW}/{place}")));
                    }
                    true
                }
                None => true,
            }
        });
    }
    let own = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition.workspace = true\npublish = false\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nfiresteel = {{ workspace = true }}\n\n\
         [dev-dependencies]\nfiresteel = {{ workspace = true, features = [\"testing\"] }}\n\n\
         # What follows is Firesteel's: it fits the sources in {BELOW}/.\n"
    );
    let table = Table::from_iter([("workspace".to_owned(), Value::Table(workspace))]);
    Ok(own + &table.to_string())
}

fn parse(text: &str) -> Outcome<Table> {
    toml::from_str(text).map_err(|cause| {
        Error::new(ErrorCode::Internal, format!("a manifest in this binary is broken: {cause}")).into()
    })
}

const README: &str = "\
# NAME

A job for Firesteel.

```sh
cargo test                          # runs it in this process
cargo build --release
firesteel local --workers 2         # a cluster on this machine, in another terminal
firesteel submit target/release/libLIB.so input=$PWD/README.md word=the
```

`firesteel/` holds what it is compiled from; `firesteel new` of a newer Firesteel makes a newer one.
";

const SAMPLE: &str = r#"//! Counts lines. Every public function with the attribute is an entry point; its
//! arguments come from the command line, by name and with their types.

use firesteel::{Context, Result};

/// Counts the lines of a text that contain a word.
#[firesteel::entry]
pub fn lines_with(
    cx: &Context<'_>,
    /// A file, a directory or a pattern; gzip is understood.
    input: String,
    /// The word (the).
    word: Option<String>,
) -> Result<u64> {
    let word = word.unwrap_or_else(|| "the".to_owned());
    // Closures capture nothing; what they need travels to the tasks as an argument.
    cx.text_file(&input)?.filter_with(word, |word, line| line.contains(word.as_str())).count()
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_counted() {
        let file = std::env::temp_dir().join(format!("lines-{}.txt", std::process::id()));
        std::fs::write(&file, "the first\nsecond\nand the third\n").unwrap();
        let input = file.display().to_string();
        let count = firesteel::testing::run(|cx| super::lines_with(cx, input.clone(), None));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(count.unwrap(), 2);
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_does_not_take_are_refused() {
        for name in
            ["", "../x", "a/b", "Upper", "1st", "a b", "-x", "é", "firesteel", "firesteel-sql", "test"]
        {
            assert_eq!(check_name(name).unwrap_err().exit, Exit::Usage, "{name}");
        }
        for name in ["a", "line-count", "x_1"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn manifests_name_nothing_that_is_not_there() {
        let manifest: Table = parse(&manifest("job").unwrap()).unwrap();
        let versions = manifest["workspace"]["dependencies"].as_table().unwrap();
        let places: Vec<&str> = versions.values().filter_map(|v| v.get("path")?.as_str()).collect();
        assert_eq!(places, ["firesteel/jobs/api", "firesteel/common", "firesteel/jobs/macros"]);
    }
}
