//! Applications: how they are, and their end on request.

use super::caller::Caller;
use super::failure::Failure;
use super::workers::stopping;
use super::{Daemon, deadline, parse_id};
use crate::actor::{Fact, Progress};
use crate::board::no_such_app;
use crate::journal::Record;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpResponse, Responder};
use firesteel_common::http::{AppProgress, AppStatus};
use firesteel_common::id::AppId;
use firesteel_scheduler::event::Event;
use serde::Deserialize;
use tokio::time::timeout_at;

/// Entries of one answer at most.
const PAGE_MAX: usize = 1000;
/// Entries of one answer when the client does not say.
const PAGE: usize = 100;

#[derive(Deserialize)]
pub(super) struct Page {
    /// How many of the newest are skipped.
    #[serde(default)]
    offset: usize,
    /// How many are given.
    limit: Option<usize>,
}

/// `GET /applications?offset=N&limit=M`: the newest first.
pub(super) async fn list(daemon: Data<Daemon>, page: Query<Page>) -> Json<Vec<AppStatus>> {
    Json(daemon.shared.board.apps(page.offset, page.limit.unwrap_or(PAGE).min(PAGE_MAX)))
}

#[derive(Deserialize)]
pub(super) struct Wait {
    /// How long to wait for the end, in milliseconds.
    wait_ms: Option<u64>,
}

/// `GET /applications/{app}?wait_ms=M`: as soon as it has ended, else after that time.
pub(super) async fn get(
    daemon: Data<Daemon>,
    app: Path<String>,
    wait: Query<Wait>,
) -> Result<Json<AppStatus>, Failure> {
    let app = parse_id(&app)?;
    let deadline = deadline(wait.wait_ms);
    loop {
        let watched = daemon.shared.board.watch(app).ok_or_else(|| no_such_app(app))?;
        let Some(changed) = watched.changed else { return Ok(Json(watched.status)) };
        if timeout_at(deadline, changed).await.is_err() {
            return Ok(Json(daemon.shared.board.app(app).unwrap_or(watched.status)));
        }
    }
}

/// `GET /applications/{app}/progress`: how far the stages of the running driver attempt are; none after the
/// end.
pub(super) async fn progress(daemon: Data<Daemon>, app: Path<String>) -> Result<Json<AppProgress>, Failure> {
    let app: AppId = parse_id(&app)?;
    daemon.shared.board.app(app).ok_or_else(|| no_such_app(app))?;
    Ok(Json(daemon.actor.send(Progress(app)).await.map_err(|_| stopping())?.unwrap_or_default()))
}

/// `POST /applications/{app}/kill`: 202 when the wish is durable, 200 if the application has ended already.
pub(super) async fn kill(
    daemon: Data<Daemon>,
    caller: Caller,
    app: Path<String>,
) -> Result<impl Responder, Failure> {
    let app: AppId = parse_id(&app)?;
    let status = daemon.shared.board.app(app).ok_or_else(|| no_such_app(app))?;
    caller.must_own(&status.owner, "kill", app)?;
    if status.state.is_final() {
        return Ok(HttpResponse::Ok().json(status));
    }
    let actor = daemon.actor.clone();
    let reason = "killed on request";
    let wanted = move |()| {
        actor.do_send(Fact::Event(Event::KillApp { app, reason: reason.to_owned() }));
        Ok(())
    };
    daemon.write(|ack| Record::Kill(app, reason.to_owned(), ack), wanted).await?;
    caller.did("kill", app);
    Ok(HttpResponse::Accepted().json(daemon.shared.board.app(app).unwrap_or(status)))
}
