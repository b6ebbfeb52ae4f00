//! Peers that know no key, at the control port and at data servers: they say a greeting that is almost right,
//! repeat what others have said, or speak something else.

use super::Tally;
use super::tap::Recording;
use super::wire::{Way, Wire, connect};
use crate::mutate::{Rng, mutate};
use crate::targets::greetings;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::hello::GREETING_LEN;
use std::io::Write;

/// One connection: says something, and hears no more than a greeting.
///
/// # Errors
/// `INTERNAL` if it hears more, which nobody does who has not proved a key; `UNREACHABLE` if it cannot
/// connect.
pub(super) fn call(
    rng: &mut Rng,
    way: &Way,
    address: &str,
    known: &[Recording],
    tally: &mut Tally,
) -> Result<()> {
    let words = words(rng, known);
    tally.requests += 1;
    // With TLS half of them do not come so far as to have a session.
    let is_raw = way.is_tls() && rng.below(2) == 0;
    let mut wire = if is_raw { Wire::Plain(connect(address)?) } else { way.connect(address)? };
    // The other end may be gone before all is said.
    let said = wire.write_all(&words).and_then(|()| wire.finish());
    tally.cut_off += u64::from(said.is_err());
    let mut answer = Vec::new();
    tally.silent += u64::from(wire.hear(16 << 10, &mut answer));
    tally.answered += u64::from(!answer.is_empty());
    // The certificate is no secret, and whoever begins a session sees it.
    let most = if is_raw { 8 << 10 } else { GREETING_LEN };
    if answer.len() > most {
        let what = format!("{address} answers a stranger with {} bytes", answer.len());
        return Err(Error::new(ErrorCode::Internal, what));
    }
    Ok(())
}

fn words(rng: &mut Rng, known: &[Recording]) -> Vec<u8> {
    let recorded = rng.pick(known).cloned();
    let replay = recorded.as_ref().map(|recorded| recorded.hello.clone()).unwrap_or_default();
    let mut words = match rng.below(10) {
        0 => {
            let len = rng.below(300);
            return rng.bytes(len);
        }
        1 => return Vec::new(),
        // Long ago somebody proved a key with these bytes; the master's greeting is another one now.
        2 => replay,
        3 | 4 => {
            let frames = recorded.map(|recorded| recorded.messages).unwrap_or_default();
            [replay, frames.iter().take(4).flat_map(|message| super::frame(message)).collect()].concat()
        }
        5 => {
            let messages = recorded.map(|recorded| recorded.messages).unwrap_or_default();
            rng.pick(&messages).map(|message| super::frame(message)).unwrap_or_default()
        }
        6 => b"GET /api/firesteel/v1/applications HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        7 => super::client_hello(),
        _ => {
            let all = greetings(rng);
            rng.pick(&all).cloned().unwrap_or_default()
        }
    };
    if rng.below(3) > 0 {
        mutate(rng, &mut words, &[b"FShi\x01\0\0\0".to_vec()]);
    }
    words
}
