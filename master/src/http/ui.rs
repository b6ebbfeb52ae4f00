//! The pages: files that are part of the binary, a login link, and the session behind it. The pages
//! hold no data; what they show they ask of the same routes as every other client, as whoever logged in.

use super::Daemon;
use super::auth::Scheme;
use super::caller::{Caller, source};
use super::failure::Failure;
use crate::sessions::SESSION_LIFE;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, SET_COOKIE};
use actix_web::web::{self, Data, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use firesteel_common::http::LoginLink;
use serde::Deserialize;
use std::time::Instant;

/// Where the pages lie.
pub(super) const PREFIX: &str = "/ui/";
/// The cookie that holds the secret of a session.
pub(super) const COOKIE: &str = "firesteel_session";
/// The header that every request of a page bears which changes something. A page of another origin cannot
/// set it.
pub(super) const PAGE_HEADER: &str = "X-Firesteel-Page";
/// What a page may load and do: only what comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file of the pages: where it lies, what it is, what is in it.
const FILES: &[(&str, &str, &str)] = &[
    ("/ui/", HTML, include_str!("ui/index.html")),
    ("/ui/app.css", STYLE, include_str!("ui/app.css")),
    ("/ui/api.js", SCRIPT, include_str!("ui/api.js")),
    ("/ui/app.js", SCRIPT, include_str!("ui/app.js")),
    ("/ui/application.js", SCRIPT, include_str!("ui/application.js")),
    ("/ui/dom.js", SCRIPT, include_str!("ui/dom.js")),
    ("/ui/followed.js", SCRIPT, include_str!("ui/followed.js")),
    ("/ui/graph.js", SCRIPT, include_str!("ui/graph.js")),
    ("/ui/lists.js", SCRIPT, include_str!("ui/lists.js")),
    ("/ui/place.js", SCRIPT, include_str!("ui/place.js")),
    ("/ui/tokens.js", SCRIPT, include_str!("ui/tokens.js")),
    ("/ui/words.js", SCRIPT, include_str!("ui/words.js")),
];

/// Adds the pages.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(to_pages))
        .route("/ui", web::get().to(to_pages))
        .route("/ui/login", web::get().to(login));
    for &(path, content_type, text) in FILES {
        config.route(path, web::get().to(move || std::future::ready(page(content_type, text))));
    }
}

async fn to_pages() -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, PREFIX)).finish()
}

fn page(content_type: &'static str, text: &'static str) -> HttpResponse {
    guarded(HttpResponse::Ok()).content_type(content_type).body(text)
}

fn guarded(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
    response.insert_header((REFERRER_POLICY, "no-referrer"));
    response
}

/// `POST /login-links`: a link that logs a browser in as the holder of the token, once.
pub(super) async fn link(daemon: Data<Daemon>, caller: Caller) -> Result<HttpResponse, Failure> {
    let code = daemon.shared.sessions.link(caller.principal, Instant::now())?;
    let path = format!("{PREFIX}login?code={code}");
    Ok(HttpResponse::Created().json(LoginLink { path }))
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

/// `GET /ui/login?code=…`: begins a session.
async fn login(
    daemon: Data<Daemon>,
    scheme: Data<Scheme>,
    http: HttpRequest,
    code: Query<Code>,
) -> Result<HttpResponse, Failure> {
    let begun = daemon.shared.sessions.begin(&code.code, Instant::now());
    let (principal, secret) = begun.inspect_err(|error| {
        daemon.shared.audit.refused("", &source(&http), "log in", "pages", error.code.as_str());
    })?;
    daemon.shared.audit.allowed(principal.shown(), &source(&http), "log in", "pages");
    let life = SESSION_LIFE.as_secs();
    let secure = if scheme.0 == "https" { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={secret}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}");
    let mut response = guarded(HttpResponse::SeeOther());
    Ok(response.insert_header((LOCATION, PREFIX)).insert_header((SET_COOKIE, cookie)).finish())
}

/// The secret of the session in a `Cookie` header, if there is one (RFC 6265, section 4.2.1).
pub(super) fn secret_of(header: &str) -> Option<&str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether a path is one of a page, which needs no token.
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/ui" | "/ui/login") || FILES.iter().any(|(file, ..)| *file == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pages_load_is_there() {
        let known: Vec<&str> = FILES.iter().map(|(path, ..)| *path).collect();
        let names = |text: &str, mark: &str, end: char| -> Vec<String> {
            let rest = text.split(mark).skip(1);
            rest.filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())).collect()
        };
        for (path, _, text) in FILES {
            let mut wanted = names(text, "from './", '\'');
            wanted.extend(names(text, " src=\"", '"'));
            wanted.extend(names(text, "\"stylesheet\" href=\"", '"'));
            for name in wanted {
                assert!(known.contains(&format!("{PREFIX}{name}").as_str()), "{path} loads {name}");
            }
            // The one address that is there is the name of a format.
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "").contains("http://");
            assert!(!elsewhere && !text.contains("https://"), "{path} names another host");
        }
    }

    #[test]
    fn the_secret_is_found_among_other_cookies() {
        for (header, secret) in [
            ("firesteel_session=ab", Some("ab")),
            ("theme=dark; firesteel_session=ab; x=y", Some("ab")),
            ("firesteel_sessions=ab", None),
            ("xfiresteel_session=ab", None),
            ("firesteel_session", None),
            ("", None),
        ] {
            assert_eq!(secret_of(header), secret, "{header}");
        }
    }
}
