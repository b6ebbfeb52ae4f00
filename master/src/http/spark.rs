//! The submission interface of Spark's standalone master (`/v1/submissions`) on the engine of this one, for
//! clients that speak it: same messages, same names of fields, same states of a driver.
//!
//! Unlike Spark's, it needs a token, and opens nothing that a client names: the resource of a submission is a
//! plugin that was uploaded. What means nothing here is refused with its reason.

mod messages;
mod translate;

pub(super) use messages::{CreateSubmission, SubmissionAnswer};

use super::applications::kill_app;
use super::caller::Caller;
use super::failure::status;
use super::intake::read_json_body;
use super::workers::stopping;
use super::{Daemon, health, submit};
use crate::actor::Workers;
use crate::board::no_such_app;
use crate::retention::forget;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use firesteel_common::http::{AppState, AppStatus};
use firesteel_common::id::AppId;
use firesteel_common::{Error, ErrorCode};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};
use std::fmt;

/// What a driver's id begins with.
const PREFIX: &str = "driver-";
/// Applications that are ended or forgotten at once.
const AT_ONCE: usize = 256;
/// Ended applications that one request forgets at most.
const CLEARED_MAX: usize = 100_000;

/// An error as Spark's clients expect it.
#[derive(Debug)]
pub(super) struct SparkFailure(Error);

impl From<Error> for SparkFailure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for SparkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for SparkFailure {
    fn status_code(&self) -> StatusCode {
        status(self.0.code)
    }

    fn error_response(&self) -> HttpResponse {
        let message = self.0.to_string();
        HttpResponse::build(self.status_code()).json(SubmissionAnswer::of("ErrorResponse").saying(message))
    }
}

type Answer = Result<Json<SubmissionAnswer>, SparkFailure>;

/// `POST /v1/submissions/create`
pub(super) async fn create(daemon: Data<Daemon>, caller: Caller, http: HttpRequest, body: Payload) -> Answer {
    let body: Map<String, Value> = read_json_body(body).await.map_err(|failure| failure.0)?;
    let (message, unknown) = messages::read(body)?;
    let mut request = translate::to_request(message, &daemon.shared.board)?;
    submit::take_key(&http, &mut request)?;
    let submitted = submit::submit_request(&daemon, &caller, request).await?;
    let id = id_of(submitted.app);
    let mut answer = SubmissionAnswer::of("CreateSubmissionResponse")
        .saying(format!("Driver successfully submitted as {id}"))
        .about(id, true);
    answer.unknown_fields = (!unknown.is_empty()).then_some(unknown);
    Ok(Json(answer))
}

/// `POST /v1/submissions/kill/{id}`
pub(super) async fn kill(daemon: Data<Daemon>, caller: Caller, id: Path<String>) -> Answer {
    let app = parse(&id)?;
    let answer = SubmissionAnswer::of("KillSubmissionResponse");
    let id = id_of(app);
    let Some(status) = daemon.shared.board.app(app) else {
        let message = format!("Driver {id} has already finished or does not exist");
        return Ok(Json(answer.saying(message).about(id, false)));
    };
    caller.must_own(&status.owner, "kill", app)?;
    if status.state.is_final() {
        let message = format!("Driver {id} has already finished");
        return Ok(Json(answer.saying(message).about(id, false)));
    }
    kill_app(&daemon, app).await?;
    caller.did("kill", app);
    Ok(Json(answer.saying(format!("Kill request for {id} submitted")).about(id, true)))
}

/// `POST /v1/submissions/killall`: every application that has not ended and that the caller may end.
pub(super) async fn kill_all(daemon: Data<Daemon>, caller: Caller) -> Answer {
    let mine = |app: &AppStatus| !app.state.is_final() && caller.principal.owns(&app.owner);
    let (apps, _) = daemon.shared.board.apps(mine, 0, usize::MAX);
    let ended = stream::iter(&apps).map(|app| kill_app(&daemon, app.app)).buffer_unordered(AT_ONCE);
    let ended: Vec<Result<(), Error>> = ended.collect().await;
    ended.into_iter().collect::<Result<(), Error>>()?;
    caller.did("kill all", format!("{} applications", apps.len()));
    let message = format!("Kill request for all drivers submitted ({} of them)", apps.len());
    Ok(Json(SubmissionAnswer::of("KillAllSubmissionResponse").saying(message).succeeding(true)))
}

/// `POST /v1/submissions/clear`: forgets every application that has ended.
pub(super) async fn clear(daemon: Data<Daemon>, caller: Caller) -> Answer {
    let (shared, mut cleared) = (&daemon.shared, 0);
    while cleared < CLEARED_MAX {
        let ended = shared.board.ended(AT_ONCE);
        if ended.is_empty() {
            break;
        }
        let (who, source) = (caller.principal.shown(), caller.source());
        match forget(shared, &daemon.run_dir, ended, who, source).await? {
            0 => break,
            gone => cleared += gone,
        }
    }
    let message = format!("Cleared {cleared} completed drivers and applications");
    Ok(Json(SubmissionAnswer::of("ClearResponse").saying(message).succeeding(true)))
}

/// `GET /v1/submissions/status/{id}`
pub(super) async fn get(daemon: Data<Daemon>, id: Path<String>) -> Answer {
    let app = parse(&id)?;
    let answer = SubmissionAnswer::of("SubmissionStatusResponse");
    let Some(status) = daemon.shared.board.app(app) else {
        return Ok(Json(answer.saying(no_such_app(app).message).about(id_of(app), false)));
    };
    let mut answer = answer.about(id_of(app), true);
    answer.driver_state = Some(driver_state(&status).to_owned());
    answer.message = status.error.as_ref().map(|error| format!("Exception from the cluster: {error}"));
    if let Some(worker) = status.driver {
        let workers = daemon.actor.send(Workers).await.map_err(|_| stopping())?;
        answer.worker_id = Some(worker.to_string());
        answer.worker_host_port =
            workers.into_iter().find(|info| info.worker == worker).map(|info| info.address);
    }
    Ok(Json(answer))
}

/// `GET /v1/submissions/readyz`
pub(super) async fn ready(daemon: Data<Daemon>) -> HttpResponse {
    let answer = SubmissionAnswer::of("ReadyzResponse");
    match health::ready(&daemon).await {
        Ok(()) => HttpResponse::Ok().json(answer.saying(String::new()).succeeding(true)),
        Err(error) => {
            HttpResponse::ServiceUnavailable().json(answer.saying(error.to_string()).succeeding(false))
        }
    }
}

fn id_of(app: AppId) -> String {
    format!("{PREFIX}{}", app.0)
}

/// Reads a submission's id: as this interface writes it, or as the others do.
fn parse(text: &str) -> Result<AppId, Error> {
    let wrong = |_| {
        Error::new(ErrorCode::BadRequest, format!("'{text}' is not the id of a submission"))
            .with_help("it is of the form driver-N")
    };
    text.strip_prefix(PREFIX).unwrap_or(text).parse().map_err(wrong)
}

fn driver_state(app: &AppStatus) -> &'static str {
    match app.state {
        AppState::Waiting if app.attempt > 0 => "RELAUNCHING",
        AppState::Waiting => "SUBMITTED",
        AppState::Running => "RUNNING",
        AppState::Succeeded => "FINISHED",
        AppState::Failed => "FAILED",
        AppState::Killed => "KILLED",
    }
}
