//! `POST /applications`: a submission is checked against the plugin's own description, made durable, and only
//! then answered. Everything that can be known to be wrong is said here, before anything runs.

use super::Daemon;
use super::caller::Caller;
use super::failure::Failure;
use super::intake::read_json_body;
use crate::actor::Fact;
use crate::board::{Board, no_such_plugin};
use crate::clock::wall_ms;
use crate::journal::{Record, Submission, Submitted};
use crate::program::app_submission;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use firesteel_common::http::{ClientDriver, DeployMode, SubmitRequest, SubmitResponse};
use firesteel_common::id::AppAttemptId;
use firesteel_common::options::AppOptions;
use firesteel_common::{Error, ErrorCode};
use firesteel_net::Trust;
use firesteel_scheduler::event::Event;
use sha2::{Digest, Sha256};

/// The longest name of an application, the longest idempotency key, and the longest name and value of a tag,
/// in bytes.
const NAME_MAX: usize = 256;
/// Tags of an application at most.
const TAGS_MAX: usize = 64;

/// `POST /applications`
pub(super) async fn submit(
    daemon: Data<Daemon>,
    caller: Caller,
    http: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Failure> {
    let mut request: SubmitRequest = read_json_body(body).await?;
    take_key(&http, &mut request)?;
    let deploy_mode = request.deploy_mode;
    let submitted = submit_request(&daemon, &caller, request).await?;
    let client_driver = (deploy_mode == DeployMode::Client).then(|| client_driver(&daemon, submitted));
    Ok(HttpResponse::Accepted().json(SubmitResponse { app: submitted.app, client_driver }))
}

/// Checks what is asked for, and accepts it.
pub(super) async fn submit_request(
    daemon: &Data<Daemon>,
    caller: &Caller,
    mut request: SubmitRequest,
) -> Result<Submitted, Error> {
    let fingerprint = fingerprint(&request)?;
    check(&daemon.shared.board, &mut request)?;
    let refusal = refusal(daemon);
    let owner = caller.principal.name.clone();
    let submission = Submission { request, owner, fingerprint, submitted_ms: wall_ms(), refusal };
    let submitted = accept(daemon, submission).await?;
    caller.did("submit", submitted.app);
    Ok(submitted)
}

/// Makes it durable; the scheduler hears of it as soon as it is, whether or not the client still listens.
async fn accept(daemon: &Data<Daemon>, submission: Submission) -> Result<Submitted, Error> {
    let (actor, board) = (daemon.actor.clone(), daemon.shared.board.clone());
    let (request, submitted_ms) = (submission.request.clone(), submission.submitted_ms);
    let owner = submission.owner.clone();
    let accepted = move |submitted: Submitted| {
        // One that is known to the journal alone was written by a transaction that seemed to fail.
        if submitted.fresh || board.kind(submitted.app).is_none() {
            board.add_app(submitted.app, &request, &owner, submitted_ms, submitted.attempt);
            let app = app_submission(submitted.app, submitted.attempt, submitted_ms, request);
            actor.do_send(Fact::Event(Event::SubmitApp(app)));
        }
        Ok(submitted)
    };
    daemon.write(|ack| Record::Submit(Box::new(submission), ack), accepted).await
}

/// What a driver beside the submitting command needs.
fn client_driver(daemon: &Daemon, submitted: Submitted) -> ClientDriver {
    let app = AppAttemptId { app: submitted.app, attempt: submitted.attempt };
    let key = daemon.secret.for_app(app).to_hex();
    let Trust { authority, insecure } = daemon.trust.clone();
    ClientDriver { attempt: app.attempt, master: daemon.master.clone(), key, authority, insecure }
}

/// Why a new application cannot be accepted now.
fn refusal(daemon: &Daemon) -> Option<Error> {
    let (waiting, max) = (daemon.shared.board.waiting(), daemon.config.queue_max);
    (waiting >= max as usize).then(|| {
        Error::new(ErrorCode::QueueFull, format!("{waiting} applications wait for a driver already"))
            .with_help(format!("try again later, add workers, or set master.queue_max (now {max})"))
    })
}

/// The idempotency key stands in the body or in the header.
pub(super) fn take_key(http: &HttpRequest, request: &mut SubmitRequest) -> Result<(), Error> {
    let Some(header) = http.headers().get("Idempotency-Key") else { return Ok(()) };
    let header =
        header.to_str().map_err(|_| bad("the header Idempotency-Key is not plain text".to_owned()))?;
    match request.idempotency_key.as_deref() {
        Some(key) if key != header => Err(bad("header and body name two idempotency keys".to_owned())),
        _ => {
            request.idempotency_key = Some(header.to_owned());
            Ok(())
        }
    }
}

/// SHA-256 of what is asked for. Every map in a request is sorted, so the same request is the same text.
fn fingerprint(request: &SubmitRequest) -> Result<[u8; 32], Error> {
    let content = SubmitRequest { idempotency_key: None, ..request.clone() };
    let json = serde_json::to_vec(&content).map_err(|cause| bad(format!("the request: {cause}")))?;
    Ok(Sha256::digest(json).into())
}

/// Checks a request and fills in what it left to be understood.
fn check(board: &Board, request: &mut SubmitRequest) -> Result<(), Error> {
    let key_len = request.idempotency_key.as_ref().map(String::len);
    if request.name.len() > NAME_MAX || key_len.is_some_and(|len| len > NAME_MAX) {
        return Err(bad(format!("a name or an idempotency key is longer than {NAME_MAX} bytes")));
    }
    let is_tag = |(name, value): (&String, &String)| {
        !name.is_empty() && name.len() <= NAME_MAX && value.len() <= NAME_MAX
    };
    if request.tags.len() > TAGS_MAX || !request.tags.iter().all(is_tag) {
        let what =
            format!("there are at most {TAGS_MAX} tags, with a name and at most {NAME_MAX} bytes of each");
        return Err(bad(what));
    }
    if key_len == Some(0) {
        return Err(bad("the idempotency key is empty".to_owned()));
    }
    AppOptions::from_conf(&request.conf)?;
    let default_name = match (&request.plugin, &request.sql) {
        (Some(_), Some(_)) => return Err(bad("the request names a plugin and a SQL text".to_owned())),
        (None, None) => return Err(bad("the request names neither a plugin nor a SQL text".to_owned())),
        (Some(_), None) => check_entry(board, request)?,
        (None, Some(text)) => {
            if text.trim().is_empty() {
                return Err(Error::new(ErrorCode::SqlInvalid, "the SQL text is empty"));
            }
            if !request.entry.is_empty() || !request.args.is_empty() {
                return Err(bad("a SQL text has no entry point and no arguments".to_owned()));
            }
            "sql".to_owned()
        }
    };
    if request.name.is_empty() {
        request.name = default_name;
    }
    Ok(())
}

/// Checks entry point and arguments against the plugin's description; gives the entry point's name.
fn check_entry(board: &Board, request: &mut SubmitRequest) -> Result<String, Error> {
    if !request.tables.is_empty() {
        return Err(bad("tables go with a SQL text, not with a plugin".to_owned()));
    }
    let Some(hash) = request.plugin else { return Ok(String::new()) };
    let plugin = board.plugin(hash).ok_or_else(|| no_such_plugin(hash))?;
    let entry = plugin.descriptor.entry(&request.entry)?;
    entry.check_args(&request.args)?;
    request.entry.clone_from(&entry.name);
    Ok(entry.name.clone())
}

fn bad(what: String) -> Error {
    Error::new(ErrorCode::BadRequest, what)
}
