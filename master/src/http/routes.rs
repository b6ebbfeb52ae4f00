//! The routes, in one table: what is asked for, what a token must allow, which parameters there are, what is
//! answered, and by whom. Routing, the check of roles and of parameters, the tests and the OpenAPI document
//! are all made from it, so there is no route without a role and none that is not described.

use super::caller::source;
use super::failure::Failure;
#[cfg(test)]
use super::openapi::{Content, schema};
use super::{
    applications, audit, events, logs, metrics, openapi, output, plugins, query, spark, submit, tokens, ui,
    workers,
};
use crate::audit::Audit;
use crate::tokens::Principal;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{HttpMessage, Route};
use firesteel_common::http::Role;
#[cfg(test)]
use firesteel_common::http::{
    AppProgress, AppStatus, ExecutorInfo, Identity, LogPiece, LogSource, LoginLink, PluginInfo,
    SubmitRequest, SubmitResponse, TokenCreate, TokenCreated, TokenInfo, WorkerInfo,
};
use firesteel_common::{Error, ErrorCode};

/// One route.
pub(crate) struct Entry {
    /// The method.
    pub method: &'static str,
    /// The path, with `{…}` for what varies.
    pub path: &'static str,
    /// What a token must allow at least.
    pub role: Role,
    to: fn() -> Route,
    /// The parameters that may stand in the query.
    pub query: fn() -> &'static [&'static str],
    /// What it does.
    #[cfg(test)]
    pub about: &'static str,
    /// The parameters, each with its type.
    #[cfg(test)]
    pub parameters: super::openapi::Describe,
    /// What the body of the request is.
    #[cfg(test)]
    pub body: Content,
    /// What is answered, by status.
    #[cfg(test)]
    pub answers: &'static [(u16, Content)],
}

#[cfg(test)]
macro_rules! content {
    () => {
        Content::Nothing
    };
    ($media:literal) => {
        Content::Other($media)
    };
    ($type:ty) => {
        Content::Json(schema::<$type>)
    };
}

macro_rules! routes {
    ($(under $prefix:literal {$(
        #[doc = $about:literal]
        $method:ident $path:literal $role:ident $handler:path, query $query:ty, takes [$($body:tt)*]
            $(, $status:literal [$($answer:tt)*])+;
    )*})*) => {
        /// Every route that needs a token.
        pub(crate) const TABLE: &[Entry] = &[$($(Entry {
            method: stringify!($method),
            path: concat!($prefix, $path),
            role: Role::$role,
            to: || web::$method().to($handler),
            query: query::names::<$query>,
            #[cfg(test)]
            about: $about,
            #[cfg(test)]
            parameters: schema::<$query>,
            #[cfg(test)]
            body: content!($($body)*),
            #[cfg(test)]
            answers: &[$(($status, content!($($answer)*))),+],
        },)*)*];
    };
}

