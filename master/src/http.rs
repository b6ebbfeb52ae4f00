//! The HTTP daemon: one router, one guard in front of all of it, one file for each resource.
//!
//! Handlers parse ids, look at the board, or hand something to the journal; they decide nothing. No text of a
//! client becomes a path: every id in a path is a parsed type.

mod applications;
mod audit;
mod auth;
mod caller;
mod events;
mod failure;
mod health;
mod intake;
mod logs;
mod metrics;
mod openapi;
mod output;
mod plugins;
mod query;
mod routes;
mod spark;
mod streams;
mod submit;
mod tokens;
mod ui;
mod unread;
mod workers;

use crate::actor::Master;
use crate::effects::Shared;
use crate::journal::{Ack, Record};
use actix::Addr;
use actix_web::dev::Server;
use actix_web::error::QueryPayloadError;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{self, Data, QueryConfig};
use actix_web::{App, HttpRequest, HttpServer};
use failure::Failure;
use firesteel_common::config::MasterConfig;
use firesteel_common::http::Role;
use firesteel_common::{Error, ErrorCode};
use firesteel_net::{Key, Transport, Trust};
use plugins::Placing;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use streams::Streams;
use tokio::sync::{Semaphore, oneshot};

/// Where everything of ours lies.
const PREFIX: &str = "/api/firesteel/v1";
/// Threads of the daemon.
const THREADS: usize = 2;
/// Connections of one thread at most.
const CONNECTIONS: usize = 1000;
/// TLS sessions that one thread may be beginning: as many as it has connections, so that those who begin one
/// and say nothing keep out nobody.
const HANDSHAKES: usize = CONNECTIONS;
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection without a request is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a connection that is to be closed may still bring what nobody reads.
const LINGER: Duration = Duration::from_secs(2);
/// How long requests may still run when the master ends, in seconds.
const SHUTDOWN_SECONDS: u64 = 2;
/// Plugins that may be on their way at once.
const UPLOADS: usize = 4;
/// The longest wait that a client can ask for, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// Every route of the daemon that needs a token: its method, its path (with `{…}` for what varies), and the
/// role that the token must have at least.
pub fn route_table() -> Vec<(String, String, Role)> {
    let row = |entry: &routes::Entry| (entry.method.to_uppercase(), entry.path.to_owned(), entry.role);
    routes::TABLE.iter().map(row).collect()
}

/// What handlers look at.
pub(crate) struct Daemon {
    /// Everything that is shared.
    pub shared: Shared,
    /// The actor.
    pub actor: Addr<Master>,
    /// The cluster secret, for the keys of client mode.
    pub secret: Key,
    /// How drivers of client mode reach the cluster.
    pub trust: Trust,
    /// The address that drivers dial.
    pub master: String,
    /// Where plugins and results lie.
    pub run_dir: PathBuf,
    /// Limits.
    pub config: MasterConfig,
    /// Places for uploads.
    pub uploads: Semaphore,
    /// Held by who tries whether the journal can be written.
    pub probing: Semaphore,
    /// Places for answers that go on.
    pub streams: Streams,
    /// Plugins on their way to their place.
    pub placing: Placing,
}

impl Daemon {
    /// What handlers look at.
    pub(crate) fn new(
        shared: Shared,
        actor: Addr<Master>,
        secret: Key,
        trust: Trust,
        master: String,
        run_dir: PathBuf,
        config: MasterConfig,
    ) -> Self {
        let (uploads, probing) = (Semaphore::new(UPLOADS), Semaphore::new(1));
        let (streams, placing) = (Streams::default(), Placing::default());
        Self { shared, actor, secret, trust, master, run_dir, config, uploads, probing, streams, placing }
    }

    /// Makes a record durable. What follows from it happens in `then`, in the order of the records and
    /// whether or not the client still listens.
    async fn write<T: Send + 'static, U: Send + 'static>(
        &self,
        record: impl FnOnce(Ack<T>) -> Record,
        then: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Result<U, Error> {
        let (answer, written) = oneshot::channel();
        self.shared.journal.try_write(record(Box::new(move |written: Result<T, Error>| {
            // A client that has gone away is not waiting for it.
            answer.send(written.and_then(then)).ok();
        })))?;
        written.await.map_err(|_| workers::stopping())?
    }
}

/// Starts the daemon on a listening socket.
///
/// # Errors
/// `IO` if the socket cannot be used.
pub(crate) fn start(listener: TcpListener, transport: &Transport, daemon: Daemon) -> Result<Server, Error> {
    let hosts = Data::new(auth::Hosts(daemon.config.hosts.clone()));
    let scheme = if transport.certificates().is_some() { "https" } else { "http" };
    let tokens = Data::from(daemon.shared.tokens.clone());
    let audit = Data::from(daemon.shared.audit.clone());
    let sessions = Data::from(daemon.shared.sessions.clone());
    let daemon = Data::new(daemon);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(daemon.clone())
            .app_data(tokens.clone())
            .app_data(audit.clone())
            .app_data(sessions.clone())
            .app_data(hosts.clone())
            .app_data(Data::new(auth::Scheme(scheme)))
            .app_data(QueryConfig::default().error_handler(bad_query))
            .wrap(from_fn(auth::guard))
            .wrap(
                DefaultHeaders::new()
                    .add(("X-Content-Type-Options", "nosniff"))
                    .add(("Cache-Control", "no-store")),
            )
            .wrap(from_fn(unread::close_unread))
            .configure(routes::add)
            .configure(health::routes)
            .service(web::scope(PREFIX).configure(health::routes))
            .configure(ui::routes)
            .default_service(web::to(no_such_route))
    })
    .workers(THREADS)
    .max_connections(CONNECTIONS)
    .max_connection_rate(HANDSHAKES)
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .client_disconnect_timeout(LINGER)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .tls_handshake_timeout(HEAD_TIMEOUT);
    let listening = match transport.certificates() {
        None => server.listen(listener),
        Some(tls) => {
            let missing = || Error::new(ErrorCode::ConfigInvalid, "the HTTP daemon needs a certificate");
            server.listen_rustls_0_23(listener, tls.for_http().ok_or_else(missing)?)
        }
    };
    Ok(listening.map_err(|cause| Error::io("starting the HTTP daemon", &cause))?.run())
}

async fn no_such_route(request: HttpRequest) -> Result<String, Failure> {
    let what = format!("there is no {} {}", request.method(), request.path());
    Err(Error::new(ErrorCode::NotFound, what).with_help("the routes lie under /api/firesteel/v1").into())
}

fn bad_query(cause: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    Failure(Error::new(ErrorCode::BadRequest, cause.to_string())).into()
}

/// The instant at which a client that waits gets its answer at the latest.
fn deadline(wait_ms: Option<u64>) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_millis(wait_ms.unwrap_or(0).min(WAIT_MS_MAX))
}

/// Reads an id in a path or a body.
fn parse_id<T: std::str::FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|cause: T::Err| Error::new(ErrorCode::BadRequest, cause.to_string()))
}
