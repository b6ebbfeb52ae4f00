//! The HTTP daemon of a master as the commands see it: found by itself, spoken to with a token.

use crate::failure::{Exit, Failure, Outcome};
use crate::run_dir;
use clap::Args;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::http::ErrorBody;
use firesteel_master::{AUTHORITY_FILE, MasterState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Where the routes begin.
const API: &str = "/api/firesteel/v1";
/// How long one request may wait at the master for something to happen, in milliseconds. It then is asked
/// again.
pub const WAIT_MS: u64 = 20_000;
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin, beyond [`WAIT_MS`].
const ANSWER_TIMEOUT: Duration = Duration::from_millis(WAIT_MS + 20_000);
/// How long a master that was there may be away, and how often it is looked for meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// The longest body that is taken for a message (results and event logs have no bound).
const MESSAGE_BYTES_MAX: u64 = 64 << 20;
/// The header that says how many entries a list has beyond its page.
const TOTAL: &str = "X-Total-Count";

/// Flags of every command that speaks to a master.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectArgs {
    /// The master's HTTP address, such as https://master:7070; found by itself on this machine
    #[arg(
        long,
        value_name = "URL",
        env = "FIRESTEEL_MASTER",
        hide_env_values = true,
        help_heading = "Cluster"
    )]
    pub master: Option<String>,
    /// The run directory of the cluster, which holds its addresses and its token
    #[arg(
        long,
        value_name = "DIR",
        env = "FIRESTEEL_RUN_DIR",
        hide_env_values = true,
        help_heading = "Cluster"
    )]
    pub run_dir: Option<PathBuf>,
    /// The certificate of the cluster's authority, for https (else the run directory's ca.crt)
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_CA", hide_env_values = true, help_heading = "Cluster")]
    pub ca: Option<PathBuf>,
    /// A file that holds the token (else FIRESTEEL_TOKEN, else the run directory's)
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub token_file: Option<PathBuf>,
}

/// A master's HTTP daemon.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: String,
    /// How it was found, to find it again after a restart.
    connect: ConnectArgs,
}

impl Client {
    /// Finds the master and the token.
    pub fn find(args: &ConnectArgs) -> Outcome<Self> {
        let dir = run_dir::find(args.run_dir.as_deref());
        let base = match &args.master {
            Some(url) => url.clone(),
            None => http_url(&run_dir::live_state(dir.as_ref().map_err(|_| no_home())?)?),
        };
        let token = match (&args.token_file, std::env::var("FIRESTEEL_TOKEN")) {
            (Some(path), _) => read_token(path)?,
            (None, Ok(token)) => token,
            (None, Err(_)) => read_token(&dir.as_ref().map_err(|_| no_home())?.join(run_dir::TOKEN_FILE))?,
        };
        let found = || dir.ok().map(|dir| dir.join(AUTHORITY_FILE)).filter(|path| path.exists());
        let authority = args.ca.clone().or_else(found);
        Ok(Self { connect: args.clone(), ..Self::over(&base, token.trim(), authority.as_deref())? })
    }

    /// Asks again while the master does not answer, for as long as a restart may take; its address is looked
    /// up again each time. A master whose run directory is gone does not come back.
    pub fn patiently<T>(&mut self, ask: impl Fn(&Client) -> Outcome<T>) -> Outcome<T> {
        let begin = Instant::now();
        loop {
            match ask(self) {
                Err(failure)
                    if failure.exit == Exit::Unreachable && begin.elapsed() < PATIENCE && !self.is_gone() =>
                {
                    std::thread::sleep(PAUSE);
                    if let Ok(found) = Self::find(&self.connect) {
                        *self = found;
                    }
                }
                end => return end,
            }
        }
    }

    /// Whether the run directory that it was found in has been removed.
    fn is_gone(&self) -> bool {
        let dir = run_dir::find(self.connect.run_dir.as_deref());
        self.connect.master.is_none() && dir.is_ok_and(|dir| !dir.exists())
    }

