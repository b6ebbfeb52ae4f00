//! What no job has to read, whatever may be read around it: the run directory and keys of the cluster, the
//! system's passwords and keys, what programs of the user keep for themselves. Only the list; covering it is
//! for `mounts.rs`, leaving it out for `files.rs`.

use super::Confinement;
use rustix::process::geteuid;
use std::path::{Path, PathBuf};

/// Of the system. Most of it only root could read.
const SYSTEM: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/ssh",
    "/etc/krb5.keytab",
    "/etc/letsencrypt",
    "/etc/wireguard",
    "/etc/kubernetes",
    "/etc/NetworkManager/system-connections",
    "/var/backups",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/systemd/credential.secret",
    "/var/spool/cron",
    "/run/credentials",
    "/run/secrets",
    "/run/user",
];
/// How deep it is looked around what must stay.
const DEPTH_MAX: u32 = 16;

/// The places that are there, by the names under which they really are.
pub fn places(wanted: &Confinement) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    all.extend(home().iter().flat_map(|home| dotted(home)));
    all.extend(wanted.hidden_files.iter().flat_map(|key| beside(key)));
    let stays = wanted.own.iter().chain(&wanted.shown).chain(&wanted.read).chain(&wanted.write);
    let stays: Vec<&Path> = stays.chain([&wanted.hidden]).map(PathBuf::as_path).collect();
    let mut found = Vec::new();
    for place in all.iter().filter_map(|place| std::fs::canonicalize(place).ok()) {
        around(&place, &stays, &mut found);
    }
    if !wanted.hidden.as_os_str().is_empty() {
        found.push(wanted.hidden.clone());
    }
    found.sort();
    found.dedup();
    found
}

/// The place, or what is in it beside what must stay.
fn around(place: &Path, stays: &[&Path], found: &mut Vec<PathBuf>) {
    let mut next = vec![(place.to_owned(), DEPTH_MAX)];
    while let Some((place, depth)) = next.pop() {
        if !stays.iter().any(|path| path.starts_with(&place)) {
            found.push(place);
        } else if depth > 0 && !stays.contains(&place.as_path()) {
            let inner = entries(&place).filter(|path| !path.is_symlink());
            next.extend(inner.map(|path| (path, depth - 1)));
        }
    }
}

/// The home directory of this user.
pub fn home() -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = geteuid().as_raw().to_string();
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let home = users.find(|parts| parts.get(2) == Some(&user.as_str()))?.get(5).map(PathBuf::from)?;
    (home.is_absolute() && home.parent().is_some()).then_some(home)
}

/// What programs keep in a home directory: their settings, histories, caches, credentials.
fn dotted(home: &Path) -> Vec<PathBuf> {
    let dotted = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    entries(home).filter(dotted).collect()
}

/// A key, and the other keys in its directory.
fn beside(key: &Path) -> Vec<PathBuf> {
    let others = key.parent().into_iter().flat_map(entries);
    let mut keys: Vec<PathBuf> =
        others.filter(|path| path.extension().is_some_and(|extension| extension == "key")).collect();
    keys.push(key.to_owned());
    keys
}

fn entries(of: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(of).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_must_stay_stays_and_what_is_around_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        for name in [".ssh", ".config/a", ".config/data/x", "text"] {
            std::fs::create_dir_all(home.join(name)).unwrap();
        }
        std::fs::write(home.join(".netrc"), "").unwrap();
        let mut found = Vec::new();
        let stays = home.join(".config/data");
        dotted(&home).iter().for_each(|place| around(place, &[&stays], &mut found));
        found.sort();
        // Of what must stay, what is inside is not looked at.
        assert_eq!(found, [".config/a", ".netrc", ".ssh"].map(|name| home.join(name)));
    }
}
