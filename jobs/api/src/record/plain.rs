//! Records whose bytes in a block are those in memory: they are read in place, as slices.

use crate::arena::Owner;
use crate::record::{Reader, Record, damaged, owned, plain_lists};
use crate::task::Task;
use firesteel_common::Result;
use std::sync::Arc;
pub use zerocopy::little_endian::{I32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const _: () = assert!(cfg!(target_endian = "little"), "blocks are written with the low byte first");

/// A record that is written as it lies in memory: bytes, `f32`, `f64`, 128-bit numbers, the whole numbers of
/// [`crate::fixed`], and arrays of these. (Other whole numbers are written short.)
pub trait Plain:
    for<'s> Record<'s> + FromBytes + IntoBytes + Immutable + Copy + Sync + Sealed + 'static
{
}

/// Nobody else can have plain records: what they look like in a block is this crate's secret.
pub trait Sealed {}

macro_rules! plain {
    ($($name:ty),*) => {$(
        impl Sealed for $name {}
        impl Plain for $name {}
    )*};
}
plain!(u8, i8, f32, f64, u128, i128, I32, I64, U16, U32, U64);

macro_rules! fixed {
    ($($name:ty),*) => {$(
        impl<'s> Record<'s> for $name {
            type Owned = Self;
            #[inline(always)]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }
            owned!();
            #[inline(always)]
            fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
                Ok(Self::from_bytes(reader.array()?))
            }
            plain_lists!();
        }
    )*};
}
fixed!(I32, I64, U16, U32, U64);
impl<T: Plain, const N: usize> Sealed for [T; N] {}
impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Records that were copied because they did not lie as they must.
struct Copied<T>(Vec<T>);

impl<T: Plain> AsRef<[u8]> for Copied<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The `records` in a block that is held for the task, in place; they are copied only if they do not lie
/// as the machine needs it, which blocks see to.
///
/// # Errors
/// `CODEC` if the bytes are not so many records.
pub fn in_place<'s, T: Plain>(task: &Task<'s>, payload: &'s [u8], records: u64) -> Result<&'s [T]> {
    if payload.len() as u64 != records.saturating_mul(size_of::<T>() as u64) {
        return Err(damaged());
    }
    if size_of::<T>() == 0 {
        return Ok(&[]);
    }
    if let Ok(slice) = <[T]>::ref_from_bytes(payload) {
        return Ok(slice);
    }
    let copy =
        payload.chunks_exact(size_of::<T>()).map(|bytes| T::read_from_bytes(bytes).map_err(|_| damaged()));
    let owner: Owner = Arc::new(Copied(copy.collect::<Result<Vec<T>>>()?));
    <[T]>::ref_from_bytes(task.hold(owner)).map_err(|_| damaged())
}
