//! Applications: how they are, and their end on request.

use super::caller::Caller;
use super::failure::Failure;
use super::workers::stopping;
use super::{Daemon, deadline, parse_id};
use crate::actor::{Executors, Fact, Progress};
use crate::board::no_such_app;
use crate::clock::wall_ms;
use crate::journal::Record;
use actix_web::web::{self, Data, Json, Path, Query};
use actix_web::{HttpResponse, Responder};
use firesteel_common::error::nearest;
use firesteel_common::http::{AppProgress, AppState, AppStatus, ExecutorInfo, SubmitRequest};
use firesteel_common::id::AppId;
use firesteel_common::{Error, ErrorCode};
use firesteel_scheduler::event::Event;
use serde::Deserialize;
use tokio::time::timeout_at;

/// Entries of one answer at most.
const PAGE_MAX: usize = 1000;
/// Entries of one answer when the client does not say.
const PAGE: usize = 100;
/// The header that says how many there are beyond the page.
const TOTAL: &str = "X-Total-Count";

/// Which applications are wanted; all of what is given must fit.
#[derive(Default, Deserialize)]
pub(super) struct Filter {
    /// Only those in one of these states: `waiting`, `running`, `succeeded`, `failed`, `killed`, with commas
    /// between several.
    state: Option<String>,
    /// Only those whose name contains this text, in upper or lower case.
    name: Option<String>,
    /// Only those that the token of this name has submitted; `cluster` is the cluster's own.
    owner: Option<String>,
    /// Only those of this scheduler pool.
    pool: Option<String>,
    /// Only those with this tag: `NAME`, or `NAME=VALUE`.
    tag: Option<String>,
    /// Only those that were submitted then or later, in milliseconds since 1970.
    since_ms: Option<u64>,
    /// Only those that were submitted before, in milliseconds since 1970.
    until_ms: Option<u64>,
    /// How many of the newest are skipped.
    #[serde(default)]
    offset: usize,
    /// How many are given: 100 if it is left out, 1000 at most.
    limit: Option<usize>,
}

impl Filter {
    /// The states that are wanted.
    fn states(&self) -> Result<Vec<AppState>, Error> {
        let words = self.state.iter().flat_map(|text| text.split(',')).map(str::trim);
        words.map(state).collect()
    }

    fn fits(&self, states: &[AppState], app: &AppStatus) -> bool {
        let contains = |text: &String| app.name.to_lowercase().contains(&text.to_lowercase());
        let owner = if app.owner.is_empty() { "cluster" } else { &app.owner };
        let tagged = |tag: &String| match tag.split_once('=') {
            Some((name, value)) => app.tags.get(name).is_some_and(|found| found == value),
            None => app.tags.contains_key(tag),
        };
        (states.is_empty() || states.contains(&app.state))
            && self.name.as_ref().is_none_or(contains)
            && self.owner.as_ref().is_none_or(|wanted| wanted == owner)
            && self.pool.as_ref().is_none_or(|wanted| *wanted == app.pool)
            && self.tag.as_ref().is_none_or(tagged)
            && self.since_ms.is_none_or(|since| app.submitted_ms >= since)
            && self.until_ms.is_none_or(|until| app.submitted_ms < until)
    }
}

fn state(text: &str) -> Result<AppState, Error> {
    AppState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let error = Error::new(ErrorCode::BadRequest, format!("'{text}' is not a state of an application"));
        let names = AppState::ALL.map(AppState::as_str);
        match nearest(text, names) {
            Some(near) => error.with_help(format!("did you mean '{near}'?")),
            None => error.with_help(format!("there are: {}", names.join(", "))),
        }
    })
}

