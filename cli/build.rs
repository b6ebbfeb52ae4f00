//! Packs the sources of the job crate into the binary, for `firesteel new`: a list of names and contents,
//! written to `sources.rs` in cargo's output directory.

use std::io::Result;
use std::path::{Path, PathBuf};

/// What a job is compiled from, below the root of the repository.
const SOURCES: [&str; 5] = ["jobs/api", "jobs/macros", "common", "config/default.toml", "Cargo.toml"];
/// What is not part of it.
const LEFT_OUT: [&str; 3] = ["jobs/api/tests", "common/net", "target"];

fn main() -> Result<()> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let (here, out) = (variable("CARGO_MANIFEST_DIR"), variable("OUT_DIR"));
    let root = here.parent().unwrap_or(&here).to_owned();
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
        collect(&root, source, &mut files)?;
    }
    collect(&root, "Cargo.lock", &mut files)?;
    files.sort();
    let mut text = String::from("pub const SOURCES: &[(&str, &str)] = &[\n");
    for file in files {
        let path = root.join(&file);
        text.push_str(&format!("    ({file:?}, include_str!({:?})),\n", path.display().to_string()));
    }
    text.push_str("];\n");
    std::fs::write(out.join("sources.rs"), text)
}

/// Adds a file, or the files below a directory, by their names below the root.
fn collect(root: &Path, name: &str, files: &mut Vec<String>) -> Result<()> {
    if LEFT_OUT.contains(&name) {
        return Ok(());
    }
    let path = root.join(name);
    if !path.is_dir() {
        files.push(name.to_owned());
        return Ok(());
    }
    for entry in path.read_dir()? {
        if let Some(below) = entry?.file_name().to_str().filter(|below| !below.starts_with('.')) {
            collect(root, &format!("{name}/{below}"), files)?;
        }
    }
    Ok(())
}
