//! What the sandbox of this machine's children is: one child is started that confines itself as all of them
//! do, says what is in force, and ends.

use super::{Confinement, VARIABLE, incomplete};
use firesteel_common::sandbox::{Sandbox, SandboxMode};
use firesteel_common::{Error, ErrorCode, Result};
use std::process::{Command, Stdio};

/// Tries `like` out and says what is in force.
///
/// # Errors
/// In `require` mode, if something is missing; and if no child can be started.
pub fn probe(like: &Confinement) -> Result<Sandbox> {
    let failed = |cause: std::io::Error| Error::io("trying the sandbox out", &cause);
    let best = if like.mode == SandboxMode::Require { SandboxMode::BestEffort } else { like.mode };
    let wanted = Confinement { mode: best, probe: true, ..like.clone() };
    let text = serde_json::to_string(&wanted)
        .map_err(|cause| Error::new(ErrorCode::Internal, format!("encoding a sandbox: {cause}")))?;
    let program = std::env::current_exe().map_err(failed)?;
    let output = Command::new(program)
        .arg("executor")
        .env_clear()
        .env(VARIABLE, text)
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    let said = serde_json::from_slice::<Sandbox>(&output.stdout);
    let mut found = said.map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        Error::new(ErrorCode::Io, format!("trying the sandbox out: {} {}", output.status, said.trim()))
    })?;
    found.mode = like.mode;
    if like.mode == SandboxMode::Require && !found.missing.is_empty() {
        return Err(incomplete(&found));
    }
    for missing in &found.missing {
        tracing::warn!("sandbox: not in force: {missing}");
    }
    Ok(found)
}

/// Says what is in force, for the worker that asked.
///
/// # Errors
/// If nobody listens.
pub fn answer(found: &Sandbox) -> Result<()> {
    let failed = |cause: std::io::Error| Error::io("answering", &cause);
    let text = serde_json::to_vec(found).map_err(|cause| failed(cause.into()))?;
    std::io::Write::write_all(&mut std::io::stdout(), &text).map_err(failed)
}
