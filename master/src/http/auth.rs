//! The guard in front of every route: whom a request is meant for, from which page it comes, and its token.
//!
//! Listening on loopback is no proof of anything: a page in a browser on this machine can send requests to
//! it, under a name of its own that resolves to loopback. So the `Host` must be a loopback name, an `Origin`
//! must be this daemon itself, and the token must be there, whatever the method and whether or not the route
//! exists.

use super::caller::source;
use super::failure::Failure;
use super::{PREFIX, health, ui};
use crate::audit::Audit;
use crate::sessions::Sessions;
use crate::tokens::{Principal, Tokens};
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN};
use actix_web::middleware::Next;
use actix_web::web::Data;
use firesteel_common::{Error, ErrorCode};
use std::net::IpAddr;
use std::time::Instant;

/// Lets a request through, or answers it.
pub(crate) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match admit(&request) {
        Ok(principal) => {
            if let Some(principal) = principal {
                request.extensions_mut().insert(principal);
            }
            next.call(request).await.map(ServiceResponse::map_into_boxed_body)
        }
        Err(error) => {
            if let Some(audit) = request.app_data::<Data<Audit>>() {
                let action = request.method().as_str();
                audit.refused("", &source(request.request()), action, request.path(), error.code.as_str());
            }
            tracing::warn!(%error, method = %request.method(), "a request was refused");
            let failure = Failure(error);
            Ok(request.into_response(actix_web::ResponseError::error_response(&failure)))
        }
    }
}

/// Who sent a request; `None` for the few that need no token.
fn admit(request: &ServiceRequest) -> Result<Option<Principal>, Error> {
    let host = header(request, &HOST)?.unwrap_or_default();
    // HTTP/2 names the host in the request's own line.
    let host =
        if host.is_empty() { request.uri().authority().map_or("", |name| name.as_str()) } else { host };
    if !is_loopback(host) && !request.app_data::<Data<Hosts>>().is_some_and(|hosts| hosts.has(host)) {
        let what = "the Host of the request is neither a loopback name nor one of master.hosts";
        return Err(Error::new(ErrorCode::BadRequest, what)
            .with_help("use 127.0.0.1 or localhost, or add the name to master.hosts"));
    }
    let scheme = request.app_data::<Data<Scheme>>().map_or("http", |scheme| scheme.0);
    if let Some(origin) = header(request, &ORIGIN)?
        && !is_origin(origin, scheme, host)
    {
        return Err(Error::new(ErrorCode::BadRequest, "the request comes from a page of another origin"));
    }
    let path = request.path();
    if health::PATHS.contains(&path.strip_prefix(PREFIX).unwrap_or(path)) {
        return Ok(None);
    }
    if ui::is_page(path) {
        return Ok(None);
    }
    let bearer = header(request, &AUTHORIZATION)?.and_then(|text| text.strip_prefix("Bearer "));
    let tokens = request.app_data::<Data<Tokens>>();
    let Some(bearer) = bearer else { return of_session(request, tokens).map(Some) };
    match tokens.and_then(|tokens| tokens.identify(bearer.trim())) {
        Some(principal) => Ok(Some(principal)),
        None => Err(unauthenticated("the token is none of this master's")),
    }
}

/// Whose session a request of a page belongs to.
fn of_session(request: &ServiceRequest, tokens: Option<&Data<Tokens>>) -> Result<Principal, Error> {
    let missing = || unauthenticated("the request has no token");
    let secret = header(request, &COOKIE)?.and_then(ui::secret_of).ok_or_else(missing)?;
    let sessions = request.app_data::<Data<Sessions>>();
    let (tokens, sessions) = tokens.zip(sessions).ok_or_else(missing)?;
    let principal = sessions
        .identify(secret, tokens, Instant::now())
        .ok_or_else(|| unauthenticated("the session is over").with_help("run `firesteel ui` again"))?;
    if !request.method().is_safe() && !request.headers().contains_key(ui::PAGE_HEADER) {
        let what =
            format!("a request with a session that changes something needs the header {}", ui::PAGE_HEADER);
        return Err(Error::new(ErrorCode::PermissionDenied, what));
    }
    Ok(principal)
}

fn unauthenticated(what: &str) -> Error {
    Error::new(ErrorCode::Unauthenticated, what).with_help(
        "send `Authorization: Bearer TOKEN`; the token lies in the file `token` of the run directory",
    )
}

/// A header that may be there once.
fn header<'a>(request: &'a ServiceRequest, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    let mut values = request.headers().get_all(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::new(ErrorCode::BadRequest, format!("the header {name} is there twice")));
    }
    let text = first.map(|value| value.to_str()).transpose();
    text.map_err(|_| Error::new(ErrorCode::BadRequest, format!("the header {name} is not plain text")))
}

/// The names beside loopback under which the daemon is reached (`master.hosts`).
pub(crate) struct Hosts(pub(crate) Vec<String>);

impl Hosts {
    fn has(&self, host: &str) -> bool {
        let name = host_name(host);
        self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// What the daemon speaks: `http` or `https`.
#[derive(Clone, Copy)]
pub(crate) struct Scheme(pub(crate) &'static str);

/// The name in `host[:port]`.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether `host[:port]` names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let name = host_name(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether an origin is the daemon that the request is sent to.
fn is_origin(origin: &str, scheme: &str, host: &str) -> bool {
    let rest = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    rest.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[::2]", "localhost.evil", "::1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
        assert!(is_origin("http://127.0.0.1:8080", "http", "127.0.0.1:8080"));
        assert!(is_origin("https://m:8080", "https", "m:8080"));
        assert!(!is_origin("http://m:8080", "https", "m:8080"));
        let hosts = Hosts(vec!["master.example".into(), "10.0.0.1".into()]);
        assert!(hosts.has("MASTER.example:7070") && hosts.has("10.0.0.1"));
        assert!(!hosts.has("") && !hosts.has("example:1") && !hosts.has("10.0.0.11"));
        for origin in ["null", "http://evil.example", "http://127.0.0.1:9", "https://127.0.0.1:8080"] {
            assert!(!is_origin(origin, "http", "127.0.0.1:8080"), "{origin}");
        }
    }
}
