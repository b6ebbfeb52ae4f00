//! Errors as HTTP answers: the status comes from the code, the body is an [`ErrorBody`].

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use firesteel_common::error::{Error, ErrorClass, ErrorCode};
use firesteel_common::http::ErrorBody;
use std::fmt;

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        status(self.0.code)
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).json(ErrorBody { error: self.0.clone() })
    }
}

/// The status of a code.
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::BadArgument
        | ErrorCode::PluginInvalid
        | ErrorCode::PluginAbi
        | ErrorCode::EntryNotFound
        | ErrorCode::ConfigInvalid => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict | ErrorCode::NotFinished => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Killed => StatusCode::GONE,
        other => match other.class() {
            ErrorClass::User => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorClass::Retryable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorClass::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_status() {
        for code in ErrorCode::ALL {
            let status = status(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }
}
