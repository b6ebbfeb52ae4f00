//! Workers as the scheduler sees them.

use super::failure::Failure;
use super::{Daemon, deadline};
use crate::actor::Workers;
use actix_web::web::{Data, Json, Query};
use firesteel_common::http::WorkerInfo;
use firesteel_common::{Error, ErrorCode};
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

/// What is said when the actor is gone.
pub(super) fn stopping() -> Error {
    Error::new(ErrorCode::Unreachable, "the master is stopping").with_help("try again when it runs")
}
