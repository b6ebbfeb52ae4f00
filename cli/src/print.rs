//! Output: data on stdout, talk on stderr, never the other way round, and nothing of a remote text that could
//! drive a terminal.

use crate::failure::{Failure, Outcome};
use firesteel_common::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many lines of an error's detail are shown when nobody asked for more.
const DETAIL_LINES: usize = 12;

static VERBOSE: AtomicBool = AtomicBool::new(false);
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Starts the log of this process on stderr. `FIRESTEEL_LOG` is its filter (`info`,
/// `firesteel_master=debug`).
pub fn start_logging(server: bool, verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
    let level = if verbose {
        "debug"
    } else if server {
        "info"
    } else {
        "warn"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("FIRESTEEL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // A log that cannot be written (a full disk) is no reason to panic.
        .log_internal_errors(false)
        .try_init();
}

/// Whether the user wants to hear more.
pub fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// A line for the user, on stderr.
pub fn talk(text: impl AsRef<str>) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// An error with its remedy, on stderr.
pub fn error(error: &Error) {
    talk(format!("error[{}]: {}", error.code, safe(&error.message)));
    let detail = safe(&error.detail);
    let shown = if VERBOSE.load(Ordering::Relaxed) { usize::MAX } else { DETAIL_LINES };
    for line in detail.lines().take(shown) {
        talk(format!("  | {line}"));
    }
    if detail.lines().count() > shown {
        talk("  | … (--verbose shows all of it)");
    }
    if !error.help.is_empty() {
        talk(format!("help: {}", safe(&error.help)));
    }
}

/// Text of another process without what could drive a terminal.
pub fn safe(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Whether nobody reads standard output any more: what follows something then has nothing left to do.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Data, on stdout. Nobody reading any more (`| head`) is not a failure, see [`is_closed`].
pub fn data(bytes: &[u8]) -> Outcome<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("writing to standard output", &cause))
        }
        Err(_) => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// A line of data.
pub fn line(text: impl AsRef<str>) -> Outcome<()> {
    data(format!("{}\n", text.as_ref()).as_bytes())
}

/// Data, into a file that is whole or not there; or on stdout without one.
pub fn data_to(bytes: &[u8], output: Option<&Path>) -> Outcome<()> {
    let Some(path) = output else {
        data(bytes)?;
        // A text ends with a line end where somebody reads it; a file gets the bytes as they are.
        let is_cut_text = !bytes.is_empty() && !bytes.ends_with(b"\n") && std::str::from_utf8(bytes).is_ok();
        return if is_cut_text { data(b"\n") } else { Ok(()) };
    };
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    std::fs::write(&name, bytes)
        .and_then(|()| std::fs::rename(&name, path))
        .inspect_err(|_| drop(std::fs::remove_file(&name)))
        .map_err(|cause| Failure::io(format!("writing {}", path.display()), &cause))
}

/// Rows with a header, columns aligned.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell_len = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|text| cell_len(text)).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell_len(text));
        }
    }
    let mut out = String::new();
    let mut push = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (width, text) in widths.iter().zip(cells) {
            let text = safe(text).replace(['\n', '\t'], " ");
            line.push_str(&format!("{text:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    push(&mut header.iter().copied());
    for row in rows {
        push(&mut row.iter().map(String::as_str));
    }
    out
}

/// A point in time as `2026-11-25 01:31:07 UTC`.
pub fn utc(ms_since_1970: u64) -> String {
    let seconds = ms_since_1970 / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date in the Gregorian calendar, with years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_570_267_123), "2026-11-25 01:31:07 UTC");
    }

    #[test]
    fn text_of_others_cannot_drive_the_terminal() {
        assert_eq!(safe("a\u{1b}[31mb\r\n\tc\u{7}"), "a[31mb\n\tc");
    }

    #[test]
    fn tables_are_aligned_and_have_no_blanks_at_line_ends() {
        let rows = vec![vec!["app-1".into(), "ü".into()], vec!["app-12".into(), String::new()]];
        assert_eq!(table(&["id", "name"], &rows), "id      name\napp-1   ü\napp-12\n");
    }
}
