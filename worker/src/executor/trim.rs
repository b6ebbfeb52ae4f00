//! Memory that tasks have freed and the allocator keeps for later, given back to the system.
#![expect(
    unsafe_code,
    reason = "the allocator is told so by a call of the C library; the proof stands beside it"
)]

/// Gives it back. Whoever needs it next pays for fresh pages, so it is worth it only where memory is short.
#[cfg(target_env = "gnu")]
pub fn trim() {
    // SAFETY: it takes a number, and may be called by any thread at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Nothing: other C libraries keep little.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}
