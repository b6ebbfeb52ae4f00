//! Running cargo and other tools, with a line that says what and how long.

use crate::failed;
use firesteel_common::error::{Error, Result};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs a command to its end; its output is the user's.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn step(command: &mut Command) -> Result<()> {
    let text = words(command);
    eprintln!("\n==> {text}");
    let begin = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|cause| Error::io(format!("starting {text}"), &cause))?;
    eprintln!("==> {:.1} s", begin.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(failed(format!("{text}: {status}"))) }
}

/// What a command prints on stdout.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let text = words(command);
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| Error::io(format!("starting {text}"), &cause))?;
    if !done.status.success() {
        return Err(failed(format!("{text}: {}", done.status)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// `cargo ARGS…`, with the cargo that has built this.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Whether a tool can be started.
pub fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdin(Stdio::null()).output().is_ok_and(|done| done.status.success())
}

fn words(command: &Command) -> String {
    let args = std::iter::once(command.get_program()).chain(command.get_args());
    args.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
