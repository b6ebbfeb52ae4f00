//! Whether the master lives and can be asked something; the only routes without a token. They say nothing
//! else.

use actix_web::web;

/// The routes, at the root and under the prefix.
pub(crate) const PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Adds the routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.route("/healthz", web::get().to(healthz)).route("/readyz", web::get().to(readyz));
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// The daemon starts only after the journal was read, so whoever is answered is answered by a ready one;
/// workers are not asked for, since a cluster without any takes submissions too.
async fn readyz() -> &'static str {
    "ready\n"
}
