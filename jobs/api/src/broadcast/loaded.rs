//! Broadcast values in the process of tasks: each decoded once, for all tasks that use it.

use super::{Key, Used, checksum};
use crate::task::Task;
use firesteel_common::block::StorageLevel;
use firesteel_common::task::Segment;
use firesteel_common::{Error, ErrorCode, Result};
use serde::de::DeserializeOwned;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many values are kept that no task uses now.
const IDLE_MAX: usize = 64;
/// How many encoded bytes of values are kept that no task uses now; the last one is kept however long it is.
const IDLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A value of this process.
struct Entry {
    bytes: u64,
    /// Held by the task that fetches the bytes: the others find them with the own worker.
    fetching: Mutex<()>,
    value: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

/// The values of this process, and when they were asked for last.
#[derive(Default)]
struct Registry {
    turn: u64,
    entries: BTreeMap<Key, (u64, Arc<Entry>)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { turn: 0, entries: BTreeMap::new() });

/// A value as the attempt on this thread has it: its bytes, until it is known that nobody needs them.
struct Mine {
    entry: Arc<Entry>,
    bytes: Bytes,
}

/// The encoded value.
enum Bytes {
    /// Somebody has decoded it.
    NotNeeded,
    /// Where it lies.
    InPlace(Segment),
    /// Put together of several parts, with no room for it at the worker.
    Gathered(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::NotNeeded => &[],
            Self::InPlace(segment) => segment.payload(),
            Self::Gathered(bytes) => bytes,
        }
    }
}

thread_local! {
    static MINE: RefCell<BTreeMap<Key, Mine>> = const { RefCell::new(BTreeMap::new()) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn entry(&mut self, used: &Used) -> Arc<Entry> {
        self.turn += 1;
        let turn = self.turn;
        let new = || Arc::new(Entry { bytes: used.bytes, fetching: Mutex::new(()), value: Mutex::default() });
        let (last, entry) = self.entries.entry(used.key).or_insert_with(|| (turn, new()));
        *last = turn;
        let entry = entry.clone();
        self.forget_idle();
        entry
    }

    /// Forgets values that no task uses, those first that were not asked for for the longest time.
    fn forget_idle(&mut self) {
        let idle = |(_, entry): &(u64, Arc<Entry>)| Arc::strong_count(entry) == 1;
        let mut idle: Vec<(u64, Key, u64)> = self
            .entries
            .iter()
            .filter(|(_, entry)| idle(entry))
            .map(|(key, (turn, entry))| (*turn, *key, entry.bytes))
            .collect();
        idle.sort_unstable_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        for (place, (_, key, more)) in idle.into_iter().enumerate() {
            bytes += more;
            if place > 0 && (place >= IDLE_MAX || bytes > IDLE_BYTES_MAX) {
                self.entries.remove(&key);
            }
        }
    }
}

/// Keeps the values of an attempt on this thread until it is dropped, before the attempt ends: what lies in
/// place is lent for no longer.
pub struct Loaded;

impl Drop for Loaded {
    fn drop(&mut self) {
        MINE.with_borrow_mut(BTreeMap::clear);
    }
}

/// Gets the values that the program of a task uses.
///
/// # Errors
/// What reading them fails with; `BLOCK_CORRUPT` if they are not what the driver has sent.
pub fn load(task: &Task<'_>, used: &[Used]) -> Result<Loaded> {
    let loaded = Loaded;
    for used in used {
        let entry = lock(&REGISTRY).entry(used);
        let known = lock(&entry.value).is_some();
        let bytes = if known { Bytes::NotNeeded } else { fetch(task, &entry, used)? };
        MINE.with_borrow_mut(|mine| mine.insert(used.key, Mine { entry, bytes }));
    }
    Ok(loaded)
}

/// The bytes of a value: where the own worker has them, else from the stage that carries them, and then left
/// with the own worker.
fn fetch(task: &Task<'_>, entry: &Entry, used: &Used) -> Result<Bytes> {
    let _fetching = lock(&entry.fetching);
    if lock(&entry.value).is_some() {
        return Ok(Bytes::NotNeeded);
    }
    if let Some(whole) = task.cached_segment(used.dataset, 0)? {
        match check(used, whole.payload()) {
            Ok(()) => return Ok(Bytes::InPlace(whole)),
            Err(error) => task.host().log(1, &format!("a kept copy is not used: {error}")),
        }
    }
    let mut bytes = Vec::with_capacity(usize::try_from(used.bytes).unwrap_or(0));
    let reading = task.read(used.stage, 0)?;
    while let Some(part) = task.next_segment::<&[u8]>(&reading)? {
        bytes.extend_from_slice(part.payload());
    }
    check(used, &bytes)?;
    task.store::<Key>(used.dataset, 0, StorageLevel::MemoryAndDisk, 1, &bytes)?;
    Ok(Bytes::Gathered(bytes))
}

fn check(used: &Used, bytes: &[u8]) -> Result<()> {
    if bytes.len() as u64 == used.bytes && checksum(bytes) == used.key.checksum {
        return Ok(());
    }
    let message = format!("broadcast value {} is not what its driver has sent", used.key.number);
    Err(Error::new(ErrorCode::BlockCorrupt, message))
}

/// A value that was loaded for the attempt on this thread.
///
/// # Errors
/// `INTERNAL` outside of tasks that use it, `CODEC` if its type reads something else than it has written.
pub fn value<T: DeserializeOwned + Send + Sync + 'static>(key: Key) -> Result<Arc<T>> {
    let value = MINE.with_borrow(|mine| {
        let missing = || Error::new(ErrorCode::Internal, "a broadcast value is decoded outside of its task");
        let mine = mine.get(&key).ok_or_else(missing)?;
        let mut value = lock(&mine.entry.value);
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        let decoded: Arc<dyn Any + Send + Sync> =
            Arc::new(crate::serial::decode_value::<T>(mine.bytes.get())?);
        *value = Some(decoded.clone());
        Ok(decoded)
    })?;
    value.downcast().map_err(|_| {
        let name = std::any::type_name::<T>();
        Error::new(ErrorCode::Codec, format!("a broadcast value is no {name}"))
    })
}
