//! `GET /openapi.json`: the description of the routes for programs, OpenAPI 3.1.
//!
//! What is served is the file in `docs`. It is made from the table of the routes and from what the types of
//! requests and answers say when they are read; a test compares the two, so that neither drifts.

#[cfg(test)]
mod docs;
#[cfg(test)]
mod document;
#[cfg(test)]
mod trace;

#[cfg(test)]
pub(super) use trace::{Content, Describe, schema};

use actix_web::HttpResponse;

/// The description as it was last made.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub(super) async fn get() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT)
}
