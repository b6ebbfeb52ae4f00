//! Whether the master lives and can be asked something; the only routes without a token. They say nothing
//! else.

use super::Daemon;
use crate::journal::Record;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use firesteel_common::http::ErrorBody;
use firesteel_common::{Error, ErrorCode};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The routes, at the root and under the prefix.
pub(crate) const PATHS: [&str; 2] = ["/healthz", "/readyz"];
/// How long the journal may take to write next to nothing.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(3);

/// Adds the routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.route("/healthz", web::get().to(healthz)).route("/readyz", web::get().to(readyz));
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// The daemon starts only after the journal was read; ready is who can make a submission durable. Workers are
/// not asked for, since a cluster without any takes submissions too.
async fn readyz(daemon: Data<Daemon>) -> HttpResponse {
    match ready(&daemon).await {
        Ok(()) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n"),
        Err(error) => HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE).json(ErrorBody { error }),
    }
}

/// Whether a submission can be made durable.
///
/// # Errors
/// Why not.
pub(super) async fn ready(daemon: &Daemon) -> Result<(), Error> {
    let (mut written, fresh) = daemon.shared.journal.health();
    // One tries for all who ask at once.
    if !fresh && let Ok(_only) = daemon.probing.try_acquire() {
        written = probe(daemon).await;
    }
    let Err(code) = written else { return Ok(()) };
    let (cause, help) = match code {
        ErrorCode::DiskFull => ("its disk is full", "make room where the run directory lies"),
        ErrorCode::TimedOut => ("it does not answer", "look at the disk where the run directory lies"),
        _ => ("a write failed", "look at the log of the master"),
    };
    Err(Error::new(code, format!("the journal cannot be written: {cause}")).with_help(help))
}

async fn probe(daemon: &Daemon) -> Result<(), ErrorCode> {
    let (answer, written) = oneshot::channel();
    let record = Record::Probe(Box::new(move |written| {
        // Whoever asked may have given up.
        answer.send(written).ok();
    }));
    daemon.shared.journal.try_write(record).map_err(|error| error.code)?;
    match timeout(JOURNAL_PATIENCE, written).await {
        Ok(Ok(written)) => written.map_err(|error: Error| error.code),
        Ok(Err(_)) => Err(ErrorCode::Unreachable),
        Err(_) => {
            daemon.shared.journal.note_silence();
            Err(ErrorCode::TimedOut)
        }
    }
}
