//! What ends or clogs the process that does it. Loops have an end, far behind what a limit should allow.

use crate::sys;
use std::io::Write;
use std::time::{Duration, Instant};

/// The longest that anything here lasts.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// The bytes that are eaten at most.
const MEMORY_MAX: u64 = 2 << 30;
/// The processes that are made at most.
const FORKS_MAX: u64 = 3_000;
/// The descriptors that are opened at most.
const DESCRIPTORS_MAX: u64 = 200_000;

/// Does it, and says what came of it if that can still be said.
pub fn perform(deed: &str, amount: u64) -> String {
    match deed {
        "panic" => assert!(deed.is_empty(), "it was told to panic"),
        "segfault" => sys::touch_nothing(),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(i32::try_from(amount).unwrap_or_default()),
        "loop" => spin(),
        "ignore-sigterm" => {
            sys::ignore_sigterm();
            println!("SIGTERM is ignored");
            spin();
        }
        "double-free" => sys::free_twice(),
        "overflow" => return deep(amount).to_string(),
        "memory-slowly" => eat(amount.min(MEMORY_MAX), 1 << 20),
        "memory-at-once" => eat(amount.min(MEMORY_MAX), amount.min(MEMORY_MAX)),
        "memory-shared" => return sys::share_memory(amount.min(MEMORY_MAX)),
        "forks" => return forks(amount.min(FORKS_MAX)),
        "descriptors" => return descriptors(amount.min(DESCRIPTORS_MAX)),
        "print" => print(amount.min(MEMORY_MAX)),
        "leave" => return sys::leave_behind(LIFE_MAX),
        "babble" => return sys::babble(),
        "nothing" => {}
        other => return format!("'{other}' is no deed"),
    }
    format!("it survived {deed}")
}

fn spin() {
    let start = Instant::now();
    while start.elapsed() < LIFE_MAX {
        std::hint::spin_loop();
    }
}

fn deep(left: u64) -> u64 {
    let here = std::hint::black_box([left; 64]);
    if left == 0 { 0 } else { deep(left - 1) + std::hint::black_box(here)[0] % 2 }
}

/// Touches every page, so that the memory is really used, and keeps it.
fn eat(bytes: u64, piece: u64) {
    let mut eaten = Vec::new();
    let start = Instant::now();
    while (eaten.len() as u64) * piece < bytes && start.elapsed() < LIFE_MAX {
        eaten.push(std::hint::black_box(vec![7_u8; usize::try_from(piece).unwrap_or_default()]));
        if piece < bytes {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // Whoever watches gets to see it.
    std::thread::sleep(Duration::from_secs(2));
    std::hint::black_box(eaten);
}

fn forks(amount: u64) -> String {
    for number in 0..amount {
        if let Err(cause) = sys::fork_sleeper(LIFE_MAX) {
            return format!("{number} processes, then: {cause}");
        }
    }
    format!("{amount} processes")
}

fn descriptors(amount: u64) -> String {
    let mut open = Vec::new();
    for number in 0..amount {
        match std::fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(cause) => {
                drop(open);
                return format!("{number} descriptors, then: {cause}");
            }
        }
    }
    format!("{} descriptors", open.len())
}

fn print(bytes: u64) {
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    let mut out = std::io::stdout().lock();
    for _ in 0..bytes / 1024 {
        if out.write_all(&line).is_err() {
            return;
        }
    }
}
