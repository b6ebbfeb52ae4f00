//! Attacks on what is around the process that makes them. Each is one line in, `name=argument`, and one line
//! out: the line, and `refused` or `DONE` with how.

use crate::sys::call;
use std::ffi::CString;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

const NO: usize = usize::MAX;
const SETUID: u32 = 0o4755;
/// As a `open_how` for `openat2`: create, write only, setuid.
const OPEN_HOW: [u64; 3] = [0o101, SETUID as u64, 0];

/// Tries every line.
pub fn try_all(lines: &str) -> Vec<String> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match attempt(line) {
            Ok(how) => format!("{line}: DONE {how}"),
            Err(cause) => format!("{line}: refused {cause}"),
        })
        .collect()
}

fn attempt(line: &str) -> Result<String> {
    let (name, argument) = line.split_once('=').unwrap_or((line, ""));
    match name {
        "read" | "list" | "link-of" | "write" | "remove" | "chmod" | "utime" | "chown" | "setuid-chmod"
        | "setuid-open" | "setuid-openat2" | "exec" | "link" => with_file(name, argument),
        "connect" | "udp" | "listen" | "unix" | "abstract" | "pair" | "raw" | "mptcp" => {
            with_socket(name, argument)
        }
        "kill" | "ptrace" | "vm" | "limits" | "affinity" | "nice" | "io-priority" | "scheduler"
        | "session-of" => with_process(name, argument),
        "environment" => {
            let all: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            Ok(all.join(" "))
        }
        "descriptors" => {
            let all = std::fs::read_dir("/proc/self/fd")?.flatten();
            let of = |path: std::path::PathBuf| std::fs::read_link(path).unwrap_or_default();
            let all: Vec<String> = all.map(|entry| of(entry.path()).display().to_string()).collect();
            Ok(all.join(" "))
        }
        "call" => by_number(argument),
        _ => Err(Error::new(ErrorKind::NotFound, "is no attack")),
    }
}

fn with_file(name: &str, path: &str) -> Result<String> {
    let named = CString::new(path)?;
    let pointer = named.as_ptr().expose_provenance();
    let here = libc::AT_FDCWD as usize;
    match name {
        "read" => {
            let mut byte = [0];
            // Some devices would have the reader wait.
            let options = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).clone();
            let read = options.open(path)?.read(&mut byte)?;
            Ok(format!("{read} bytes"))
        }
        "link-of" => Ok(std::fs::read_link(path)?.display().to_string()),
        "list" => Ok(format!("{} entries", std::fs::read_dir(path)?.count())),
        "write" => {
            std::fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(b"x")?;
            Ok("written".to_owned())
        }
        "remove" => std::fs::remove_file(path).map(|()| "removed".to_owned()),
        "link" => std::os::unix::fs::symlink("/", path).map(|()| "linked".to_owned()),
        "chmod" => {
            let mode = std::fs::metadata(path)?.permissions();
            std::fs::set_permissions(path, mode).map(|()| "changed".to_owned())
        }
        "utime" => call(libc::SYS_utimensat, [here, pointer, 0, 0, 0, 0]).map(|_| "changed".to_owned()),
        "chown" => {
            let file = std::fs::metadata(path)?;
            let (user, group) = (std::os::unix::fs::MetadataExt::uid(&file), NO);
            call(libc::SYS_fchownat, [here, pointer, user as usize, group, 0, 0])
                .map(|_| "changed".to_owned())
        }
        "setuid-chmod" => {
            std::fs::write(path, "")?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(SETUID)).map(|()| String::new())
        }
        "setuid-open" => {
            std::fs::OpenOptions::new().write(true).create_new(true).mode(SETUID).open(path)?;
            Ok(String::new())
        }
        "setuid-openat2" => {
            let how = OPEN_HOW.as_ptr().expose_provenance();
            call(libc::SYS_openat2, [here, pointer, how, size_of_val(&OPEN_HOW), 0, 0]).map(|_| String::new())
        }
        _ => {
            let done = std::process::Command::new(path).output()?;
            Ok(String::from_utf8_lossy(&done.stdout).into_owned())
        }
    }
}

