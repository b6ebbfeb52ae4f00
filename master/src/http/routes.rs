//! The routes, in one table: what is asked for, what a token must allow, and who answers. Routing, the check
//! of roles and the tests are all made from it, so there is no route without a role.

use super::caller::source;
use super::{PREFIX, applications, audit, metrics, output, plugins, submit, tokens, ui, workers};
use crate::audit::Audit;
use crate::tokens::Principal;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{HttpMessage, Route};
use firesteel_common::http::Role;
use firesteel_common::{Error, ErrorCode};

/// One route.
pub(crate) struct Entry {
    /// The method.
    pub method: &'static str,
    /// The path below the prefix.
    pub path: &'static str,
    /// What a token must allow at least.
    pub role: Role,
    to: fn() -> Route,
}

macro_rules! routes {
    ($($method:ident $path:literal $role:ident $handler:path;)*) => {
        /// Every route that needs a token.
        pub(crate) const TABLE: &[Entry] = &[$(Entry {
            method: stringify!($method),
            path: $path,
            role: Role::$role,
            to: || web::$method().to($handler),
        }),*];
    };
}

routes! {
    get "/whoami" Viewer tokens::whoami;
    get "/plugins" Viewer plugins::list;
    post "/plugins" Submit plugins::upload;
    get "/plugins/{hash}" Viewer plugins::get;
    delete "/plugins/{hash}" Admin plugins::remove;
    get "/applications" Viewer applications::list;
    post "/applications" Submit submit::submit;
    get "/applications/{app}" Viewer applications::get;
    post "/applications/{app}/kill" Submit applications::kill;
    get "/applications/{app}/progress" Viewer applications::progress;
    get "/applications/{app}/result" Submit output::result;
    get "/applications/{app}/logs" Submit output::logs;
    get "/applications/{app}/events" Viewer output::events;
    get "/workers" Viewer workers::list;
    post "/workers/{worker}/drain" Admin workers::drain;
    get "/tokens" Admin tokens::list;
    post "/tokens" Admin tokens::create;
    delete "/tokens/{name}" Admin tokens::revoke;
    get "/audit" Admin audit::tail;
    get "/metrics" Viewer metrics::get;
    post "/login-links" Viewer ui::link;
}

/// Adds all of them.
pub(super) fn add(config: &mut web::ServiceConfig) {
    for entry in TABLE {
        let allow = move |request: ServiceRequest, next: Next<BoxBody>| allow(entry, request, next);
        config.route(entry.path, (entry.to)().wrap(from_fn(allow)));
    }
}

/// Lets a request through whose token allows what is asked for.
async fn allow(
    entry: &'static Entry,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let principal = request.extensions().get::<Principal>().cloned();
    if principal.as_ref().is_some_and(|principal| principal.role >= entry.role) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let name = principal.as_ref().map_or("", Principal::shown);
    let error = not_allowed(name, entry.role);
    if let Some(audit) = request.app_data::<Data<Audit>>() {
        let action = format!("{} {}{}", entry.method.to_uppercase(), PREFIX, entry.path);
        audit.refused(name, &source(request.request()), &action, request.path(), error.code.as_str());
    }
    Ok(request.into_response(actix_web::ResponseError::error_response(&super::failure::Failure(error))))
}

fn not_allowed(name: &str, role: Role) -> Error {
    let what = format!("the token of '{name}' does not have the role {}", role.as_str());
    Error::new(ErrorCode::PermissionDenied, what)
        .with_help("ask an administrator of the cluster for a token with that role")
}
