//! Tokens: made, listed, revoked; and who the holder of one is.

use super::Daemon;
use super::failure::Failure;
use super::intake::read_json_body;
use super::workers::stopping;
use crate::journal::Record;
use crate::tokens::Principal;
use actix_web::dev::Payload as RequestPayload;
use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};
use firesteel_common::http::{Identity, TokenCreate, TokenCreated, TokenInfo};
use firesteel_common::{Error, ErrorCode};
use std::future::{Ready, ready};
use tokio::sync::oneshot;

/// Handlers that act on somebody's behalf take one; there is none without a token.
impl FromRequest for Principal {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut RequestPayload) -> Self::Future {
        let missing = || Failure(Error::new(ErrorCode::Unauthenticated, "the request has no token"));
        ready(request.extensions().get::<Principal>().cloned().ok_or_else(missing))
    }
}

/// Where a request came from, for the audit log.
pub(super) fn source(request: &HttpRequest) -> String {
    request.peer_addr().map(|address| address.to_string()).unwrap_or_default()
}

/// `GET /whoami`
pub(super) async fn whoami(principal: Principal) -> Json<Identity> {
    Json(Identity { name: principal.name, role: principal.role })
}

/// `GET /tokens`
pub(super) async fn list(daemon: Data<Daemon>) -> Json<Vec<TokenInfo>> {
    Json(daemon.shared.tokens.list())
}

/// `POST /tokens`: 201 with the token, which is told this once.
pub(super) async fn create(
    daemon: Data<Daemon>,
    principal: Principal,
    http: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Failure> {
    let wanted: TokenCreate = read_json_body(body).await?;
    let (stored, token) = daemon.shared.tokens.make(&wanted.name, wanted.role)?;
    let info = TokenInfo {
        name: stored.name.clone(),
        role: stored.role,
        created_ms: stored.created_ms,
        last_used_ms: None,
    };
    let (answer, written) = oneshot::channel();
    let tokens = daemon.shared.tokens.clone();
    daemon.shared.journal.try_write(Record::Token(
        stored.clone(),
        Box::new(move |written| {
            if written.is_ok() {
                tokens.add(stored);
            }
            // A client that has gone away never learns the token: it can only be revoked.
            answer.send(written).ok();
        }),
    ))?;
    written.await.map_err(|_| stopping())??;
    daemon.shared.audit.allowed(principal.shown(), &source(&http), "create token", &info.name);
    Ok(HttpResponse::Created().json(TokenCreated { info, token }))
}

/// `DELETE /tokens/{name}`: 204 when it counts no longer.
pub(super) async fn revoke(
    daemon: Data<Daemon>,
    principal: Principal,
    http: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Failure> {
    let name = name.into_inner();
    if !daemon.shared.tokens.has(&name) {
        return Err(Error::new(ErrorCode::NotFound, format!("there is no token of the name '{name}'")).into());
    }
    let (answer, written) = oneshot::channel();
    let (tokens, gone) = (daemon.shared.tokens.clone(), name.clone());
    let sessions = daemon.shared.sessions.clone();
    daemon.shared.journal.try_write(Record::TokenRevoked(
        name.clone(),
        Box::new(move |written| {
            if written.is_ok() {
                tokens.remove(&gone);
                sessions.end(&gone);
            }
            answer.send(written).ok();
        }),
    ))?;
    written.await.map_err(|_| stopping())??;
    daemon.shared.audit.allowed(principal.shown(), &source(&http), "revoke token", &name);
    Ok(HttpResponse::NoContent().finish())
}
