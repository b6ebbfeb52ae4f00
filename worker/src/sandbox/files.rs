//! Landlock: what of the file system a child may read and write, which ports, and whom it may signal.
//!
//! Landlock can only allow. What is to be kept from a child below a place that it may read is left out by
//! allowing the place's other entries one by one; what comes to be there later is then not allowed either.

use super::Confinement;
use firesteel_common::{Error, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use std::path::{Path, PathBuf};

/// What of `/dev` is no device of the machine's. Disks, terminals and the kernel's memory are.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Those that may be written.
const SINKS: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];
/// How deep entries are allowed one by one.
const DEPTH_MAX: u32 = 16;

/// Restricts this process. Gives the version of Landlock. `secrets` are left out of what may be read, unless
/// that is empty because they are covered already.
pub fn restrict(wanted: &Confinement, secrets: &[PathBuf]) -> Result<Option<u32>> {
    let status = Ruleset::default();
    let mut hidden = secrets.to_vec();
    hidden.push(PathBuf::from("/dev"));
    let mut read = expand(&wanted.read, &hidden);
    read.extend(wanted.shown.iter().cloned());
    read.extend(DEVICES.iter().map(PathBuf::from));
    let mut write = expand(&wanted.write, &hidden);
    write.extend(wanted.own.iter().cloned());
    write.extend(SINKS.iter().map(PathBuf::from));
    let done = rules(status, wanted, &read, &write)
        .map_err(|cause| Error::new(firesteel_common::ErrorCode::Io, cause.to_string()))?;
    match done {
        LandlockStatus::Available { effective_abi, .. } => Ok(Some(effective_abi as u32)),
        _ => Err(Error::new(firesteel_common::ErrorCode::Unsupported, "the kernel does not have it")),
    }
}

fn rules(
    ruleset: Ruleset,
    wanted: &Confinement,
    read: &[PathBuf],
    write: &[PathBuf],
) -> Result<LandlockStatus, RulesetError> {
    let abi = ABI::V7;
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::from_all(abi))?;
    if !wanted.may_listen() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    }
    if !wanted.may_dial() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let created = ruleset
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(write, AccessFs::from_all(abi) & !AccessFs::Execute))?;
    Ok(created.restrict_self()?.landlock)
}

/// The roots, without what is hidden below them.
fn expand(roots: &[PathBuf], hidden: &[PathBuf]) -> Vec<PathBuf> {
    let mut allowed = Vec::new();
    for root in roots {
        // Whoever configures a place in `/dev` means it.
        let inside = |hidden: &&PathBuf| !(root.starts_with(hidden) && hidden.as_path() == Path::new("/dev"));
        let hidden: Vec<PathBuf> = hidden.iter().filter(inside).cloned().collect();
        add(root, &hidden, DEPTH_MAX, &mut allowed);
    }
    allowed
}

fn add(path: &Path, hidden: &[PathBuf], depth: u32, allowed: &mut Vec<PathBuf>) {
    if hidden.iter().any(|hidden| path.starts_with(hidden)) {
        return;
    }
    if !hidden.iter().any(|hidden| hidden.starts_with(path)) {
        allowed.push(path.to_owned());
    } else if depth > 0 {
        // A link's target is met under its own name, or not meant.
        let inner = entries(path).into_iter().filter(|entry| !entry.is_symlink() || entry.is_dir());
        inner.for_each(|entry| match std::fs::canonicalize(&entry) {
            Ok(real) if real == entry => add(&entry, hidden, depth - 1, allowed),
            Ok(real) if !hidden.iter().any(|h| h.starts_with(&real) || real.starts_with(h)) => {
                allowed.push(real);
            }
            _ => {}
        });
    }
}

fn entries(of: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(of) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_hidden_is_left_out_and_its_neighbours_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["a/secret", "a/other", "a2", "b"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let mut allowed = expand(std::slice::from_ref(&root), &[root.join("a/secret")]);
        allowed.sort();
        assert_eq!(allowed, ["a/other", "a2", "b"].map(|name| root.join(name)));
        assert_eq!(expand(&[root.join("b")], &[root.join("a")]), [root.join("b")]);
        assert!(expand(&[root.join("a/secret/x")], &[root.join("a/secret")]).is_empty());
    }
}
