//! Closures that ship as nothing: a closure without captures is its type, so a task makes it from thin air.

#![expect(unsafe_code, reason = "a zero-sized closure is conjured from its type; the proof stands beside it")]

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A closure without captures. It takes no room, and is written to no message.
pub struct Func<F>(PhantomData<fn() -> F>);

impl<F: Copy + Send + Sync> Func<F> {
    /// Fails to compile (when code is made for it) for a closure with captures.
    const CAPTURES_NOTHING: () = assert!(
        size_of::<F>() == 0,
        "this closure captures variables; pass them with map_with(captures, …), filter_with or flat_map_with"
    );

    /// The closure as its type. That a value exists is what makes it right to conjure it later.
    pub fn new(_witness: F) -> Self {
        const { Self::CAPTURES_NOTHING };
        Self(PhantomData)
    }

    /// The closure itself.
    #[inline(always)]
    pub(crate) fn get(&self) -> F {
        const { Self::CAPTURES_NOTHING };
        // SAFETY: F has no bytes, so any aligned pointer may be read as one. F is inhabited: the value comes
        // from a driver that made it with `new`, of a closure that it had, and named this very function of
        // the same shared object. A `Func<F>` that user code decodes from bytes proves nothing, but nobody
        // gets its closure: this function is private to the crate and called only where operators, outputs
        // and combiners run, which takes a `Task`, and only `run_task` makes one. F is Copy, Send and Sync,
        // so one more copy, on another thread or in another process, breaks no promise of a type that counts
        // its values; a reference among its captures would have a size.
        unsafe { NonNull::<F>::dangling().read() }
    }
}

impl<F> Clone for Func<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Func<F> {}

impl<F> Serialize for Func<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de, F> Deserialize<'de> for Func<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self(PhantomData))
    }
}
