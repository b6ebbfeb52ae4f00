//! Who sends a request, and from where: what a handler needs to act on somebody's behalf and to say so in the
//! audit log.

use super::failure::Failure;
use crate::audit::Audit;
use crate::tokens::Principal;
use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use firesteel_common::{Error, ErrorCode};
use std::future::{Ready, ready};

/// The sender of a request. There is none without a token.
pub(super) struct Caller {
    /// Who.
    pub principal: Principal,
    source: String,
    audit: Data<Audit>,
}

impl Caller {
    /// Notes that the caller has done something.
    pub(super) fn did(&self, action: &str, object: impl ToString) {
        self.audit.allowed(self.principal.shown(), &self.source, action, &object.to_string());
    }

    /// Where the request came from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Refuses what only the owner of a thing and administrators may do with it.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, noted in the audit log.
    pub(super) fn must_own(
        &self,
        owner: &str,
        action: &str,
        object: impl std::fmt::Display,
    ) -> Result<(), Error> {
        if self.principal.owns(owner) {
            return Ok(());
        }
        let who = self.principal.shown();
        let code = ErrorCode::PermissionDenied;
        self.audit.refused(who, &self.source, action, &object.to_string(), code.as_str());
        Err(Error::new(code, format!("{object} was submitted by somebody else than '{who}'"))
            .with_help("only its owner and administrators may do that"))
    }
}

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let principal = request.extensions().get::<Principal>().cloned();
        let caller = principal.zip(request.app_data::<Data<Audit>>()).map(|(principal, audit)| Self {
            principal,
            source: source(request),
            audit: audit.clone(),
        });
        let missing = || Failure(Error::new(ErrorCode::Unauthenticated, "the request has no token"));
        ready(caller.ok_or_else(missing))
    }
}

/// Where a request came from.
pub(super) fn source(request: &HttpRequest) -> String {
    request.peer_addr().map(|address| address.to_string()).unwrap_or_default()
}