/// `GET /applications`: the newest first.
pub(super) async fn list(daemon: Data<Daemon>, filter: Query<Filter>) -> Result<HttpResponse, Failure> {
    let states = filter.states()?;
    let limit = filter.limit.unwrap_or(PAGE).min(PAGE_MAX);
    let wanted = |app: &AppStatus| filter.fits(&states, app);
    let (page, total) = daemon.shared.board.apps(wanted, filter.offset, limit);
    Ok(HttpResponse::Ok().insert_header((TOTAL, total.to_string())).json(page))
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
    let (progress, at) = daemon.actor.send(Progress(app)).await.map_err(|_| stopping())?;
    Ok(Json(AppProgress { now_ms: wall_ms(), at, ..progress.unwrap_or_default() }))
}

/// `GET /executors`: every process that runs tasks.
pub(super) async fn all_executors(daemon: Data<Daemon>) -> Result<Json<Vec<ExecutorInfo>>, Failure> {
    Ok(Json(daemon.actor.send(Executors(None)).await.map_err(|_| stopping())?))
}

/// `GET /applications/{app}/executors`: those of one application.
pub(super) async fn executors(
    daemon: Data<Daemon>,
    app: Path<String>,
) -> Result<Json<Vec<ExecutorInfo>>, Failure> {
    let app: AppId = parse_id(&app)?;
    daemon.shared.board.app(app).ok_or_else(|| no_such_app(app))?;
    Ok(Json(daemon.actor.send(Executors(Some(app))).await.map_err(|_| stopping())?))
}

/// `GET /applications/{app}/submission`: what was submitted.
pub(super) async fn submission(
    daemon: Data<Daemon>,
    caller: Caller,
    app: Path<String>,
) -> Result<Json<SubmitRequest>, Failure> {
    let app: AppId = parse_id(&app)?;
    let status = daemon.shared.board.app(app).ok_or_else(|| no_such_app(app))?;
    caller.must_own(&status.owner, "submission", app)?;
    let journal = daemon.shared.journal.clone();
    let found = web::block(move || journal.submission(app)).await.map_err(|_| stopping())??;
    Ok(Json(found.ok_or_else(|| no_such_app(app))?))
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
    kill_app(&daemon, app).await?;
    caller.did("kill", app);
    Ok(HttpResponse::Accepted().json(daemon.shared.board.app(app).unwrap_or(status)))
}

/// Makes it durable that an application is to end.
pub(super) async fn kill_app(daemon: &Daemon, app: AppId) -> Result<(), Error> {
    let actor = daemon.actor.clone();
    let reason = "killed on request";
    let wanted = move |()| {
        actor.do_send(Fact::Event(Event::KillApp { app, reason: reason.to_owned() }));
        Ok(())
    };
    daemon.write(|ack| Record::Kill(app, reason.to_owned(), ack), wanted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppStatus {
        serde_json::from_str(
            r#"{"app":1,"name":"Nightly Count","state":"running","attempt":1,"submitted_ms":100,"owner":"ann",
            "pool":"reports","tags":{"team":"blue","x=y":""}}"#,
        )
        .unwrap()
    }

    fn fits(filter: Filter) -> bool {
        filter.fits(&filter.states().unwrap(), &app())
    }

    #[test]
    fn all_of_what_is_given_must_fit() {
        let text = |text: &str| Some(text.to_owned());
        let none = Filter::default;
        let right = || Filter {
            state: text("waiting,running"),
            name: text("COUNT"),
            owner: text("ann"),
            pool: text("reports"),
            tag: text("team=blue"),
            since_ms: Some(100),
            until_ms: Some(101),
            ..none()
        };
        assert!(fits(none()) && fits(right()) && fits(Filter { tag: text("team"), ..none() }));
        let wrong = [
            Filter { state: text("failed"), ..right() },
            Filter { name: text("day"), ..right() },
            Filter { owner: text("cluster"), ..right() },
            Filter { pool: text("default"), ..right() },
            Filter { tag: text("team=bl"), ..right() },
            Filter { tag: text("blue"), ..right() },
            Filter { since_ms: Some(101), ..right() },
            Filter { until_ms: Some(100), ..right() },
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            assert!(!fits(wrong), "{number}");
        }
        let error = Filter { state: text("runing"), ..none() }.states().unwrap_err();
        assert!(error.to_string().contains("did you mean 'running'?"), "{error}");
    }
}
