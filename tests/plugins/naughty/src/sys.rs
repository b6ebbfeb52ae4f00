//! What a safe program cannot do: system calls by number, crashes, and processes that nobody waits for.
#![expect(unsafe_code, reason = "what a sandbox holds against is not to be had by safe code")]

use std::io::{Error, Read, Result, Write};
use std::time::Duration;

/// Makes a system call. Pointers among `arguments` are the caller's care; what is tried here is either null,
/// or points to something that lives until this returns.
pub fn call(number: i64, arguments: [usize; 6]) -> Result<i64> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: see above; and a call that succeeds against all expectation changes no memory of this process.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(answer) }
}

/// Writes where nothing is.
pub fn touch_nothing() {
    let nowhere: *mut u8 = std::ptr::without_provenance_mut(std::hint::black_box(8));
    // SAFETY: it is not safe: the process is to be killed for it.
    unsafe { nowhere.write_volatile(1) }
}

/// Frees one piece of memory twice.
pub fn free_twice() {
    // SAFETY: it is not safe: the allocator is to notice, and to end the process.
    unsafe {
        let memory = std::hint::black_box(libc::malloc(64));
        libc::free(memory);
        libc::free(std::hint::black_box(memory));
    }
}

/// Lets SIGTERM pass.
pub fn ignore_sigterm() {
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Makes a process that sleeps.
pub fn fork_sleeper(life: Duration) -> Result<i64> {
    let child = fork()?;
    if child == 0 {
        sleep_and_die(life);
    }
    Ok(child)
}

/// Leaves a process behind that has forgotten its parent and would be in a session of its own. Says which.
pub fn leave_behind(life: Duration) -> String {
    let (mut read, mut write) = match std::io::pipe() {
        Ok(pipe) => pipe,
        Err(cause) => return cause.to_string(),
    };
    match fork() {
        Err(cause) => return cause.to_string(),
        Ok(0) => {
            let _ = call(libc::SYS_setsid, [0; 6]);
            if let Ok(0) = fork() {
                let own = call(libc::SYS_getpid, [0; 6]).unwrap_or_default();
                let _ = write.write_all(&own.to_le_bytes());
                sleep_and_die(life);
            }
            exit_now();
        }
        Ok(_) => drop(write),
    }
    let mut bytes = [0; 8];
    match read.read_exact(&mut bytes) {
        Ok(()) => i64::from_le_bytes(bytes).to_string(),
        Err(cause) => cause.to_string(),
    }
}

/// Writes what is no message to every socket that this process has from its parent.
pub fn babble() -> String {
    let mut said = 0;
    for fd in 0..1024 {
        let nonsense = [0xff_u8; 64];
        let mut kind = [0_u8; 128];
        let mut len = 128_u32;
        let (kind, len) = (kind.as_mut_ptr().expose_provenance(), (&raw mut len).expose_provenance());
        // Only sockets have a name.
        if call(libc::SYS_getpeername, [fd, kind, len, 0, 0, 0]).is_ok() {
            let text = nonsense.as_ptr().expose_provenance();
            said += usize::from(call(libc::SYS_write, [fd, text, nonsense.len(), 0, 0, 0]).is_ok());
        }
    }
    std::thread::sleep(Duration::from_secs(5));
    format!("{said} sockets heard nonsense")
}

/// Uses memory that counts as a file's: shared, and anonymous.
pub fn share_memory(bytes: u64) -> String {
    let len = usize::try_from(bytes).unwrap_or_default();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which nothing else knows; it is written within its length.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Error::last_os_error().to_string();
    }
    // SAFETY: as above.
    unsafe { memory.write_bytes(7, len) };
    std::thread::sleep(Duration::from_secs(2));
    format!("it survived {bytes} bytes of shared memory")
}

fn fork() -> Result<i64> {
    call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0])
}

/// For a process that was forked off one with threads: system calls only.
fn sleep_and_die(life: Duration) -> ! {
    let time = [life.as_secs(), 0_u64];
    let _ = call(libc::SYS_nanosleep, [time.as_ptr().expose_provenance(), 0, 0, 0, 0, 0]);
    exit_now()
}

fn exit_now() -> ! {
    // SAFETY: ends this process without asking anything in it.
    unsafe { libc::_exit(0) }
}