    /// A client for an address with or without a scheme (then http, on this machine); `authority` is the file
    /// of the certificate that is trusted with https, and no other is.
    pub fn over(address: &str, token: &str, authority: Option<&Path>) -> Outcome<Self> {
        let address = &without_spark(address);
        let (base, tls) = match address.split_once("://") {
            None => (format!("http://{address}"), None),
            Some(("http", _)) => (address.to_owned(), None),
            Some(("https", _)) => (address.to_owned(), Some(trust(authority)?)),
            Some((scheme, _)) => {
                return Err(Failure::usage(format!(
                    "'{scheme}' is not a scheme that is spoken; write https://HOST:PORT or http://HOST:PORT"
                )));
            }
        };
        if tls.is_none() && !is_loopback(&base) {
            let what =
                format!("the token must not go to {base} without TLS: everybody on the way can read it");
            return Err(Failure::usage(what).with_help("write https://HOST:PORT, and give --ca FILE"));
        }
        // A proxy of the environment is for the outside world; the token must not go through it.
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .tls_config(tls.unwrap_or_default())
            .build();
        let authorization = format!("Bearer {token}");
        Ok(Self {
            agent: config.new_agent(),
            base: format!("{}{API}", base.trim_end_matches('/')),
            authorization,
            connect: ConnectArgs::default(),
        })
    }

    /// The daemon's address, with its scheme and without a path.
    pub fn root(&self) -> &str {
        self.base.strip_suffix(API).unwrap_or(&self.base)
    }

    /// A JSON answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.json(self.request(path).call())
    }

    /// A page of a list, and how many entries there are in all.
    pub fn get_page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Outcome<(Vec<T>, usize)> {
        let pairs = query.iter().map(|(name, value)| (*name, value.as_str()));
        let response = self.checked(self.request(path).query_pairs(pairs).call())?;
        let total = response.headers().get(TOTAL).and_then(|text| text.to_str().ok()?.parse().ok());
        let page: Vec<T> = self.json(Ok(response))?;
        let known = total.unwrap_or(page.len());
        Ok((page, known))
    }

    /// An answer that goes on, to be read as it comes.
    pub fn follow(&self, path: &str, query: &[(&'static str, String)]) -> Outcome<impl Read + use<>> {
        let pairs = query.iter().map(|(name, value)| (*name, value.as_str()));
        let response = self.checked(self.request(path).query_pairs(pairs).call())?;
        Ok(response.into_body().into_reader())
    }

    /// What is said of an answer that broke off.
    pub fn broken_off(&self, cause: std::io::Error) -> Failure {
        self.unreachable(&ureq::Error::Io(cause))
    }

    /// An answer of any length as bytes.
    pub fn get_bytes(&self, path: &str) -> Outcome<Vec<u8>> {
        let mut response = self.checked(self.request(path).call())?;
        response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_vec()
            .map_err(|cause| self.unreachable(&cause))
    }

    /// Sends JSON, gets JSON.
    pub fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Outcome<T> {
        self.json(
            self.agent
                .post(format!("{}{path}", self.base))
                .header("Authorization", &self.authorization)
                .send_json(body),
        )
    }

    /// Sends a file as it is, gets JSON.
    pub fn post_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Outcome<T> {
        self.json(
            self.agent
                .post(format!("{}{path}", self.base))
                .header("Authorization", &self.authorization)
                .content_type("application/octet-stream")
                .send(body),
        )
    }

    /// Asks for something to be done; the answer's body does not matter.
    pub fn command(&self, path: &str) -> Outcome<()> {
        let request =
            self.agent.post(format!("{}{path}", self.base)).header("Authorization", &self.authorization);
        self.checked(request.send_empty()).map(drop)
    }

    /// Asks for something to be removed.
    pub fn delete(&self, path: &str) -> Outcome<()> {
        let request =
            self.agent.delete(format!("{}{path}", self.base)).header("Authorization", &self.authorization);
        self.checked(request.call()).map(drop)
    }

    fn request(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        self.agent.get(format!("{}{path}", self.base)).header("Authorization", &self.authorization)
    }

    fn json<T: DeserializeOwned>(&self, response: Result<Response<Body>, ureq::Error>) -> Outcome<T> {
        let mut response = self.checked(response)?;
        let bytes = response
            .body_mut()
            .with_config()
            .limit(MESSAGE_BYTES_MAX)
            .read_to_vec()
            .map_err(|cause| self.unreachable(&cause))?;
        serde_json::from_slice(&bytes).map_err(|cause| {
            let message = format!("the answer of {} is not understood: {cause}", self.base);
            Error::new(ErrorCode::VersionMismatch, message)
                .with_help("is that a master of this version of Firesteel?")
                .into()
        })
    }

    fn checked(&self, response: Result<Response<Body>, ureq::Error>) -> Outcome<Response<Body>> {
        let mut response = response.map_err(|cause| self.unreachable(&cause))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body =
            response.body_mut().with_config().limit(MESSAGE_BYTES_MAX).read_to_vec().unwrap_or_default();
        let mut error = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => body.error,
            Err(_) => {
                Error::new(ErrorCode::BadRequest, format!("{} answered with status {status}", self.base))
            }
        };
        if error.code == ErrorCode::Unauthenticated {
            error.help = "the token stands in the file 'token' of the master's run directory: \
                          give it with --token-file or in FIRESTEEL_TOKEN"
                .into();
        }
        Err(Failure::refused(error))
    }

    fn unreachable(&self, cause: &ureq::Error) -> Failure {
        let message = format!("the master at {} does not answer: {cause}", self.base.trim_end_matches(API));
        let error = Error::new(ErrorCode::Unreachable, message).with_help(
            "start a cluster with `firesteel local`, or say where one is with --master or --run-dir",
        );
        Failure { exit: Exit::Unreachable, error }
    }
}

