//! Sessions of browsers. Whoever holds a token asks for a login link; its code counts once and for a minute,
//! and opening it begins a session with what the token allows. Sessions live in memory: a restart ends them.
//!
//! Nothing here speaks HTTP.

use crate::tokens::{Principal, Tokens};
use firesteel_common::{Error, ErrorCode};
use firesteel_net::Key;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a login link can be opened.
pub(crate) const LINK_LIFE: Duration = Duration::from_secs(60);
/// How long a session lasts.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Links and sessions of one master at most; the oldest go first.
const KEPT: usize = 1024;

/// SHA-256 of a code or of a session's secret.
type Hash = [u8; 32];

/// See the module.
#[derive(Default)]
pub(crate) struct Sessions {
    links: Mutex<BTreeMap<Hash, (Principal, Instant)>>,
    sessions: Mutex<BTreeMap<Hash, (Principal, Instant)>>,
}

impl Sessions {
    /// A code that begins a session of this principal, once.
    ///
    /// # Errors
    /// If there is no randomness to be had.
    pub(crate) fn link(&self, principal: Principal, now: Instant) -> Result<String, Error> {
        keep(&self.links, principal, now + LINK_LIFE, now)
    }

    /// The secret of the session that a code begins.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for a code that is unknown, used or too old.
    pub(crate) fn begin(&self, code: &str, now: Instant) -> Result<(Principal, String), Error> {
        let link = self.links.lock().remove(&hash(code));
        let Some((principal, _)) = link.filter(|(_, until)| now < *until) else {
            let what = "this login link was used already, or is too old";
            return Err(Error::new(ErrorCode::Unauthenticated, what).with_help("run `firesteel ui` again"));
        };
        let secret = keep(&self.sessions, principal.clone(), now + SESSION_LIFE, now)?;
        Ok((principal, secret))
    }

    /// Ends the sessions and links of a token that was revoked: a later one of the same name is another one.
    pub(crate) fn end(&self, name: &str) {
        for all in [&self.links, &self.sessions] {
            all.lock().retain(|_, (principal, _)| principal.name != name);
        }
    }

    /// Whose session it is, unless it is over or its token was revoked.
    pub(crate) fn identify(&self, secret: &str, tokens: &Tokens, now: Instant) -> Option<Principal> {
        let (principal, until) = self.sessions.lock().get(&hash(secret)).cloned()?;
        let lives = principal.name.is_empty() || tokens.has(&principal.name);
        (now < until && lives).then_some(principal)
    }
}

/// Remembers something under the hash of a new secret, and gives the secret.
fn keep(
    all: &Mutex<BTreeMap<Hash, (Principal, Instant)>>,
    principal: Principal,
    until: Instant,
    now: Instant,
) -> Result<String, Error> {
    let secret = Key::generate()?.to_hex();
    let mut all = all.lock();
    all.retain(|_, (_, until)| now < *until);
    if all.len() >= KEPT
        && let Some(oldest) = all.iter().min_by_key(|(_, (_, until))| *until).map(|(hash, _)| *hash)
    {
        all.remove(&oldest);
    }
    all.insert(hash(&secret), (principal, until));
    Ok(secret)
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::http::Role;

    #[test]
    fn a_link_counts_once_and_a_session_until_its_token_is_revoked() {
        let tokens = Tokens::new("own", vec![]);
        let (stored, _) = tokens.make("ann", Role::Viewer).unwrap();
        tokens.add(stored);
        let sessions = Sessions::default();
        let ann = Principal { name: "ann".into(), role: Role::Viewer };
        let now = Instant::now();
        let code = sessions.link(ann.clone(), now).unwrap();
        assert!(sessions.identify(&code, &tokens, now).is_none(), "a code is no session");
        let (who, secret) = sessions.begin(&code, now).unwrap();
        assert_eq!((who, sessions.identify(&secret, &tokens, now)), (ann.clone(), Some(ann.clone())));
        assert!(sessions.begin(&code, now).is_err(), "once");
        assert!(sessions.begin("", now).is_err());
        assert!(sessions.identify(&secret, &tokens, now + SESSION_LIFE).is_none());
        let other = sessions.link(ann.clone(), now).unwrap();
        let late = sessions.link(ann, now).unwrap();
        assert!(sessions.begin(&late, now + LINK_LIFE).is_err());
        tokens.remove("ann");
        assert!(sessions.identify(&secret, &tokens, now).is_none());
        sessions.end("ann");
        let (stored, _) = tokens.make("ann", Role::Viewer).unwrap();
        tokens.add(stored);
        assert!(sessions.identify(&secret, &tokens, now).is_none(), "another token of the name");
        assert!(sessions.begin(&other, now).is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let sessions = Sessions::default();
        let now = Instant::now();
        for _ in 0..KEPT + 10 {
            sessions.link(Principal { name: String::new(), role: Role::Admin }, now).unwrap();
        }
        assert_eq!(sessions.links.lock().len(), KEPT);
    }
}
