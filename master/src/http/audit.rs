//! `GET /audit?limit=N`: the last lines of the audit log, the newest last.

use super::Daemon;
use super::failure::Failure;
use super::workers::stopping;
use actix_web::HttpResponse;
use actix_web::web::{self, Data, Query};
use serde::Deserialize;

/// Lines of one answer at most.
const LINES_MAX: usize = 10_000;
/// Lines of one answer when the client does not say.
const LINES: usize = 100;

#[derive(Deserialize)]
pub(super) struct Tail {
    /// How many lines: 100 if it is left out, 10,000 at most.
    limit: Option<usize>,
}

pub(super) async fn tail(daemon: Data<Daemon>, wanted: Query<Tail>) -> Result<HttpResponse, Failure> {
    let audit = daemon.shared.audit.clone();
    let limit = wanted.limit.unwrap_or(LINES).min(LINES_MAX);
    let lines = web::block(move || audit.tail(limit)).await.map_err(|_| stopping())??;
    Ok(HttpResponse::Ok().content_type("application/jsonl").body(lines))
}
