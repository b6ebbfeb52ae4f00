//! Tokens: made, listed, revoked; and who the holder of one is.

use super::Daemon;
use super::caller::Caller;
use super::failure::Failure;
use super::intake::read_json_body;
use crate::journal::Record;
use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Payload};
use firesteel_common::http::{Identity, TokenCreate, TokenCreated, TokenInfo};
use firesteel_common::{Error, ErrorCode};

/// `GET /whoami`
pub(super) async fn whoami(caller: Caller) -> Json<Identity> {
    Json(Identity { name: caller.principal.name, role: caller.principal.role })
}

/// `GET /tokens`
pub(super) async fn list(daemon: Data<Daemon>) -> Json<Vec<TokenInfo>> {
    Json(daemon.shared.tokens.list())
}

/// `POST /tokens`: 201 with the token, which is told this once.
pub(super) async fn create(
    daemon: Data<Daemon>,
    caller: Caller,
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
    let tokens = daemon.shared.tokens.clone();
    let record = stored.clone();
    // If the client is gone it never learns the token, which then can only be revoked.
    let added = move |()| {
        tokens.add(stored);
        Ok(())
    };
    daemon.write(|ack| Record::Token(record, ack), added).await?;
    caller.did("create token", &info.name);
    Ok(HttpResponse::Created().json(TokenCreated { info, token }))
}

/// `DELETE /tokens/{name}`: 204 when it counts no longer.
pub(super) async fn revoke(
    daemon: Data<Daemon>,
    caller: Caller,
    name: Path<String>,
) -> Result<HttpResponse, Failure> {
    let name = name.into_inner();
    if !daemon.shared.tokens.has(&name) {
        return Err(Error::new(ErrorCode::NotFound, format!("there is no token of the name '{name}'")).into());
    }
    let (tokens, sessions, gone) =
        (daemon.shared.tokens.clone(), daemon.shared.sessions.clone(), name.clone());
    let record = name.clone();
    let removed = move |()| {
        tokens.remove(&gone);
        sessions.end(&gone);
        Ok(())
    };
    daemon.write(|ack| Record::TokenRevoked(record, ack), removed).await?;
    caller.did("revoke token", &name);
    Ok(HttpResponse::NoContent().finish())
}