/// The address of a master's daemon, with its scheme.
pub fn http_url(state: &MasterState) -> String {
    format!("{}://{}", if state.tls { "https" } else { "http" }, state.http)
}

/// Trusts one authority.
fn trust(authority: Option<&Path>) -> Outcome<TlsConfig> {
    let Some(path) = authority else {
        return Err(Failure::usage("https needs the certificate of the cluster's authority")
            .with_help("give it with --ca FILE: it is ca.crt of `firesteel admin certs`"));
    };
    let wrong = |cause: &dyn std::fmt::Display| {
        Failure::usage(format!("the certificate {} cannot be used: {cause}", path.display()))
    };
    let text = std::fs::read(path).map_err(|cause| wrong(&cause))?;
    let certificate = Certificate::from_pem(&text).map_err(|cause| wrong(&cause))?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[certificate]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Whether a URL leads to this machine.
fn is_loopback(url: &str) -> bool {
    let uri: Option<ureq::http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(ureq::http::Uri::host).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `spark://HOST:PORT` is the HTTP daemon at that place, with TLS unless it is on this machine.
fn without_spark(address: &str) -> String {
    let Some(place) = address.strip_prefix("spark://") else { return address.to_owned() };
    let plain = format!("http://{place}");
    if is_loopback(&plain) { plain } else { format!("https://{place}") }
}

fn no_home() -> Failure {
    Failure::usage("it is not known where a master is").with_help("give --master URL or --run-dir DIR")
}

fn read_token(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|cause| {
        let message = format!("the token file {} cannot be read: {cause}", path.display());
        Failure { exit: Exit::Refused, error: Error::new(ErrorCode::Unauthenticated, message) }
            .with_help("give the token with --token-file FILE or in FIRESTEEL_TOKEN")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_in_spark_s_words_is_the_http_daemon() {
        for (text, expected) in [
            ("spark://127.0.0.1:7077", "http://127.0.0.1:7077"),
            ("spark://far.example:7077", "https://far.example:7077"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
            ("h:1", "h:1"),
        ] {
            assert_eq!(without_spark(text), expected);
        }
    }
}
