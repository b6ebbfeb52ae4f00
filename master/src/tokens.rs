//! Who may ask for what: the tokens by the hash of their secret. The cluster's own token, which lies in the
//! run directory, may do everything; others are made and revoked by whoever may do everything.
//!
//! Secrets are 256 random bits, so a fast hash of them is enough. Nothing here speaks HTTP or writes to disk.

use crate::clock::wall_ms;
use firesteel_common::http::{Role, TokenInfo};
use firesteel_common::{Error, ErrorCode};
use firesteel_net::Key;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What tokens begin with, so that they are recognised where they should not be.
const PREFIX: &str = "fst_";
/// Tokens of one master at most.
const TOKENS_MAX: usize = 10_000;
/// The longest name of a token, in bytes.
const NAME_MAX: usize = 64;

/// SHA-256 of a token.
pub(crate) type TokenHash = [u8; 32];

/// A token as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredToken {
    /// Its name.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// SHA-256 of it.
    pub hash: TokenHash,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The name of the token; empty for the cluster's own.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
}

impl Principal {
    /// Whether something that `owner` has submitted is this principal's to read and to end.
    pub(crate) fn owns(&self, owner: &str) -> bool {
        self.role == Role::Admin || (self.role == Role::Submit && self.name == owner)
    }

    /// How it stands in logs.
    pub(crate) fn shown(&self) -> &str {
        if self.name.is_empty() { "cluster" } else { &self.name }
    }
}

/// See the module.
pub(crate) struct Tokens {
    by_hash: Mutex<BTreeMap<TokenHash, Known>>,
}

struct Known {
    principal: Principal,
    created_ms: u64,
    last_used_ms: Option<u64>,
}

impl Tokens {
    /// The cluster's own token, and those of the journal.
    pub(crate) fn new(own: &str, stored: Vec<StoredToken>) -> Self {
        let principal = Principal { name: String::new(), role: Role::Admin };
        let own = (hash(own), Known { principal, created_ms: 0, last_used_ms: None });
        let tokens = Self { by_hash: Mutex::new(BTreeMap::from([own])) };
        for token in stored {
            tokens.add(token);
        }
        tokens
    }

    /// Who holds a token.
    pub(crate) fn identify(&self, token: &str) -> Option<Principal> {
        // Looking up a hash tells nothing of the token by the time that it takes.
        let mut tokens = self.by_hash.lock();
        let known = tokens.get_mut(&hash(token))?;
        known.last_used_ms = Some(wall_ms());
        Some(known.principal.clone())
    }

    /// Makes a token that is not known yet: what is to be kept of it, and itself.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a name that is none, `CONFLICT` if there is one of this name, `QUEUE_FULL` for too
    /// many.
    pub(crate) fn make(&self, name: &str, role: Role) -> Result<(StoredToken, String), Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) || name == "cluster" {
            let what =
                "the name of a token is 1 to 64 letters, digits, '-', '_', '.' or '@', and not 'cluster'";
            return Err(Error::new(ErrorCode::BadRequest, what));
        }
        let tokens = self.by_hash.lock();
        if tokens.values().any(|known| known.principal.name == name) {
            return Err(name_taken(name));
        }
        if tokens.len() >= TOKENS_MAX {
            return Err(Error::new(ErrorCode::QueueFull, format!("there are {TOKENS_MAX} tokens already"))
                .with_help("revoke some"));
        }
        let token = format!("{PREFIX}{}", Key::generate()?.to_hex());
        let stored = StoredToken { name: name.to_owned(), role, created_ms: wall_ms(), hash: hash(&token) };
        Ok((stored, token))
    }

    /// A token counts from now on.
    pub(crate) fn add(&self, token: StoredToken) {
        let StoredToken { name, role, created_ms, hash } = token;
        let known = Known { principal: Principal { name, role }, created_ms, last_used_ms: None };
        self.by_hash.lock().insert(hash, known);
    }

    /// A token counts no longer.
    pub(crate) fn remove(&self, name: &str) {
        self.by_hash
            .lock()
            .retain(|_, known| known.principal.name.is_empty() || known.principal.name != name);
    }

    /// Whether there is a token of this name, other than the cluster's own.
    pub(crate) fn has(&self, name: &str) -> bool {
        !name.is_empty() && self.by_hash.lock().values().any(|known| known.principal.name == name)
    }

    /// All but the cluster's own, by name.
    pub(crate) fn list(&self) -> Vec<TokenInfo> {
        let tokens = self.by_hash.lock();
        let made = tokens.values().filter(|known| !known.principal.name.is_empty());
        let mut list: Vec<TokenInfo> = made
            .map(|known| TokenInfo {
                name: known.principal.name.clone(),
                role: known.principal.role,
                created_ms: known.created_ms,
                last_used_ms: known.last_used_ms,
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }
}

/// What is said of a name that a token has already.
pub(crate) fn name_taken(name: &str) -> Error {
    Error::new(ErrorCode::Conflict, format!("there is a token of the name '{name}'"))
        .with_help("revoke it first, or choose another name")
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_from_its_making_to_its_end() {
        let tokens = Tokens::new("own", vec![]);
        assert_eq!(tokens.identify("own").unwrap().role, Role::Admin);
        let (stored, token) = tokens.make("ann", Role::Submit).unwrap();
        assert!(token.starts_with("fst_") && token.len() == 68, "{token}");
        assert_eq!(tokens.identify(&token), None, "it is not durable yet");
        tokens.add(stored.clone());
        assert_eq!(tokens.identify(&token), Some(Principal { name: "ann".into(), role: Role::Submit }));
        assert!(tokens.list()[0].last_used_ms.is_some());
        assert_eq!(tokens.make("ann", Role::Viewer).unwrap_err().code, ErrorCode::Conflict);
        assert_eq!(Tokens::new("own", vec![stored]).list().len(), 1);
        tokens.remove("ann");
        tokens.remove("");
        assert_eq!(tokens.identify(&token), None);
        assert!(tokens.identify("own").is_some() && tokens.identify("").is_none());
    }

    #[test]
    fn names_that_are_none() {
        for name in ["", "cluster", "a b", "../x", "<svg>", "ä", &"x".repeat(65)] {
            let made = Tokens::new("own", vec![]).make(name, Role::Viewer);
            assert_eq!(made.unwrap_err().code, ErrorCode::BadRequest, "{name}");
        }
    }

    #[test]
    fn who_owns_what() {
        let who = |name: &str, role| Principal { name: name.into(), role };
        assert!(who("ann", Role::Submit).owns("ann") && who("bob", Role::Admin).owns("ann"));
        assert!(!who("bob", Role::Submit).owns("ann") && !who("ann", Role::Viewer).owns("ann"));
        assert!(!who("bob", Role::Submit).owns(""), "the cluster's own are the administrators'");
    }
}
