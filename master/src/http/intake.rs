//! Bodies of requests, each with a bound on its length and on its slowness.

use super::failure::Failure;
use actix_web::web::{Bytes, Payload};
use firesteel_common::{Error, ErrorCode};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The longest JSON body.
const JSON_MAX: usize = 2 * 1024 * 1024;
/// What a client is given for a body whatever its length.
const PATIENCE: Duration = Duration::from_secs(8);
/// How fast it must come beyond that, in bytes a second.
const RATE_MIN: u64 = 64 * 1024;

/// A body that comes in pieces.
pub(super) struct Body {
    payload: Payload,
    started: Instant,
    received: u64,
    max: u64,
}

impl Body {
    /// The body of a request, of at most `max` bytes.
    pub(super) fn new(payload: Payload, max: u64) -> Self {
        Self { payload, started: Instant::now(), received: 0, max }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let earned = Duration::from_secs(self.received / RATE_MIN);
        let piece = timeout_at(self.started + PATIENCE + earned, self.payload.next()).await;
        let piece = piece.map_err(|_| {
            let what = format!("the body came too slowly: {} bytes so far", self.received);
            Error::new(ErrorCode::BadRequest, what)
                .with_help(format!("send at least {RATE_MIN} bytes a second"))
        })?;
        let Some(piece) = piece.transpose().map_err(|cause| cut_short(&cause))? else { return Ok(None) };
        self.received += piece.len() as u64;
        if self.received > self.max {
            let what = format!("the body is longer than the {} bytes that are allowed", self.max);
            return Err(Error::new(ErrorCode::TooLarge, what));
        }
        Ok(Some(piece))
    }
}

fn cut_short(cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorCode::BadRequest, format!("the body is not whole: {cause}"))
}

/// Reads a JSON body.
pub(super) async fn read_json_body<T: DeserializeOwned>(payload: Payload) -> Result<T, Failure> {
    let mut body = Body::new(payload, JSON_MAX as u64);
    let mut text = Vec::new();
    while let Some(piece) = body.next().await? {
        text.extend_from_slice(&piece);
    }
    serde_json::from_slice(&text).map_err(|cause| {
        let what = format!("the body is not what is expected here: {cause}");
        Error::new(ErrorCode::BadRequest, what).into()
    })
}
