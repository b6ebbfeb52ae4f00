//! The filter of system calls (seccomp): what reaches into other processes, the kernel or name spaces is
//! refused with EPERM, and so is leaving the process group, by which everything is killed. What is newer than
//! this filter does not exist (ENOSYS), and neither do the calls of another ABI.

use super::calls::{DENIED, NAMESPACES, NEWEST, UNKNOWN};
use firesteel_common::{Error, ErrorCode, Result};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq, Ne};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What differs between processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether it may make sockets of the internet, and connect them.
    pub dials: bool,
    /// Whether it may take connections.
    pub listens: bool,
    /// Whether modes, owners and times of files must not be changed, since nothing else protects them.
    pub guards_files: bool,
}

/// Kinds of sockets that a process which dials may make. Not those of this machine: whoever answers there
/// takes the user for a friend.
const DIALLED: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Their protocols: the default, TCP and UDP. Others know nothing of the limits that bind TCP.
const PROTOCOLS: [i32; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
/// Bits of a mode that lend a user's rights to whoever runs the file.
const LENDING: u64 = 0o6000;

/// Applies the filter to this process.
pub fn apply(wanted: Wanted) -> Result<()> {
    load(&rules(wanted)?, libc::EPERM)?;
    // Told that there is none of these, callers use older ones, whose arguments a filter can look at.
    load(&UNKNOWN.iter().map(|call| (*call, Vec::new())).collect(), libc::ENOSYS)?;
    seccompiler::apply_filter(&newest()).map_err(failed)
}

fn rules(wanted: Wanted) -> Result<Rules> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let spaces = NAMESPACES.iter().map(|flag| any(0, u64::from(flag.unsigned_abs())));
    rules.insert(libc::SYS_clone, spaces.collect::<Result<_>>()?);
    // Pushing input into a terminal that is somebody else's.
    let terminal = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| one(1, Eq, request));
    rules.insert(libc::SYS_ioctl, terminal.into_iter().collect::<Result<_>>()?);
    // Of other processes, even of the same user. (A process's own number is refused too; 0 means the same.)
    for (call, argument) in OTHERS {
        rules.insert(call, vec![one(argument, Ne, 0)?]);
    }
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        let itself = u64::from(call == libc::SYS_ioprio_set);
        rules.insert(call, vec![one(0, Ne, itself)?, one(1, Ne, 0)?]);
    }
    sockets(wanted, &mut rules)?;
    modes(wanted, &mut rules)?;
    Ok(rules)
}

/// Calls that change another process if one argument is its number.
const OTHERS: [(i64, u8); 5] = [
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
];

fn sockets(wanted: Wanted, rules: &mut Rules) -> Result<()> {
    let families: &[i32] = if wanted.dials { &DIALLED } else { &[] };
    let other = |argument, allowed: &[i32]| {
        let all = allowed.iter().map(|one| condition(argument, Ne, u64::from(one.unsigned_abs())));
        rule(all.collect::<Result<_>>()?)
    };
    if families.is_empty() {
        // What it is given is connected already, and shall stay so.
        rules.insert(libc::SYS_socket, Vec::new());
        rules.insert(libc::SYS_connect, Vec::new());
    } else {
        let raw = one_masked(1, 0xf, u64::from(libc::SOCK_RAW.unsigned_abs()))?;
        rules.insert(libc::SYS_socket, vec![other(0, families)?, other(2, &PROTOCOLS)?, raw]);
    }
    if !wanted.listens {
        for call in [libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4] {
            rules.insert(call, Vec::new());
        }
    }
    // One of a pair of datagram sockets can send elsewhere.
    let datagrams = one_masked(1, 0xf, u64::from(libc::SOCK_DGRAM.unsigned_abs()))?;
    rules.insert(libc::SYS_socketpair, vec![datagrams]);
    // It connects without `connect`.
    let fast_open = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(call, vec![any(flags, fast_open)?]);
    }
    Ok(())
}

/// No file is made that lends rights; and modes, owners and times stay if nothing else sees to that.
fn modes(wanted: Wanted, rules: &mut Rules) -> Result<()> {
    let bits = || [0o4000, 0o2000_u64];
    let changes: &[(i64, u8)] = &[
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_mknodat, 2),
        (libc::SYS_mkdirat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_chmod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mkdir, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_creat, 1),
    ];
    for (call, mode) in changes {
        rules.insert(*call, bits().map(|bit| any(*mode, bit)).into_iter().collect::<Result<_>>()?);
    }
    // The mode means something only where a file may be made.
    let opens: &[(i64, u8)] = &[
        (libc::SYS_openat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, 1),
    ];
    let creates = u64::from(libc::O_CREAT.unsigned_abs());
    for (call, flags) in opens {
        let of = |bit| rule(vec![masked(*flags, creates, creates)?, masked(flags + 1, bit, bit)?]);
        rules.insert(*call, bits().map(of).into_iter().collect::<Result<_>>()?);
    }
    if wanted.guards_files {
        super::calls::CHANGES.iter().for_each(|call| drop(rules.insert(*call, Vec::new())));
    }
    debug_assert_eq!(bits().iter().sum::<u64>(), LENDING);
    Ok(())
}

fn load(rules: &Rules, errno: i32) -> Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules.clone(), SeccompAction::Allow, refuse, arch).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    seccompiler::apply_filter(&program).map_err(failed)
}

/// Four instructions: the number of the call, and ENOSYS if it is greater than the newest that is known. The
/// calls of the x32 ABI have numbers above a thousand million.
fn newest() -> BpfProgram {
    let statement = |code: u32, k: u32| seccompiler::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let newer = statement(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, NEWEST);
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        seccompiler::sock_filter { jt: 0, jf: 1, ..newer },
        statement(libc::BPF_RET | libc::BPF_K, refuse),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ]
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, Dword, operator, value).map_err(failed)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, Qword, MaskedEq(mask), value).map_err(failed)
}

fn one(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    rule(vec![condition(argument, operator, value)?])
}

fn one_masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule> {
    rule(vec![masked(argument, mask, value)?])
}

/// Whether this bit is set.
fn any(argument: u8, bit: u64) -> Result<SeccompRule> {
    one_masked(argument, bit, bit)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(failed)
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::Io, format!("the filter: {cause}"))
}
