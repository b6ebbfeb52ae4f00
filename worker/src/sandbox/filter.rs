//! The filter of system calls (seccomp): what reaches into other processes, the kernel or name spaces is
//! refused with EPERM, and so is leaving the process group, by which everything is killed.

use firesteel_common::{Error, ErrorCode, Result};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;

/// Refused whatever their arguments.
const DENIED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_personality,
];
/// Flags of `clone` that make name spaces.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];
/// Kinds of sockets of a process that dials (driver).
const DIALLED: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Applies the filter to this process; `dials` says whether it may make sockets of the internet.
pub fn apply(dials: bool) -> Result<()> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let spaces = NAMESPACES.iter().map(|flag| {
        let flag = flag.unsigned_abs().into();
        condition(0, MaskedEq(flag), flag).and_then(|condition| rule(vec![condition]))
    });
    rules.insert(libc::SYS_clone, spaces.collect::<Result<_>>()?);
    let families: &[i32] = if dials { &DIALLED } else { &[libc::AF_UNIX] };
    let foreign = families.iter().map(|family| condition(0, Ne, family.unsigned_abs().into()));
    rules.insert(libc::SYS_socket, vec![rule(foreign.collect::<Result<_>>()?)?]);
    // Pushing input into a terminal that is somebody else's.
    rules.insert(libc::SYS_ioctl, vec![rule(vec![condition(1, Eq, libc::TIOCSTI)?])?]);
    load(rules, libc::EPERM)?;
    // Its flags are in memory, where a filter cannot look: told that there is none, callers use `clone`.
    load(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

fn load(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    seccompiler::apply_filter(&program).map_err(failed)
}

fn condition(argument: u8, operator: seccompiler::SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, Dword, operator, value).map_err(failed)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(failed)
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::Io, format!("the filter: {cause}"))
}
