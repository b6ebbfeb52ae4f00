//! A master that must not outlive its parent.

use firesteel_common::{Error, ErrorCode};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Asks for SIGTERM at the death of the parent, which must be the process `parent`.
///
/// # Errors
/// `UNREACHABLE` if that process is not (any more) the parent; `IO` if the system refuses.
pub(crate) fn die_with(parent: u32) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|cause| Error::io("asking to die with the parent", &cause.into()))?;
    // The parent may have died before the line above; then its signal never comes.
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(now).ok() == Some(parent) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Unreachable, format!("process {parent}, which started this master, is gone")))
}
