//! The code of a task as a number: the distance of a monomorphised function from one fixed function of the
//! same shared object. Driver and executor load the same object (its content hash says so), at different
//! addresses.

#![expect(unsafe_code, reason = "a checked address becomes a function pointer; the proof stands beside it")]

use crate::operator::Flow;
use crate::task::{Produced, Task};
use firesteel_common::Result;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;

/// Runs a task: operators and output as bytes, the split as bytes.
pub type TaskFn<'s> = fn(&Task<'s>, &[u8], &[u8]) -> Result<Produced>;
/// Runs an operator chain of a forgotten type that gives records of type `T`, in batches.
pub type BatchFn<'s, T> = fn(&Task<'s>, &[u8], &[u8], &mut dyn FnMut(&mut Vec<T>) -> Flow) -> Result<Flow>;

/// The function from which offsets are counted.
#[inline(never)]
pub extern "C" fn anchor() {}

/// A type of function pointers that may be named by their offsets.
///
/// # Safety
/// `from_address` of what `address` gave, in a process that has the same object loaded, must give the
/// function.
pub unsafe trait Pointer: Copy {
    /// Where the function lies.
    fn address(self) -> usize;
    /// The function that lies there.
    ///
    /// # Safety
    /// A function of exactly this type, lifetimes aside, must lie at `address`.
    unsafe fn from_address(address: usize) -> Self;
}

// SAFETY: both ways are casts of one pointer-sized value.
unsafe impl Pointer for TaskFn<'_> {
    fn address(self) -> usize {
        self as usize
    }
    unsafe fn from_address(address: usize) -> Self {
        // SAFETY: promised by the caller; lifetimes have no part in code.
        unsafe { std::mem::transmute::<usize, Self>(address) }
    }
}

// SAFETY: both ways are casts of one pointer-sized value.
unsafe impl<T> Pointer for BatchFn<'_, T> {
    fn address(self) -> usize {
        self as usize
    }
    unsafe fn from_address(address: usize) -> Self {
        // SAFETY: promised by the caller; lifetimes have no part in code.
        unsafe { std::mem::transmute::<usize, Self>(address) }
    }
}

/// A function by its address here and by its offset in messages.
pub struct Code<P> {
    address: usize,
    kind: PhantomData<fn() -> P>,
}

impl<P: Pointer> Code<P> {
    /// Names a function of this object.
    pub fn of(function: P) -> Self {
        Self { address: function.address(), kind: PhantomData }
    }

    /// The function.
    pub(crate) fn get(&self) -> P {
        // SAFETY: the address comes from `of`, or from an offset that a driver made by `of` in the same
        // object (the object is named by its content hash) for the same `P`. Only `run_task` and the chains
        // below it come here: they need a `Task`, and only `run_task` makes one, for a stage that a driver of
        // this crate built. There a value is decoded as the very type that it was encoded as, and values of
        // the user's own serde types are framed (`serial::framed`), so they cannot shift what follows them.
        // A value that user code decodes by itself cannot be called: this function is private to the crate,
        // and no operator that user code decoded gets into a dataset or near a task.
        unsafe { P::from_address(self.address) }
    }
}

impl<P> Clone for Code<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Code<P> {}

impl<P> Serialize for Code<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let anchor = anchor as extern "C" fn() as usize;
        serializer.serialize_u64(self.address.wrapping_sub(anchor) as u64)
    }
}

impl<'de, P> Deserialize<'de> for Code<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let offset = u64::deserialize(deserializer)? as usize;
        let address = (anchor as extern "C" fn() as usize).wrapping_add(offset);
        if executable().is_some_and(|part| part.contains(&address)) {
            return Ok(Self { address, kind: PhantomData });
        }
        Err(serde::de::Error::custom("the code of a task does not lie in the executable part of the plugin"))
    }
}

/// Where the executable part of the object with [`anchor`] lies in this process.
fn executable() -> Option<&'static Range<usize>> {
    static PART: OnceLock<Option<Range<usize>>> = OnceLock::new();
    PART.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        executable_around(&maps, anchor as extern "C" fn() as usize)
    })
    .as_ref()
}

fn executable_around(maps: &str, address: usize) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let part = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        (words.next()?.contains('x') && part.contains(&address)).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_part_is_found_in_the_map_of_the_process() {
        let maps =
            "1000-2000 r--p 0 08:01 7 /a.so\n2000-4000 r-xp 1000 08:01 7 /a.so\n4000-5000 rw-p 0 0:0 0\n";
        assert_eq!(executable_around(maps, 0x2010), Some(0x2000..0x4000));
        assert_eq!(executable_around(maps, 0x1010), None);
        assert!(executable().is_some_and(|part| part.contains(&(anchor as extern "C" fn() as usize))));
    }
}
