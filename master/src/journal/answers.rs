//! Answers to records: kept until their transaction is over, and given to each, whatever breaks. Nothing here
//! touches the database.

use super::{Ack, Record};
use firesteel_common::{Error, ErrorCode};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is called when the transaction of a record is over.
pub(super) type Deferred = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// The outer error fails the whole transaction, the inner one only its record.
pub(super) type Applied<T> = Result<Result<T, Error>, redb::Error>;

/// Applies a record, and keeps the answer to it until its transaction is over.
pub(super) fn defer<T: Send + 'static>(
    ack: Ack<T>,
    apply: impl FnOnce() -> Applied<T>,
    deferred: &mut Vec<Deferred>,
) -> Result<(), redb::Error> {
    let applied = survive(apply).unwrap_or_else(|| Err(redb::Error::Corrupted("a panic".to_owned())));
    let (answer, broken) = match applied {
        Ok(answer) => (answer, Ok(())),
        Err(cause) => (Err(not_open()), Err(cause)),
    };
    deferred.push(Box::new(move |committed| ack(committed.and(answer))));
    broken
}

/// The answer to a record that found no transaction: why there was none.
pub(super) fn refuse(record: Record) -> Deferred {
    fn unwritten<T: 'static>(ack: Ack<T>) -> Deferred {
        Box::new(move |committed| ack(committed.and(Err(not_open()))))
    }
    match record {
        Record::Submit(_, ack) => unwritten(ack),
        Record::Outcome(_, ack) => unwritten(ack),
        Record::Plugin(_, ack) | Record::Attempt(_, ack) | Record::Kill(_, _, ack) => unwritten(ack),
        Record::PluginRemoved(_, ack) | Record::Probe(ack) => unwritten(ack),
        Record::Forget(_, ack) => unwritten(ack),
        Record::Token(_, ack) | Record::TokenRevoked(_, ack) => unwritten(ack),
    }
}

/// Runs something of which a panic must not end the journal's thread; `None` if it panicked. What it worked
/// on is given up by the caller: a transaction, and with it the open database.
pub(super) fn survive<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

pub(super) fn not_open() -> Error {
    Error::new(ErrorCode::Io, "the journal could not be opened again after a failed write")
}

pub(super) fn panicked() -> Error {
    Error::new(ErrorCode::Internal, "the journal's writer panicked; it opens the journal anew")
}
