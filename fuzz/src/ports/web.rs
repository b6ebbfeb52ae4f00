//! Clients of the HTTP daemon, with and without the token: several requests on one connection, each a real
//! one with changes.

use super::Tally;
use super::wire::Way;
use crate::mutate::{Rng, mutate};
use firesteel_common::error::{Error, ErrorCode, Result};
use std::io::Write;
use std::time::Duration;

/// Requests of one connection.
const TOGETHER: usize = 6;
/// How long nothing may be heard before the client says that it has said all.
const QUIET: Duration = Duration::from_millis(60);

/// Method and path of real requests, with their bodies. None of the bodies is accepted as it is: this is not
/// about what applications do.
const REQUESTS: [(&str, &str, &str); 22] = [
    ("GET", "/healthz", ""),
    ("GET", "/readyz", ""),
    ("GET", "/", ""),
    ("GET", "/api/firesteel/v1/whoami", ""),
    ("GET", "/api/firesteel/v1/applications?offset=0&limit=10", ""),
    ("GET", "/api/firesteel/v1/applications/app-1?wait_ms=1", ""),
    ("GET", "/api/firesteel/v1/applications/app-1/progress", ""),
    ("GET", "/api/firesteel/v1/applications/app-1/result", ""),
    ("GET", "/api/firesteel/v1/applications/app-1/logs?from=0&wait_ms=1", ""),
    ("GET", "/api/firesteel/v1/applications/app-1/events?from=0&wait_ms=1", ""),
    ("POST", "/api/firesteel/v1/applications/app-1/kill", ""),
    ("GET", "/api/firesteel/v1/workers?alive=0&wait_ms=1", ""),
    ("POST", "/api/firesteel/v1/workers/nobody/drain", ""),
    ("GET", "/api/firesteel/v1/plugins", ""),
    ("POST", "/api/firesteel/v1/plugins", "\u{7f}ELF\u{2}\u{1}\u{1}"),
    ("DELETE", "/api/firesteel/v1/tokens/nobody", ""),
    ("GET", "/api/firesteel/v1/metrics", ""),
    ("GET", "/api/firesteel/v1/audit?lines=5", ""),
    ("POST", "/api/firesteel/v1/applications", "{\"plugin\":\"zz\",\"entry\":\"e\",\"args\":{\"a\":\"1\"}}"),
    ("POST", "/api/firesteel/v1/applications", "{\"sql\":\" \",\"conf\":{\"spark.cores.max\":\"4\"}}"),
    ("POST", "/api/firesteel/v1/tokens", "{\"name\":\"\",\"role\":\"viewer\"}"),
    ("GET", "/login/0000000000000000000000000000000000000000000000000000000000000000", ""),
];

/// One connection with several requests.
///
/// # Errors
/// `INTERNAL` if an answer says that something is wrong inside; `UNREACHABLE` if it cannot connect.
pub(super) fn call(rng: &mut Rng, way: &Way, address: &str, token: &str, tally: &mut Tally) -> Result<()> {
    let mut wire = way.connect(address)?;
    let mut words = Vec::new();
    // What follows one that is no request is not read; so it is the last, mostly.
    for number in 1..=TOGETHER {
        let changed = number == TOGETHER || rng.below(8) == 0;
        words.extend(request(rng, address, token, changed));
    }
    words.extend(
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").into_bytes(),
    );
    tally.requests += TOGETHER as u64;
    tally.cut_off += u64::from(wire.write_all(&words).is_err());
    // A changed request may wait for a body; then it hears that there is none.
    let mut answer = Vec::new();
    wire.wait_at_most(QUIET);
    let mut silent = wire.hear(8 << 20, &mut answer);
    if silent {
        drop(wire.finish());
        wire.wait_at_most(super::PATIENCE);
        silent = wire.hear(8 << 20, &mut answer);
    }
    tally.silent += u64::from(silent);
    check(&answer, &words, tally)
}

fn request(rng: &mut Rng, host: &str, token: &str, changed: bool) -> Vec<u8> {
    let (method, path, body) = REQUESTS[rng.below(REQUESTS.len())];
    let bearer = match rng.below(4) {
        0 => "Authorization: Bearer 00\r\n".to_owned(),
        1 => String::new(),
        _ => format!("Authorization: Bearer {token}\r\n"),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{bearer}");
    if !body.is_empty() {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    let mut words = [head.as_bytes(), b"\r\n", body.as_bytes()].concat();
    if changed {
        let others: [&[u8]; 5] = [
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Length: 7\r\n",
            b"%2e%2e%2f",
            b"\r\n\r\n",
            b"Upgrade: h2c\r\n",
        ];
        mutate(rng, &mut words, &others.map(<[u8]>::to_vec));
    }
    words
}

/// Counts the answers by their class.
fn check(answer: &[u8], words: &[u8], tally: &mut Tally) -> Result<()> {
    for line in answer.split(|byte| *byte == b'\n') {
        let Some(status) = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) else { continue };
        tally.answered += 1;
        match status {
            [b'2' | b'3', ..] => tally.accepted += 1,
            // A daemon that has too much to do says so.
            [b'4', ..] | b"503" => tally.refused += 1,
            _ => {
                let (status, words) = (String::from_utf8_lossy(status), String::from_utf8_lossy(words));
                let what = format!("the daemon answers with {status} to one of these:\n{words}");
                return Err(Error::new(ErrorCode::Internal, what));
            }
        }
    }
    Ok(())
}