fn with_socket(name: &str, address: &str) -> Result<String> {
    let family = libc::AF_INET as usize;
    match name {
        "connect" => {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            // As somebody who has no key, and no token.
            stream.write_all(b"GET /api/firesteel/v1/applications HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut answer = [0; 32];
            let read = stream.read(&mut answer).unwrap_or_default();
            Ok(format!("'{}'", String::from_utf8_lossy(&answer[..read]).escape_debug()))
        }
        "udp" => {
            UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", address)?;
            Ok("sent".to_owned())
        }
        "listen" if address.is_empty() => {
            // Without a bind, the system would choose the port.
            let fd = call(libc::SYS_socket, [family, libc::SOCK_STREAM as usize, 0, 0, 0, 0])?;
            call(libc::SYS_listen, [fd as usize, 1, 0, 0, 0, 0]).map(|_| "listening".to_owned())
        }
        "listen" => TcpListener::bind(address).map(|_| "listening".to_owned()),
        "unix" => UnixStream::connect(address).map(|_| "connected".to_owned()),
        "abstract" => {
            let address = SocketAddr::from_abstract_name(address)?;
            UnixStream::connect_addr(&address).map(|_| "connected".to_owned())
        }
        "pair" => {
            // One of a pair of datagram sockets can send elsewhere.
            let (one, _other) = UnixDatagram::pair()?;
            one.send_to(b"x", address).map(|_| "sent".to_owned())
        }
        "raw" => call(libc::SYS_socket, [family, libc::SOCK_RAW as usize, 1, 0, 0, 0])
            .map(|_| "a raw socket".to_owned()),
        _ => call(libc::SYS_socket, [family, libc::SOCK_STREAM as usize, 262, 0, 0, 0])
            .map(|_| "a socket of another protocol".to_owned()),
    }
}

fn with_process(name: &str, pid: &str) -> Result<String> {
    let pid: usize = pid.parse().map_err(Error::other)?;
    let done = |_| "allowed".to_owned();
    match name {
        "kill" => call(libc::SYS_kill, [pid, 0, 0, 0, 0, 0]).map(done),
        "ptrace" => call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, pid, 0, 0, 0, 0]).map(done),
        "vm" => {
            let piece = [0_usize; 2];
            let pointer = piece.as_ptr().expose_provenance();
            call(libc::SYS_process_vm_readv, [pid, pointer, 1, pointer, 1, 0]).map(done)
        }
        "limits" => {
            let mut limit = [0_u64; 2];
            let pointer = limit.as_mut_ptr().expose_provenance();
            call(libc::SYS_prlimit64, [pid, libc::RLIMIT_CORE as usize, 0, pointer, 0, 0]).map(done)
        }
        "affinity" => {
            let all = [u64::MAX; 16];
            let pointer = all.as_ptr().expose_provenance();
            call(libc::SYS_sched_setaffinity, [pid, size_of_val(&all), pointer, 0, 0, 0]).map(done)
        }
        "nice" => call(libc::SYS_setpriority, [0, pid, 0, 0, 0, 0]).map(done),
        "io-priority" => call(libc::SYS_ioprio_set, [1, pid, 2 << 13 | 4, 0, 0, 0]).map(done),
        "scheduler" => {
            let none = [0_u32; 1];
            call(libc::SYS_sched_setscheduler, [pid, 0, none.as_ptr().expose_provenance(), 0, 0, 0]).map(done)
        }
        _ => call(libc::SYS_setpgid, [0, pid, 0, 0, 0, 0]).map(done),
    }
}

/// Calls with arguments that mean nothing: what comes back says whether the kernel looked at them.
fn by_number(name: &str) -> Result<String> {
    let nowhere = [NO; 6];
    let (number, arguments) = match name {
        "mount" => (libc::SYS_mount, nowhere),
        "umount" => (libc::SYS_umount2, nowhere),
        "pivot_root" => (libc::SYS_pivot_root, nowhere),
        "chroot" => (libc::SYS_chroot, nowhere),
        "open_tree" => (libc::SYS_open_tree, nowhere),
        "move_mount" => (libc::SYS_move_mount, nowhere),
        "fsopen" => (libc::SYS_fsopen, nowhere),
        "mount_setattr" => (libc::SYS_mount_setattr, nowhere),
        "unshare" => (libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0, 0]),
        "setns" => (libc::SYS_setns, nowhere),
        "clone-user" => (libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as usize, 0, 0, 0, 0, 0]),
        "clone-parent" => (libc::SYS_clone, [(libc::CLONE_PARENT | libc::SIGCHLD) as usize, 0, 0, 0, 0, 0]),
        "clone3" => (libc::SYS_clone3, nowhere),
        "bpf" => (libc::SYS_bpf, nowhere),
        "io_uring_setup" => (libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        "io_uring_enter" => (libc::SYS_io_uring_enter, nowhere),
        "perf_event_open" => (libc::SYS_perf_event_open, nowhere),
        "userfaultfd" => (libc::SYS_userfaultfd, nowhere),
        "keyctl" => (libc::SYS_keyctl, [0, 0, 0, 0, 0, 0]),
        "add_key" => (libc::SYS_add_key, nowhere),
        "init_module" => (libc::SYS_init_module, nowhere),
        "kexec_load" => (libc::SYS_kexec_load, nowhere),
        "open_by_handle_at" => (libc::SYS_open_by_handle_at, nowhere),
        "setsid" => (libc::SYS_setsid, [0; 6]),
        "personality" => (libc::SYS_personality, [NO; 6]),
        "shmget" => (libc::SYS_shmget, [0, 4096, 0o1600, 0, 0, 0]),
        "semget" => (libc::SYS_semget, [0, 1, 0o1600, 0, 0, 0]),
        "msgget" => (libc::SYS_msgget, [0, 0o1600, 0, 0, 0, 0]),
        "mq_open" => (libc::SYS_mq_open, nowhere),
        "terminal-input" => (libc::SYS_ioctl, [NO, libc::TIOCSTI as usize, 0, 0, 0, 0]),
        "terminal-paste" => (libc::SYS_ioctl, [NO, 0x541c, 0, 0, 0, 0]),
        "x32" => (0x4000_0000 + libc::SYS_getpid, [0; 6]),
        "from-the-future" => (460 + 200, [0; 6]),
        "connect" => (libc::SYS_connect, nowhere),
        "accept" => (libc::SYS_accept4, nowhere),
        "fast-open" => (libc::SYS_sendto, [NO, 0, 0, libc::MSG_FASTOPEN as usize, 0, 0]),
        "fast-open-message" => (libc::SYS_sendmsg, [NO, 0, libc::MSG_FASTOPEN as usize, 0, 0, 0]),
        "fast-open-messages" => (libc::SYS_sendmmsg, [NO, 0, 0, libc::MSG_FASTOPEN as usize, 0, 0]),
        "terminal" => (libc::SYS_ioctl, [std::io::stdin().as_raw_fd() as usize, 0x5401, 0, 0, 0, 0]),
        _ => return Err(Error::new(ErrorKind::NotFound, "is no attack")),
    };
    let answer = call(number, arguments)?;
    if number == libc::SYS_clone && answer == 0 {
        std::process::exit(0);
    }
    Ok(answer.to_string())
}