routes! {
    under "/api/firesteel/v1" {
        /// Who the holder of the token is.
        get "/whoami" Viewer tokens::whoami, query (), takes [], 200 [Identity];
        /// The plugins that the master keeps, by hash.
        get "/plugins" Viewer plugins::list, query (), takes [], 200 [Vec<PluginInfo>];
        /// Takes in a plugin: the body is the file. 200 for one that was there already.
        post "/plugins" Submit plugins::upload, query plugins::UploadQuery,
            takes ["application/octet-stream"], 200 [PluginInfo], 201 [PluginInfo];
        /// One plugin.
        get "/plugins/{hash}" Viewer plugins::get, query (), takes [], 200 [PluginInfo];
        /// Removes a plugin that no application needs.
        delete "/plugins/{hash}" Admin plugins::remove, query (), takes [], 204 [];
        /// Applications, the newest first; the header X-Total-Count says how many fit the filter in all.
        get "/applications" Viewer applications::list, query applications::Filter, takes [],
            200 [Vec<AppStatus>];
        /// Submits an application. Answered when it is durable.
        post "/applications" Submit submit::submit, query (), takes [SubmitRequest], 202 [SubmitResponse];
        /// How an application is.
        get "/applications/{app}" Viewer applications::get, query applications::Wait, takes [],
            200 [AppStatus];
        /// What was submitted, with what was left to be understood filled in.
        get "/applications/{app}/submission" Submit applications::submission, query (), takes [],
            200 [SubmitRequest];
        /// Ends an application: 202 when that is durable, 200 for one that has ended already.
        post "/applications/{app}/kill" Submit applications::kill, query (), takes [],
            200 [AppStatus], 202 [AppStatus];
        /// How far the stages of the running driver attempt are; none after the end.
        get "/applications/{app}/progress" Viewer applications::progress, query (), takes [],
            200 [AppProgress];
        /// The processes that run tasks of an application, with the sandbox that is in force for them.
        get "/applications/{app}/executors" Viewer applications::executors, query (), takes [],
            200 [Vec<ExecutorInfo>];
        /// The result: the JSON of an entry point, or an Arrow stream. 409 before the end.
        get "/applications/{app}/result" Submit output::result, query (), takes [],
            200 ["application/octet-stream"];
        /// A piece of what the application's processes have printed; with `follow`, all of it as it comes.
        get "/applications/{app}/logs" Submit logs::get, query logs::LogsQuery, takes [],
            200 [LogPiece], 200 ["text/plain"];
        /// The processes that have printed something.
        get "/applications/{app}/logs/sources" Submit logs::sources, query (), takes [],
            200 [Vec<LogSource>];
        /// Lines of the event log, one JSON object each; with `follow`, as server-sent events as they come.
        get "/applications/{app}/events" Viewer events::get, query events::EventsQuery, takes [],
            200 ["application/jsonl"], 200 ["text/event-stream"], 204 [];
        /// The processes that run tasks of any application, with the sandbox that is in force for them.
        get "/executors" Viewer applications::all_executors, query (), takes [], 200 [Vec<ExecutorInfo>];
        /// The workers that are not lost.
        get "/workers" Viewer workers::list, query workers::Wanted, takes [], 200 [Vec<WorkerInfo>];
        /// Takes a worker out of service: it gets nothing new, and ends when its outputs are moved.
        post "/workers/{worker}/drain" Admin workers::drain, query (), takes [], 202 [];
        /// The tokens, without their secrets.
        get "/tokens" Admin tokens::list, query (), takes [], 200 [Vec<TokenInfo>];
        /// Makes a token. It is told this once.
        post "/tokens" Admin tokens::create, query (), takes [TokenCreate], 201 [TokenCreated];
        /// Revokes a token.
        delete "/tokens/{name}" Admin tokens::revoke, query (), takes [], 204 [];
        /// The last lines of the audit log, one JSON object each, the newest last.
        get "/audit" Admin audit::tail, query audit::Tail, takes [], 200 ["application/jsonl"];
        /// This description.
        get "/openapi.json" Viewer openapi::get, query (), takes [], 200 ["application/json"];
        /// How the master is, in the text format of Prometheus.
        get "/metrics" Viewer metrics::get, query (), takes [], 200 ["text/plain"];
        /// A link that logs a browser in as the holder of the token, once and within a minute.
        post "/login-links" Viewer ui::link, query (), takes [], 201 [LoginLink];
    }
    under "/v1/submissions" {
        /// Spark's interface: submits an application.
        post "/create" Submit spark::create, query (), takes [spark::CreateSubmission],
            200 [spark::SubmissionAnswer];
        /// Spark's interface: how a submission is.
        get "/status/{id}" Viewer spark::get, query (), takes [], 200 [spark::SubmissionAnswer];
        /// Spark's interface: ends a submission.
        post "/kill/{id}" Submit spark::kill, query (), takes [], 200 [spark::SubmissionAnswer];
        /// Spark's interface: ends all submissions that the caller may end.
        post "/killall" Submit spark::kill_all, query (), takes [], 200 [spark::SubmissionAnswer];
        /// Spark's interface: forgets all applications that have ended.
        post "/clear" Admin spark::clear, query (), takes [], 200 [spark::SubmissionAnswer];
        /// Spark's interface: whether a submission can be made durable.
        get "/readyz" Viewer spark::ready, query (), takes [], 200 [spark::SubmissionAnswer];
    }
    under "/metrics" {
        /// The same as /api/firesteel/v1/metrics, where a master of Spark has it.
        get "/master/prometheus" Viewer metrics::get, query (), takes [], 200 ["text/plain"];
    }
}

/// Adds all of them.
pub(super) fn add(config: &mut web::ServiceConfig) {
    for entry in TABLE {
        let allow = move |request: ServiceRequest, next: Next<BoxBody>| allow(entry, request, next);
        config.route(entry.path, (entry.to)().wrap(from_fn(allow)));
    }
}

/// Lets a request through whose token allows what is asked for, and whose parameters are known.
async fn allow(
    entry: &'static Entry,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let principal = request.extensions().get::<Principal>().cloned();
    if principal.as_ref().is_some_and(|principal| principal.role >= entry.role) {
        return match query::check(request.query_string(), (entry.query)()) {
            Ok(()) => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
            Err(error) => Ok(refuse(request, error)),
        };
    }
    let name = principal.as_ref().map_or("", Principal::shown);
    let error = not_allowed(name, entry.role);
    if let Some(audit) = request.app_data::<Data<Audit>>() {
        let action = format!("{} {}", entry.method.to_uppercase(), entry.path);
        audit.refused(name, &source(request.request()), &action, request.path(), error.code.as_str());
    }
    Ok(refuse(request, error))
}

fn refuse(request: ServiceRequest, error: Error) -> ServiceResponse<BoxBody> {
    request.into_response(actix_web::ResponseError::error_response(&Failure(error)))
}

fn not_allowed(name: &str, role: Role) -> Error {
    let what = format!("the token of '{name}' does not have the role {}", role.as_str());
    Error::new(ErrorCode::PermissionDenied, what)
        .with_help("ask an administrator of the cluster for a token with that role")
}
