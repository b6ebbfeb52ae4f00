//! Real text of this machine: what documentation and sources are installed, joined into one file.

use firesteel_common::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where text is looked for, in this order; `~` is the home directory.
const ROOTS: [&str; 5] =
    ["/usr/share/doc", "/usr/share/perl", "/usr/share", "/usr/lib/python3", "~/.cargo/registry/src"];
/// A longer line is data, not text.
const LINE_MAX: usize = 10_000;
/// A longer file is left out.
const FILE_MAX: u64 = 16 << 20;

/// What was collected.
pub struct Collected {
    /// Bytes of the file.
    pub bytes: u64,
    /// From how many files.
    pub files: usize,
}

/// Writes text into `path` until it has `wanted` bytes (or, with `repeat`, again from the beginning when
/// there is no more).
///
/// # Errors
/// If the file cannot be written, or no text is found at all.
pub fn collect(path: &Path, wanted: u64, repeat: bool) -> Result<Collected> {
    let failed = |cause: std::io::Error| Error::io(format!("writing {}", path.display()), &cause);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let mut done = Collected { bytes: 0, files: 0 };
    loop {
        let before = done.bytes;
        for root in ROOTS {
            let root = match (root.strip_prefix("~/"), std::env::var_os("HOME")) {
                (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
                _ => PathBuf::from(root),
            };
            walk(&root, &mut |file| {
                if let Some(text) = read_text(file) {
                    out.write_all(&text).map_err(failed)?;
                    done.bytes += text.len() as u64;
                    done.files += 1;
                }
                Ok(done.bytes < wanted)
            })?;
        }
        if done.bytes == before {
            return Err(
                crate::failed("no text was found on this machine").with_help("give a file or a directory")
            );
        }
        if done.bytes >= wanted || !repeat {
            break;
        }
    }
    out.flush().map_err(failed)?;
    Ok(done)
}

/// Calls `visit` for every regular file below `dir`, in the order of names, until it says no.
fn walk(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<bool>) -> Result<bool> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(true) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let go_on = if metadata.is_dir() {
            walk(&path, visit)?
        } else if metadata.is_file() && metadata.len() <= FILE_MAX {
            visit(&path)?
        } else {
            true
        };
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The content of a file if it is text, with every blank but the line end as a space.
fn read_text(path: &Path) -> Option<Vec<u8>> {
    let mut text = std::fs::read(path).ok()?;
    let is_text = !text.is_empty() && !text.contains(&0) && std::str::from_utf8(&text).is_ok();
    if !is_text || text.split(|byte| *byte == b'\n').any(|line| line.len() > LINE_MAX) {
        return None;
    }
    for byte in &mut text {
        if matches!(*byte, b'\t' | b'\r' | 0x0b | 0x0c | 0x1c..=0x1f) {
            *byte = b' ';
        }
    }
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    Some(text)
}
