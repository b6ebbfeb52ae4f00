//! Who a child is: another user if one is configured and the worker is root, and in any case without
//! capabilities, so that even as root it is only the owner of root's files.

use firesteel_common::{Error, Result};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Becomes `user` and gives up every capability. To be done while there is one thread.
pub fn change(user: Option<u32>, missing: &mut Vec<String>) -> Result<Option<u32>> {
    let failed =
        |what: &'static str| move |cause: rustix::io::Errno| Error::io(what, &std::io::Error::from(cause));
    let root = geteuid().is_root();
    let user = user.filter(|_| root);
    if let Some(user) = user {
        let (uid, gid) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(user));
        set_thread_groups(&[]).map_err(failed("leaving the groups"))?;
        set_thread_res_gid(gid, gid, gid).map_err(failed("changing the group"))?;
        set_thread_res_uid(uid, uid, uid).map_err(failed("changing the user"))?;
        // The change has made its own entries in /proc root's; it needs them.
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(failed("owning /proc/self"))?;
    } else if root {
        missing.push("own user: worker.user is empty, so they run as root, without capabilities".to_owned());
    } else {
        missing.push("own user: the worker is not root, so they share its user".to_owned());
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(failed("giving up capabilities"))?;
    Ok(user)
}
