//! Answers that go on until something ends: how many there may be, and what the parameter `follow` says.
//!
//! An answer is asked for its next piece when the client's connection has room for it, so a client that does
//! not read holds one piece and its place, and nothing else.

use crate::tokens::Principal;
use firesteel_common::{Error, ErrorCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers that go on, of one master at most.
const STREAMS_MAX: usize = 256;
/// Of these, for one token.
const STREAMS_OF_ONE_MAX: usize = 64;
/// Bytes of one piece, about.
pub(super) const PIECE: usize = 64 * 1024;

/// The places that are taken, by the name of the token.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<BTreeMap<String, usize>>>);

/// A place, until it is dropped.
pub(super) struct Place {
    streams: Streams,
    name: String,
}

impl Streams {
    /// Takes a place.
    ///
    /// # Errors
    /// `QUEUE_FULL` if there is none.
    pub(super) fn take(&self, principal: &Principal) -> Result<Place, Error> {
        let mut taken = self.0.lock();
        let of_one = taken.get(&principal.name).copied().unwrap_or(0);
        if of_one >= STREAMS_OF_ONE_MAX || taken.values().sum::<usize>() >= STREAMS_MAX {
            let what = format!(
                "too many answers are being followed: at most {STREAMS_MAX}, and {STREAMS_OF_ONE_MAX} with \
                 one token"
            );
            return Err(Error::new(ErrorCode::QueueFull, what).with_help("end some, or ask for pieces"));
        }
        taken.insert(principal.name.clone(), of_one + 1);
        Ok(Place { streams: self.clone(), name: principal.name.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.streams.0.lock();
        match taken.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.name);
            }
        }
    }
}

/// Whether the parameter `follow` is set.
///
/// # Errors
/// `BAD_REQUEST` for a value that says neither.
pub(super) fn follows(text: Option<&str>) -> Result<bool, Error> {
    match text {
        Some("1" | "true" | "") => Ok(true),
        None | Some("0" | "false") => Ok(false),
        Some(other) => Err(Error::new(ErrorCode::BadRequest, format!("'follow={other}' says neither"))
            .with_help("write follow=1 or follow=0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::http::Role;

    #[test]
    fn places_are_bounded_for_one_and_for_all() {
        let streams = Streams::default();
        let who = |name: &str| Principal { name: name.to_owned(), role: Role::Viewer };
        let mut places: Vec<Place> =
            (0..STREAMS_OF_ONE_MAX).map(|_| streams.take(&who("ann")).unwrap()).collect();
        assert_eq!(streams.take(&who("ann")).err().unwrap().code, ErrorCode::QueueFull);
        places.pop();
        places.push(streams.take(&who("ann")).unwrap());
        places.extend((places.len()..STREAMS_MAX).map(|n| streams.take(&who(&n.to_string())).unwrap()));
        assert!(streams.take(&who("bob")).is_err());
        drop(places);
        assert!(streams.0.lock().is_empty());
    }

    #[test]
    fn what_follow_says() {
        for (text, wanted) in [(None, false), (Some("1"), true), (Some("true"), true), (Some("0"), false)] {
            assert_eq!(follows(text), Ok(wanted));
        }
        assert!(follows(Some("yes")).is_err());
    }
}
