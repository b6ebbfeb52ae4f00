//! Accumulators: values that tasks add to and the driver reads. Each task's additions count once, with the
//! first of its attempts that succeeds, however often it is repeated.

use crate::attempt;
use crate::context::Context;
use crate::record::{Reader, Record};
use firesteel_common::Result;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What can be accumulated. It must not matter in which order additions are merged.
pub trait Accumulate: for<'x> Record<'x, Owned = Self> + 'static {
    /// What there is before anything was added.
    fn zero() -> Self;

    /// Adds what was accumulated elsewhere.
    fn merge(&mut self, other: Self);
}

macro_rules! sums {
    ($($name:ty: $add:expr),*) => {$(
        /// Sums; whole numbers go on from the least one after the greatest.
        impl Accumulate for $name {
            fn zero() -> Self {
                Self::default()
            }
            fn merge(&mut self, other: Self) {
                *self = $add(*self, other);
            }
        }
    )*};
}
sums!(i64: i64::wrapping_add, u64: u64::wrapping_add, f64: std::ops::Add::add);

/// Gathers, in no order.
impl<T: for<'x> Record<'x, Owned = T> + 'static> Accumulate for Vec<T> {
    fn zero() -> Self {
        Vec::new()
    }

    fn merge(&mut self, mut other: Self) {
        self.append(&mut other);
    }
}

/// A value that tasks add to. Pass it to closures as a captured value (`map_with` and the like); the driver
/// asks for [`Accumulator::value`].
pub struct Accumulator<A> {
    id: u32,
    /// Driver only.
    value: Option<Arc<Mutex<A>>>,
}

impl<A> Clone for Accumulator<A> {
    fn clone(&self) -> Self {
        Self { id: self.id, value: self.value.clone() }
    }
}

impl<A> Serialize for Accumulator<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<'de, A> Deserialize<'de> for Accumulator<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { id: u32::deserialize(deserializer)?, value: None })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Accumulate> Accumulator<A> {
    /// Adds: in a task for its attempt, in the driver at once.
    pub fn update(&self, add: impl FnOnce(&mut A)) {
        match &self.value {
            Some(value) if !attempt::is_running() => add(&mut lock(value)),
            _ => attempt::accumulate(self.id, add),
        }
    }

    /// Adds a value.
    pub fn add(&self, more: A) {
        self.update(|value| value.merge(more));
    }

    /// What was added so far: by jobs that have ended, and by the driver. In a task there is nothing to see:
    /// it is `None`.
    pub fn value(&self) -> Option<A>
    where
        A: Clone,
    {
        self.value.as_ref().map(|value| lock(value).clone())
    }

    /// Begins again, in the driver.
    pub fn reset(&self) {
        if let Some(value) = &self.value {
            *lock(value) = A::zero();
        }
    }
}

impl<T: for<'x> Record<'x, Owned = T> + 'static> Accumulator<Vec<T>> {
    /// Adds one element.
    pub fn push(&self, element: T) {
        self.update(|elements| elements.push(element));
    }
}

/// The accumulators of a driver.
#[derive(Default)]
pub(crate) struct Registry {
    known: Mutex<Known>,
}

/// Adds an encoded addition to an accumulator.
type Merge = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;

#[derive(Default)]
struct Known {
    next: u32,
    /// Additions to those that nobody can read any more are passed over.
    merge: BTreeMap<u32, Merge>,
}

impl Registry {
    fn register<A: Accumulate>(&self) -> Accumulator<A> {
        let value = Arc::new(Mutex::new(A::zero()));
        let weak = Arc::downgrade(&value);
        let mut known = lock(&self.known);
        let id = known.next;
        known.next += 1;
        let merge = move |bytes: &[u8]| {
            if let Some(value) = weak.upgrade() {
                let more = A::decode(&mut Reader::new(bytes))?;
                lock(&value).merge(more);
            }
            Ok(())
        };
        known.merge.insert(id, Box::new(merge));
        Accumulator { id, value: Some(value) }
    }

    /// Adds what a task has accumulated.
    ///
    /// # Errors
    /// `CODEC` if it is not what the accumulator gathers.
    pub(crate) fn merge(&self, id: u32, bytes: &[u8]) -> Result<()> {
        let known = lock(&self.known);
        known.merge.get(&id).map_or(Ok(()), |merge| merge(bytes))
    }
}

impl Context<'_> {
    /// A value that tasks add to, beginning with its zero: `i64`, `u64` and `f64` are summed, a `Vec`
    /// gathers, and a type of your own does what its [`Accumulate`] says.
    pub fn accumulator<A: Accumulate>(&self) -> Accumulator<A> {
        self.driver().accumulators().register()
    }
}

/// What an attempt at a task adds to one accumulator.
pub(crate) trait Pending {
    /// The value itself.
    fn as_any(&mut self) -> &mut dyn Any;
    /// For the driver.
    fn encode(&self) -> Vec<u8>;
}

/// A value that is pending.
pub(crate) struct PendingValue<A>(pub A);

impl<A: Accumulate> Pending for PendingValue<A> {
    fn as_any(&mut self) -> &mut dyn Any {
        &mut self.0
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.encode(&mut bytes);
        bytes
    }
}

/// Gathers different elements.
impl<T> Accumulate for Unique<T>
where
    T: for<'x> Record<'x, Owned = T> + Ord + 'static,
{
    fn zero() -> Self {
        Self(BTreeSet::new())
    }

    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

/// A set that can be accumulated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unique<T>(pub BTreeSet<T>);

impl<'s, T: for<'x> Record<'x, Owned = T> + Ord + 'static> Record<'s> for Unique<T> {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        crate::record::put_varint(out, self.0.len() as u64);
        self.0.iter().for_each(|element| element.encode(out));
    }

    fn decode(reader: &mut Reader<'s>) -> Result<Self> {
        Ok(Self(Vec::<T>::decode(reader)?.into_iter().collect()))
    }
}
