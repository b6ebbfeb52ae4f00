//! System calls that no library in use offers: leaving name spaces, and mounting. Nothing here decides what
//! is mounted.
#![expect(unsafe_code, reason = "system calls without a safe door; the arguments outlive the calls")]

use std::ffi::{CStr, CString};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null;

/// New mount name space, and with `user` a new user name space before it.
pub fn unshare(user: bool) -> Result<()> {
    let flags = libc::CLONE_NEWNS | if user { libc::CLONE_NEWUSER } else { 0 };
    // SAFETY: takes no pointer, and these flags leave descriptors and memory shared as they are.
    done(unsafe { libc::unshare(flags) })
}

/// Makes everything below `/` invisible to other name spaces when it changes here.
pub fn make_private() -> Result<()> {
    // SAFETY: the strings are constant; the kernel allows null for what this change does not use.
    done(unsafe { libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) })
}

/// What is mounted at `path` and below it, as a copy that is nowhere yet.
pub fn copy(path: &Path) -> Result<OwnedFd> {
    let path = text(path)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the string ends with a zero byte and lives until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = i32::try_from(fd).map_err(Error::other)?;
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Mounts a copy at `path`, which must be there.
pub fn attach(copy: &OwnedFd, path: &Path) -> Result<()> {
    let (from, path) = (copy.as_raw_fd(), text(path)?);
    let (empty, flags) = (c"".as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both strings end with a zero byte and live until the call returns.
    let answer =
        unsafe { libc::syscall(libc::SYS_move_mount, from, empty, libc::AT_FDCWD, path.as_ptr(), flags) };
    done(if answer == 0 { 0 } else { -1 })
}

/// Makes everything that is mounted at `path` and below it read-only here.
pub fn read_only(path: &Path) -> Result<()> {
    let path = text(path)?;
    // SAFETY: all its fields are numbers.
    let mut change: libc::mount_attr = unsafe { std::mem::zeroed() };
    change.attr_set = libc::MOUNT_ATTR_RDONLY;
    let (at, flags, len) = (libc::AT_FDCWD, libc::AT_RECURSIVE, size_of_val(&change));
    // SAFETY: the string ends with a zero byte; it and `change` live until the call returns.
    let answer =
        unsafe { libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, &raw const change, len) };
    done(if answer == 0 { 0 } else { -1 })
}

/// An empty directory in memory over `target`; `again` changes the flags of the one that is there.
pub fn empty(target: &Path, read_only: bool, again: bool, options: &CStr) -> Result<()> {
    let target = text(target)?;
    let mut flags = libc::MS_NOSUID | libc::MS_NODEV;
    flags |= if read_only { libc::MS_RDONLY } else { 0 };
    flags |= if again { libc::MS_REMOUNT } else { 0 };
    let kind = c"tmpfs".as_ptr();
    // SAFETY: all strings end with a zero byte and live until the call returns.
    done(unsafe { libc::mount(c"none".as_ptr(), target.as_ptr(), kind, flags, options.as_ptr().cast()) })
}

fn text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(Error::from)
}

fn done(answer: libc::c_int) -> Result<()> {
    if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
