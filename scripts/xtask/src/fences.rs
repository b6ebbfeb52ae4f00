//! The fences between rooms that only the dependency graph can show: what a room must not be built with.

use crate::{cargo, failed};
use firesteel_common::error::Result;

/// A package, and what it must not depend on, however indirectly.
const FENCES: &[(&str, &[&str])] = &[
    ("wordcount", &["tokio", "actix", "arrow", "datafusion"]),
    ("kmeans", &["tokio", "actix", "arrow", "datafusion"]),
    ("logistic", &["tokio", "actix", "arrow", "datafusion"]),
    ("pagerank", &["tokio", "actix", "arrow", "datafusion"]),
    ("sort", &["tokio", "actix", "arrow", "datafusion"]),
    ("firesteel", &["tokio", "actix", "arrow", "datafusion"]),
    ("firesteel-master", &["datafusion", "arrow", "prost", "libloading"]),
    ("firesteel-scheduler", &["tokio", "actix", "rustix", "libc", "crossbeam", "getrandom", "rand"]),
    ("firesteel-core", &["tokio", "actix", "rustix", "libc", "crossbeam", "getrandom", "rand"]),
];

/// Checks all of them.
///
/// # Errors
/// Names the packages that broke through.
pub fn check() -> Result<()> {
    eprintln!("\n==> dependency fences");
    let mut broken = Vec::new();
    for (package, forbidden) in FENCES {
        let args =
            ["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--locked", "--package"];
        let tree = cargo::output(cargo::cargo(&args).arg(package))?;
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        for name in names.filter(|name| forbidden.iter().any(|word| is_of(name, word))) {
            broken.push(format!("{package} is built with {name}"));
        }
    }
    broken.dedup();
    if broken.is_empty() { Ok(()) } else { Err(failed(broken.join("; "))) }
}

/// Whether a package is `family` or one of its parts (`arrow-array`).
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn a_family_has_parts_but_no_namesakes() {
        assert!(is_of("arrow", "arrow") && is_of("arrow-array", "arrow") && is_of("tokio-util", "tokio"));
        assert!(!is_of("arrowhead", "arrow") && !is_of("randomize", "rand"));
    }
}
