//! The event log of an application: lines of it, or all of it as server-sent events.
//!
//! The id of an event is the number of its line, so a client that comes back goes on where it was. When the
//! application has ended and all was sent there is an event of the type `end`; a client that comes back after
//! it is told with 204 that nothing will follow, as browsers want it.

use super::caller::Caller;
use super::failure::Failure;
use super::streams::{PIECE, Place, follows};
use super::workers::stopping;
use super::{Daemon, deadline, parse_id};
use crate::actor::Progress;
use crate::board::no_such_app;
use crate::events::reader_gone;
use actix_web::http::header::ACCEPT;
use actix_web::web::{self, Bytes, Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use firesteel_common::id::AppId;
use firesteel_common::{Error, ErrorCode};
use futures_util::stream::unfold;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// The most bytes of one answer that does not go on.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// How long there may be nothing to send before the client hears that the master lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What a client sends that comes back: the id of the last event that it has.
const LAST_EVENT_ID: &str = "Last-Event-ID";
/// The format of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

/// What is wanted of the event log.
#[derive(Deserialize)]
pub(super) struct EventsQuery {
    /// The number of the first line, from 0.
    #[serde(default)]
    from: u64,
    /// How long to wait if there is nothing, in milliseconds; 60,000 at most.
    wait_ms: Option<u64>,
    /// `1` for server-sent events until the end, as with `Accept: text/event-stream`; the header
    /// `Last-Event-ID` then says what the client has.
    follow: Option<String>,
}

/// `GET /applications/{app}/events`
pub(super) async fn get(
    daemon: Data<Daemon>,
    caller: Caller,
    http: HttpRequest,
    app: Path<String>,
    query: Query<EventsQuery>,
) -> Result<HttpResponse, Failure> {
    let app: AppId = parse_id(&app)?;
    let mut reader = Reader { daemon, app, from: query.from };
    daemon_knows(&reader)?;
    let accepts = http.headers().get(ACCEPT).and_then(|text| text.to_str().ok());
    if follows(query.follow.as_deref())? || accepts.is_some_and(|text| text.contains(EVENT_STREAM)) {
        let last = last_event_id(&http)?;
        reader.from = last.map_or(reader.from, |last| last.saturating_add(1));
        if last.is_some() && matches!(reader.read(PIECE).await?, (lines, true) if lines.is_empty()) {
            return Ok(HttpResponse::NoContent().finish());
        }
        let place = reader.daemon.streams.take(&caller.principal)?;
        return Ok(stream(Follower { reader, begun: false, ended: false, _place: place }));
    }
    let deadline = deadline(query.wait_ms);
    loop {
        let more = reader.daemon.shared.events.watch(app);
        let (lines, ended) = reader.read(ANSWER_MAX).await?;
        if !lines.is_empty() || ended || timeout_at(deadline, more).await.is_err() {
            return Ok(HttpResponse::Ok().content_type("application/jsonl").body(lines));
        }
    }
}

fn daemon_knows(reader: &Reader) -> Result<(), Error> {
    reader.daemon.shared.board.app(reader.app).map(drop).ok_or_else(|| no_such_app(reader.app))
}

fn last_event_id(http: &HttpRequest) -> Result<Option<u64>, Error> {
    let Some(header) = http.headers().get(LAST_EVENT_ID) else { return Ok(None) };
    let number = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Error::new(ErrorCode::BadRequest, "the header Last-Event-ID is not the id of an event");
    number.map(Some).ok_or_else(wrong)
}

/// Who reads a log, and from which line on.
struct Reader {
    daemon: Data<Daemon>,
    app: AppId,
    from: u64,
}

impl Reader {
    /// The next lines, and whether nothing will follow what there is.
    async fn read(&self, max: usize) -> Result<(Vec<u8>, bool), Error> {
        let (app, from) = (self.app, self.from);
        // An outcome is told before its event is written; when the scheduler has forgotten the application,
        // it is.
        let ended = !self.daemon.shared.board.runs(app)
            && self.daemon.actor.send(Progress(app)).await.map_err(|_| stopping())?.0.is_none();
        let events = self.daemon.shared.events.clone();
        let lines = web::block(move || events.read(app, from, max)).await.map_err(|_| reader_gone())??;
        Ok((lines, ended))
    }
}

/// A client that follows the log.
struct Follower {
    reader: Reader,
    begun: bool,
    ended: bool,
    _place: Place,
}

fn stream(follower: Follower) -> HttpResponse {
    let pieces = unfold(follower, async |mut follower| {
        let piece = follower.next().await.transpose()?;
        Some((piece.map(Bytes::from), follower))
    });
    HttpResponse::Ok().content_type(EVENT_STREAM).streaming(Box::pin(pieces))
}

impl Follower {
    /// The next events, or a sign of life; `None` after the end.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        if self.ended {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.begun, true) {
            // So that the client has the head at once.
            return Ok(Some(": the event log\n\n".to_owned()));
        }
        let until = Instant::now() + HEARTBEAT;
        loop {
            let more = self.reader.daemon.shared.events.watch(self.reader.app);
            let (lines, ended) = self.reader.read(PIECE).await.inspect_err(|_| self.ended = true)?;
            if !lines.is_empty() {
                let (text, count) = frames(&lines, self.reader.from);
                self.reader.from += count;
                return Ok(Some(text));
            }
            if ended {
                self.ended = true;
                return Ok(Some(end(&self.reader)));
            }
            if timeout(until.saturating_duration_since(Instant::now()), more).await.is_err() {
                return Ok(Some(": nothing new\n\n".to_owned()));
            }
        }
    }
}

/// Lines as events, the first with this id; and how many they are.
fn frames(lines: &[u8], first: u64) -> (String, u64) {
    let mut text = String::with_capacity(lines.len() * 5 / 4);
    let mut count = 0;
    for line in String::from_utf8_lossy(lines).lines() {
        text.push_str(&format!("id: {}\ndata: {line}\n\n", first + count));
        count += 1;
    }
    (text, count)
}

/// The last event: how the application ended. (It may be forgotten meanwhile.)
fn end(reader: &Reader) -> String {
    let status = reader.daemon.shared.board.app(reader.app);
    let state = status.map_or("", |status| status.state.as_str());
    format!("event: end\ndata: {{\"state\":\"{state}\"}}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_events_with_the_numbers_of_the_lines() {
        let (text, count) = frames(b"{\"a\":1}\n{\"b\":2}\n", 7);
        assert_eq!((text.as_str(), count), ("id: 7\ndata: {\"a\":1}\n\nid: 8\ndata: {\"b\":2}\n\n", 2));
        assert_eq!(frames(b"", 7).1, 0);
    }
}
