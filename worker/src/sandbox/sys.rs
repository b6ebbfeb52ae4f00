//! Two system calls that no library in use offers: leaving name spaces, and mounting. Nothing here decides
//! what is mounted.
#![expect(unsafe_code, reason = "system calls without a safe door; the arguments outlive the calls")]

use std::ffi::{CStr, CString};
use std::io::{Error, Result};
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

/// Shows `source` at `target` too.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    let (source, target) = (text(source)?, text(target)?);
    // SAFETY: both strings end with a zero byte and live until the call returns; null is not used for a bind.
    done(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), null(), libc::MS_BIND, null()) })
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
