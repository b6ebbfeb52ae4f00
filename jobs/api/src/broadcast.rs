//! Values that the driver gives to all tasks: they travel once to each worker, and are decoded once in each
//! executor, however many tasks use them.
//!
//! No mechanism of their own: a broadcast value is a shuffle with one reducer whose map tasks have the parts
//! of the encoded value in their payloads. So it is made again where it is lost, as long as its driver lives.
//! A task that uses it reads it as one more input of its stage, unless its process has the value; the first
//! one leaves the whole value with its own worker, where the next executor finds it mapped.

mod loaded;

pub(crate) use loaded::load;

use crate::context::Context;
use crate::driver::Driver;
use crate::ops::parts::{Parts, WriteParts};
use crate::plan::{Dataset, Shuffle};
use firesteel_common::block::{Encoding, SegmentHeader};
use firesteel_common::id::{DatasetId, StageId};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of an encoded value that one message to a worker carries.
const PART: usize = 4 * 1024 * 1024;
/// The longest encoded value: it goes to the master in one message of at most 256 MiB, with its job.
const BYTES_MAX: usize = 240 * 1024 * 1024;

/// A value that every task can see: pass it to closures as a captured value (`map_with` and the like).
///
/// It is freed when its last handle is gone, that of every dataset that uses it included.
pub struct Broadcast<T> {
    key: Key,
    value: Arc<T>,
    /// Driver only.
    source: Option<Arc<Source>>,
}

/// What a value is known by in every process: the stage that carries it, and the checksum of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    number: u32,
    checksum: u64,
}

/// Where a value is, for the tasks of a stage that uses it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    key: Key,
    /// The input of the stage.
    stage: StageId,
    /// What the whole value is called where it is kept.
    dataset: DatasetId,
    /// How long it is, encoded.
    bytes: u64,
}

/// The driver's side of a value.
struct Source {
    driver: Arc<Driver>,
    encoded: Arc<Vec<Payload>>,
    bytes: u64,
    state: Mutex<State>,
}

enum State {
    /// Nobody has it.
    Away,
    /// Planned; the first job that uses it brings it.
    Out(Arc<Out>),
    Destroyed,
}

/// A value that was given out. With the last handle the stage that carries it goes, and the whole values that
/// workers keep: whatever was planned with it holds one.
pub(crate) struct Out {
    key: Key,
    bytes: u64,
    /// The stage that carries it.
    pub shuffle: Arc<Shuffle<'static>>,
    dataset: Arc<Dataset>,
}

impl Out {
    /// What tasks have to know.
    pub fn used(&self) -> Used {
        Used { key: self.key, stage: self.shuffle.id, dataset: self.dataset.id, bytes: self.bytes }
    }
}

thread_local! {
    /// The values that a program which is being encoded on this thread uses.
    static USED: RefCell<Option<Vec<Result<Arc<Out>>>>> = const { RefCell::new(None) };
}

/// Encodes a program, and says which broadcast values it uses, each once.
///
/// # Errors
/// What `encode` fails with; `BAD_ARGUMENT` if a value was destroyed.
pub(crate) fn used_by<R>(encode: impl FnOnce() -> Result<R>) -> Result<(R, Vec<Arc<Out>>)> {
    let outer = USED.replace(Some(Vec::new()));
    let encoded = encode();
    let used = USED.replace(outer).unwrap_or_default();
    let mut outs: Vec<Arc<Out>> = used.into_iter().collect::<Result<_>>()?;
    outs.sort_by_key(|out| out.shuffle.id);
    outs.dedup_by_key(|out| out.shuffle.id);
    Ok((encoded?, outs))
}

impl Source {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value as it is to be given out.
    fn out(&self, key: Key) -> Result<Arc<Out>> {
        let mut state = self.state();
        match &*state {
            State::Out(out) => Ok(out.clone()),
            State::Destroyed => {
                let message = format!("broadcast value {} is used after it was destroyed", key.number);
                Err(Error::new(ErrorCode::BadArgument, message)
                    .with_help("destroy it after the last action on a dataset that uses it"))
            }
            State::Away => {
                let dataset = Dataset::new(&self.driver);
                let parts = Parts { parts: self.encoded.clone(), whole: dataset.id };
                let shuffle = Shuffle::new(&self.driver, "broadcast", 1, parts, WriteParts);
                let out = Arc::new(Out { key, bytes: self.bytes, shuffle, dataset });
                *state = State::Out(out.clone());
                Ok(out)
            }
        }
    }
}

impl Context<'_> {
    /// Gives a value to all tasks. It travels with the first job that uses it.
    ///
    /// # Errors
    /// `CODEC` if it cannot be encoded, `TOO_LARGE` if that is more than 240 MiB.
    pub fn broadcast<T>(&self, value: T) -> Result<Broadcast<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let (encoded, inner) = used_by(|| crate::serial::encode_value(&value))?;
        if !inner.is_empty() {
            let message = "a broadcast value cannot hold another one; capture both";
            return Err(Error::new(ErrorCode::BadArgument, message));
        }
        let bytes = encoded.len();
        if bytes > BYTES_MAX {
            let message = format!("a broadcast value of {bytes} bytes is longer than {BYTES_MAX}");
            return Err(Error::new(ErrorCode::TooLarge, message)
                .with_help("make a dataset of it and join, or have the tasks read it from a file"));
        }
        let key = Key { number: self.driver().new_broadcast(), checksum: checksum(&encoded) };
        let mut parts: Vec<Payload> = encoded.chunks(PART).map(Payload::from).collect();
        if parts.is_empty() {
            parts.push(Payload::empty());
        }
        let source = Source {
            driver: self.shared_driver(),
            encoded: Arc::new(parts),
            bytes: bytes as u64,
            state: Mutex::new(State::Away),
        };
        // Numbered now: its stage comes before those that use it.
        source.out(key)?;
        Ok(Broadcast { key, value: Arc::new(value), source: Some(Arc::new(source)) })
    }
}

/// The checksum that blocks have.
fn checksum(bytes: &[u8]) -> u64 {
    SegmentHeader::seal(Encoding::Plain, 0, bytes.len() as u64, 1, bytes).checksum
}

impl<T> Broadcast<T> {
    /// The value: in the driver, and in tasks.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Takes the value back from the workers, as soon as nothing that was planned with it needs it. The next
    /// job that uses it brings it again. In a task it does nothing.
    pub fn unpersist(&self) {
        if let Some(source) = &self.source {
            let mut state = source.state();
            if matches!(*state, State::Out(_)) {
                *state = State::Away;
            }
        }
    }

    /// Takes the value back for good: a job that still uses it fails with `BAD_ARGUMENT` when it is planned.
    /// What was planned before is finished, and made again where it is lost. In a task it does nothing.
    pub fn destroy(&self) {
        if let Some(source) = &self.source {
            *source.state() = State::Destroyed;
        }
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self { key: self.key, value: self.value.clone(), source: self.source.clone() }
    }
}

impl<T> Serialize for Broadcast<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        USED.with_borrow_mut(|used| {
            if let (Some(used), Some(source)) = (used, &self.source) {
                used.push(source.out(self.key));
            }
        });
        self.key.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Broadcast<T>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = Key::deserialize(deserializer)?;
        let value = loaded::value(key).map_err(serde::de::Error::custom)?;
        Ok(Self { key, value, source: None })
    }
}
