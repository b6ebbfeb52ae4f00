//! What the system says of a process: its memory and its processor time, read from `/proc`.

use firesteel_common::error::{Error, ErrorCode, Result};

/// Clock ticks of `/proc/PID/stat` in a second (USER_HZ of Linux on every platform).
const TICKS: f64 = 100.0;

/// Memory of a process in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What is resident now.
    pub resident: f64,
    /// What was resident at most.
    pub peak: f64,
}

/// How much memory a process has.
///
/// # Errors
/// If it does not run.
pub fn memory(pid: u32) -> Result<Memory> {
    let text = read(pid, "status")?;
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    mib("VmRSS:")
        .zip(mib("VmHWM:"))
        .map(|(resident, peak)| Memory { resident, peak })
        .ok_or_else(|| gone(pid))
}

/// Processor time that a process has used so far, of all its threads, in seconds.
///
/// # Errors
/// If it does not run.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = read(pid, "stat")?;
    // The name of the program stands in parentheses and may hold anything; user and system time are the 12th
    // and 13th field behind it.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) / TICKS),
        _ => Err(gone(pid)),
    }
}

fn gone(pid: u32) -> Error {
    Error::new(ErrorCode::ProcessDied, format!("process {pid} has ended"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|cause| Error::io(format!("looking at process {pid}"), &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() -> Result<()> {
        let pid = std::process::id();
        let memory = memory(pid)?;
        assert!(memory.resident > 0.5 && memory.peak >= memory.resident, "{memory:?}");
        let mut sum = 0u64;
        while cpu_seconds(pid)? < 0.02 {
            sum = (0..1_000_000).fold(sum, |sum, n: u64| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert_ne!(sum, 1);
        assert!(cpu_seconds(u32::MAX).is_err());
        Ok(())
    }
}
