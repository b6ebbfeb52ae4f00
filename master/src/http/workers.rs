//! Workers as the scheduler sees them, and taking one out of service.

use super::caller::Caller;
use super::failure::Failure;
use super::{Daemon, deadline, parse_id};
use crate::actor::{Fact, Workers};
use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use firesteel_common::http::WorkerInfo;
use firesteel_common::id::WorkerId;
use firesteel_common::{Error, ErrorCode};
use firesteel_scheduler::event::Event;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A worker may change without a notice; so long at most until it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Answer as soon as so many are alive.
    #[serde(default)]
    alive: usize,
    /// But wait no longer than this, in milliseconds.
    wait_ms: Option<u64>,
}

/// `GET /workers?alive=N&wait_ms=M`
pub(super) async fn list(
    daemon: Data<Daemon>,
    wanted: Query<Wanted>,
) -> Result<Json<Vec<WorkerInfo>>, Failure> {
    let deadline = deadline(wanted.wait_ms);
    loop {
        let changed = daemon.shared.workers_changed.notified();
        let workers = daemon.actor.send(Workers).await.map_err(|_| stopping())?;
        let alive = workers.iter().filter(|worker| worker.alive).count();
        if alive >= wanted.alive || Instant::now() >= deadline {
            return Ok(Json(workers));
        }
        if timeout_at(deadline.min(Instant::now() + LOOK_AGAIN), changed).await.is_err() {
            continue;
        }
    }
}

/// `POST /workers/{worker}/drain`: 202; the worker gets no further tasks, and ends when its outputs are
/// moved.
pub(super) async fn drain(
    daemon: Data<Daemon>,
    caller: Caller,
    worker: Path<String>,
) -> Result<HttpResponse, Failure> {
    let worker: WorkerId = parse_id(&worker)?;
    let workers = daemon.actor.send(Workers).await.map_err(|_| stopping())?;
    if !workers.iter().any(|info| info.worker == worker && info.alive) {
        let error = Error::new(ErrorCode::NotFound, format!("{worker} is not connected"));
        return Err(error.with_help("`firesteel workers` lists those that are").into());
    }
    daemon.actor.do_send(Fact::Event(Event::DrainWorker(worker)));
    caller.did("drain worker", worker);
    Ok(HttpResponse::Accepted().finish())
}

/// What is said when the actor is gone.
pub(super) fn stopping() -> Error {
    Error::new(ErrorCode::Unreachable, "the master is stopping").with_help("try again when it runs")
}
