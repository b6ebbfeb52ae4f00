//! What the processes of an application print: a piece of it, all of it as it comes, and who they are.

use super::caller::Caller;
use super::failure::Failure;
use super::streams::{PIECE, Place, follows};
use super::{Daemon, deadline, parse_id};
use crate::board::no_such_app;
use crate::logs::{Wanted, Watched};
use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Json, Path, Query};
use firesteel_common::Error;
use firesteel_common::http::LogSource;
use firesteel_common::id::AppId;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

/// The most bytes of one answer that does not go on.
const ANSWER_MAX: usize = 1024 * 1024;
/// What stands in an answer that goes on where bytes were dropped before they could be sent.
const DROPPED: &str = "[earlier output was dropped]\n";

/// What is wanted of the output.
#[derive(Deserialize)]
pub(super) struct LogsQuery {
    /// The offset of the first byte.
    #[serde(default)]
    from: u64,
    /// How long to wait if there is nothing, in milliseconds; 60,000 at most.
    wait_ms: Option<u64>,
    /// Only what this process has printed: `driver`, or `executor on worker-2`.
    source: Option<String>,
    /// `1` for plain text that goes on until the application's last word.
    follow: Option<String>,
}

/// `GET /applications/{app}/logs`: the output from an offset on, or nothing after some time.
pub(super) async fn get(
    daemon: Data<Daemon>,
    caller: Caller,
    app: Path<String>,
    query: Query<LogsQuery>,
) -> Result<HttpResponse, Failure> {
    let app: AppId = parse_id(&app)?;
    let LogsQuery { from, wait_ms, source, follow } = query.into_inner();
    let owner = daemon.shared.board.app(app).ok_or_else(|| no_such_app(app))?.owner;
    caller.must_own(&owner, "logs", app)?;
    if follows(follow.as_deref())? {
        let place = daemon.streams.take(&caller.principal)?;
        return Ok(stream(Follower { daemon, app, from, source, ended: false, _place: place }));
    }
    let deadline = deadline(wait_ms);
    loop {
        let watched = read(&daemon, app, &Wanted { from, source: source.as_deref(), max: ANSWER_MAX });
        let piece = watched.piece;
        if !piece.text.is_empty() || piece.end || Instant::now() >= deadline {
            return Ok(HttpResponse::Ok().json(piece));
        }
        let until = watched.look_again.map_or(deadline, |look| deadline.min(Instant::from_std(look)));
        if timeout_at(until, watched.more).await.is_err() && until == deadline {
            return Ok(HttpResponse::Ok().json(piece));
        }
    }
}

/// `GET /applications/{app}/logs/sources`
pub(super) async fn sources(
    daemon: Data<Daemon>,
    caller: Caller,
    app: Path<String>,
) -> Result<Json<Vec<LogSource>>, Failure> {
    let app: AppId = parse_id(&app)?;
    let owner = daemon.shared.board.app(app).ok_or_else(|| no_such_app(app))?.owner;
    caller.must_own(&owner, "logs", app)?;
    Ok(Json(daemon.shared.logs.sources(app)))
}

fn read(daemon: &Daemon, app: AppId, wanted: &Wanted<'_>) -> Watched {
    let ended = !daemon.shared.board.runs(app);
    daemon.shared.logs.read(app, wanted, ended)
}

/// A client that follows the output.
struct Follower {
    daemon: Data<Daemon>,
    app: AppId,
    from: u64,
    source: Option<String>,
    ended: bool,
    _place: Place,
}

fn stream(follower: Follower) -> HttpResponse {
    let pieces = unfold(follower, async |mut follower| {
        let text = follower.next().await?;
        Some((Ok::<_, Error>(Bytes::from(text)), follower))
    });
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").streaming(Box::pin(pieces))
}

impl Follower {
    /// The next piece, when there is one; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        while !self.ended {
            let wanted = Wanted { from: self.from, source: self.source.as_deref(), max: PIECE };
            let watched = read(&self.daemon, self.app, &wanted);
            let piece = watched.piece;
            (self.from, self.ended) = (piece.next, piece.end);
            if piece.truncated && !piece.text.is_empty() {
                return Some(format!("{DROPPED}{}", piece.text));
            }
            if !piece.text.is_empty() {
                return Some(piece.text);
            }
            match watched.look_again.filter(|_| !self.ended) {
                Some(look) => {
                    // Whether it came or not, it is looked at next.
                    let _ = timeout_at(Instant::from_std(look), watched.more).await;
                }
                None if !self.ended => watched.more.await,
                None => {}
            }
        }
        None
    }
}
