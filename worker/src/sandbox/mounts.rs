//! A mount namespace in which the run directory of the cluster is empty but for what is this child's own, and
//! keys are empty files. As root it is just made; others make it in a user namespace of their own, in which
//! they are who they were.

use super::{Confinement, sys};
use firesteel_common::{Error, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{getegid, geteuid};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Directories in the home directory that hold credentials.
const CREDENTIALS: &[&str] = &[".ssh", ".gnupg", ".aws", ".kube", ".docker", ".azure", ".firesteel"];

/// Hides what is to be hidden.
pub fn hide(wanted: &Confinement) -> Result<()> {
    let root = geteuid().is_root();
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    sys::unshare(!root).map_err(|cause| Error::io("making it", &cause))?;
    if !root {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("{user} {user} 1"))?;
        write("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    }
    let failed = |cause| Error::io("changing what is mounted", &cause);
    sys::make_private().map_err(failed)?;
    for file in wanted.hidden_files.iter().filter(|file| file.is_file()) {
        sys::bind(Path::new("/dev/null"), file).map_err(failed)?;
    }
    hide_run_dir(wanted)?;
    for place in credentials(&wanted.hidden) {
        sys::empty(&place, true, false, c"size=4k,mode=0700").map_err(failed)?;
    }
    if let Some(own) = wanted.own.first() {
        std::env::set_current_dir(own).map_err(|cause| Error::io("entering the own directory", &cause))?;
    }
    Ok(())
}

/// What holds credentials of the user, unless the run directory (which is hidden already) is in it.
fn credentials(hidden: &Path) -> Vec<PathBuf> {
    let homes = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = geteuid().as_raw().to_string();
    let home = homes.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let home = home.filter(|parts| parts.get(2) == Some(&user.as_str())).find_map(|parts| {
        parts.get(5).map(PathBuf::from).filter(|home| home.is_absolute() && home.parent().is_some())
    });
    let Some(home) = home else { return Vec::new() };
    let places = CREDENTIALS.iter().map(|name| home.join(name));
    places.filter(|place| place.is_dir() && !hidden.starts_with(place)).collect()
}

/// An empty directory over the run directory, and in it what is shown.
fn hide_run_dir(wanted: &Confinement) -> Result<()> {
    let hidden = &wanted.hidden;
    if hidden.as_os_str().is_empty() {
        return Ok(());
    }
    let failed = |cause| Error::io("hiding the run directory", &cause);
    let inside = |path: &&PathBuf| path.starts_with(hidden);
    // Opened before they are covered.
    let opened = wanted.own.iter().chain(&wanted.shown).filter(inside).map(|path| {
        let fd = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|cause| failed(cause.into()))?;
        Ok((path, path.is_dir(), fd))
    });
    let opened: Vec<(&PathBuf, bool, OwnedFd)> = opened.collect::<Result<_>>()?;
    sys::empty(hidden, false, false, c"size=64k,mode=0755").map_err(failed)?;
    for (path, directory, fd) in opened {
        let made = if directory {
            std::fs::create_dir_all(path)
        } else {
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, ""))
        };
        made.map_err(|cause| Error::io("showing what is its own", &cause))?;
        sys::bind(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())), path).map_err(failed)?;
    }
    sys::empty(hidden, true, true, c"").map_err(failed)
}

fn write(path: &str, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|cause| Error::io(format!("writing {path}"), &cause))
}
