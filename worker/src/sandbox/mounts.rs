//! A mount namespace in which nothing can be written but what a child may write, the run directory of the
//! cluster is empty but for what is this child's own, and what is secret is empty. As root it is just made;
//! others make it in a user namespace of their own, in which they are who they were.
//!
//! That it is read-only matters beside Landlock, which does not know of modes, owners and times.

use super::{Confinement, sys};
use firesteel_common::{Error, Result};
use rustix::process::{getegid, geteuid};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Makes it; `secrets` are covered.
pub fn hide(wanted: &Confinement, secrets: &[PathBuf]) -> Result<()> {
    let root = geteuid().is_root();
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    sys::unshare(!root).map_err(|cause| Error::io("making it", &cause))?;
    if !root {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("{user} {user} 1"))?;
        write("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    }
    sys::make_private().map_err(|cause| Error::io("changing what is mounted", &cause))?;
    // Copied before they are covered, or read-only.
    let writable = copies(wanted.write.iter().filter(|path| path.exists()))?;
    let own = copies(&wanted.own)?;
    let shown = copies(&wanted.shown)?;
    if !wanted.write.iter().any(|path| path == Path::new("/")) {
        sys::read_only(Path::new("/")).map_err(|cause| Error::io("making it read-only", &cause))?;
        attach(&writable)?;
    }
    cover(secrets.iter().filter(|place| **place != wanted.hidden))?;
    hide_run_dir(wanted, &own, &shown)?;
    if let Some(own) = wanted.own.first() {
        std::env::set_current_dir(own).map_err(|cause| Error::io("entering the own directory", &cause))?;
    }
    Ok(())
}

type Copies<'a> = Vec<(&'a PathBuf, OwnedFd)>;

fn copies<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Copies<'a>> {
    let copy = |path: &'a PathBuf| {
        let copied = sys::copy(path);
        copied.map(|fd| (path, fd)).map_err(|cause| Error::io(format!("copying {}", path.display()), &cause))
    };
    paths.into_iter().map(copy).collect()
}

fn attach(copies: &Copies<'_>) -> Result<()> {
    copies.iter().try_for_each(|(path, copy)| {
        let attached = sys::attach(copy, path);
        attached.map_err(|cause| Error::io(format!("mounting {}", path.display()), &cause))
    })
}

/// Covers directories with an empty one, and files with `/dev/null`.
fn cover<'a>(places: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut empty: Option<&PathBuf> = None;
    for place in places {
        let (covered, directory) = (|cause| Error::io("covering what is secret", &cause), place.is_dir());
        let copy = match &empty {
            Some(first) if directory => sys::copy(first),
            None if directory => {
                sys::empty(place, true, false, c"size=4k,mode=0555").map_err(covered)?;
                empty = Some(place);
                continue;
            }
            _ => sys::copy(Path::new("/dev/null")),
        };
        copy.and_then(|copy| sys::attach(&copy, place)).map_err(covered)?;
    }
    Ok(())
}

/// An empty directory over the run directory, and in it what is shown; what is its own elsewhere, there.
fn hide_run_dir(wanted: &Confinement, own: &Copies<'_>, shown: &Copies<'_>) -> Result<()> {
    let hidden = &wanted.hidden;
    let failed = |cause| Error::io("hiding the run directory", &cause);
    let hides = !hidden.as_os_str().is_empty();
    if hides {
        sys::empty(hidden, false, false, c"size=64k,mode=0755").map_err(failed)?;
    }
    let inside = own.iter().chain(shown).map(|(path, _)| path).filter(|path| path.starts_with(hidden));
    for path in inside.filter(|_| hides) {
        let directory = wanted.own.contains(path);
        let made = if directory {
            std::fs::create_dir_all(path)
        } else {
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, ""))
        };
        made.map_err(|cause| Error::io("showing what is its own", &cause))?;
    }
    attach(own)?;
    attach(shown)?;
    shown.iter().try_for_each(|(path, _)| sys::read_only(path).map_err(failed))?;
    if hides { sys::empty(hidden, true, true, c"").map_err(failed) } else { Ok(()) }
}

fn write(path: &str, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|cause| Error::io(format!("writing {path}"), &cause))
}
