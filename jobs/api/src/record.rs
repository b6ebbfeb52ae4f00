//! Records: what crosses a shuffle, a cache or the way to the driver, and how it is written there.
//!
//! Whole numbers are varints, text is its length and its bytes. A record may borrow (`&'s str`): it lies in
//! the segment that it was read from, which stays in place for the time of the task.

pub(crate) mod heap;
pub mod plain;
mod tuples;
mod varint;

use firesteel_common::{Error, ErrorCode, Result};
pub use varint::put_varint;

/// Reads records from bytes that live as long as the task.
pub struct Reader<'s> {
    bytes: &'s [u8],
}

/// What reading damaged or foreign bytes fails with.
#[cold]
pub(crate) fn damaged() -> Error {
    Error::new(ErrorCode::Codec, "a record does not fit the bytes that it is read from")
}

impl<'s> Reader<'s> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'s [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes have not been read.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all bytes have been read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `CODEC` if there are fewer.
    #[inline(always)]
    pub fn bytes(&mut self, len: usize) -> Result<&'s [u8]> {
        let Some((head, rest)) = self.bytes.split_at_checked(len) else { return Err(damaged()) };
        self.bytes = rest;
        Ok(head)
    }

    /// The next bytes, as many as the array has.
    ///
    /// # Errors
    /// `CODEC` if there are fewer.
    #[inline(always)]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<N>() else { return Err(damaged()) };
        self.bytes = rest;
        Ok(*head)
    }

    /// A length, which is never more than there can be items left when each has at least one byte.
    ///
    /// # Errors
    /// `CODEC` if it is more than `usize`.
    #[inline(always)]
    pub fn length(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| damaged())
    }
}

/// A record. Implemented for numbers, text, bytes, tuples, `Option`, `Vec`, arrays; for your own serde types
/// by [`crate::record!`], or [`crate::key!`] if they are keys too.
pub trait Record<'s>: Sized + Send + 's {
    /// The same record without borrowed parts, as the driver gets it.
    type Owned: for<'x> Record<'x, Owned = Self::Owned> + 'static;

    /// Writes it.
    fn encode(&self, out: &mut Vec<u8>);

    /// Writes several, one after the other.
    #[doc(hidden)]
    #[inline(always)]
    fn encode_all(records: &[Self], out: &mut Vec<u8>) {
        records.iter().for_each(|record| record.encode(out));
    }

    /// Reads it.
    ///
    /// # Errors
    /// `CODEC` if the bytes are not one.
    fn decode(reader: &mut Reader<'s>) -> Result<Self>;

    /// Reads several, one after the other, from bytes that need not stay in place.
    #[doc(hidden)]
    #[inline(always)]
    fn decode_all(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Self>> {
        items_of(reader, count, Self::decode_owned)
    }

    /// Whether it borrows nothing, and [`Record::decode_owned`] reads it. What such records are read from is
    /// let go at once; of others it is held until the task ends.
    const OWNED: bool = false;

    /// Reads it from bytes that need not stay in place.
    ///
    /// # Errors
    /// `CODEC` if the bytes are not one, `INTERNAL` if it borrows.
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        let _ = reader;
        let name = std::any::type_name::<Self>();
        Err(Error::new(ErrorCode::Internal, format!("a {name} was to be read from bytes that go away")))
    }

    /// A number that records of this type are ordered like, if they have an order and there is such a number:
    /// the lesser of two never belongs to the greater record.
    #[doc(hidden)]
    #[inline(always)]
    fn image(&self) -> Option<u128> {
        None
    }

    /// Looks at what it refers to, if it refers to something: whoever does so for several records at once,
    /// before their turn comes, makes the trips to memory overlap.
    #[doc(hidden)]
    #[inline(always)]
    fn touch(&self) -> u8 {
        0
    }

    /// About how many bytes of memory it owns beyond its own size: by it operators know when they must spill.
    /// As it stands it takes twice the encoded length, which is mostly packed, if there is anything to drop.
    fn heap(&self) -> usize {
        if !std::mem::needs_drop::<Self>() {
            return 0;
        }
        let mut encoded = Vec::new();
        self.encode(&mut encoded);
        heap::allocated(2 * encoded.len())
    }
}

/// What items own, beyond their own size.
fn heap_of<'s, T: Record<'s>>(items: &[T]) -> usize {
    if !std::mem::needs_drop::<T>() {
        return 0;
    }
    items.iter().map(T::heap).sum()
}

/// Names the type of a record in the header of segments.
pub fn type_tag<T>() -> u64 {
    std::any::type_name::<T>()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What is the same for all types that borrow nothing.
macro_rules! owned {
    () => {
        const OWNED: bool = true;
        #[inline(always)]
        fn decode(reader: &mut Reader<'s>) -> Result<Self> {
            Self::decode_owned(reader)
        }
    };
}

pub(crate) use owned;

macro_rules! unsigned {
    ($($name:ty),*) => {$(
        impl<'s> Record<'s> for $name {
            type Owned = Self;
            #[inline(always)]
            fn encode(&self, out: &mut Vec<u8>) {
                put_varint(out, *self as u64);
            }
            owned!();
            #[inline(always)]
            fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
                Self::try_from(reader.varint()?).map_err(|_| damaged())
            }
            #[inline(always)]
            fn image(&self) -> Option<u128> {
                Some(*self as u128)
            }
        }
    )*};
}
unsigned!(u16, u32, u64, usize);

macro_rules! signed {
    ($($name:ty),*) => {$(
        impl<'s> Record<'s> for $name {
            type Owned = Self;
            #[inline(always)]
            fn encode(&self, out: &mut Vec<u8>) {
                let value = *self as i64;
                put_varint(out, (value << 1) as u64 ^ (value >> 63) as u64);
            }
            owned!();
            #[inline(always)]
            fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
                let value = reader.varint()?;
                Self::try_from((value >> 1) as i64 ^ -((value & 1) as i64)).map_err(|_| damaged())
            }
            #[inline(always)]
            fn image(&self) -> Option<u128> {
                Some((*self as i128).wrapping_sub(i128::MIN) as u128)
            }
        }
    )*};
}
signed!(i16, i32, i64, isize);

/// Lists of what is written as it lies in memory are copied.
macro_rules! plain_lists {
    () => {
        #[inline(always)]
        fn encode_all(records: &[Self], out: &mut Vec<u8>) {
            out.extend_from_slice(zerocopy::IntoBytes::as_bytes(records));
        }
        #[inline(always)]
        fn decode_all(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Self>> {
            let bytes = reader.bytes(count.saturating_mul(size_of::<Self>()))?;
            let mut records = vec![<Self as zerocopy::FromZeros>::new_zeroed(); count];
            zerocopy::IntoBytes::as_mut_bytes(records.as_mut_slice()).copy_from_slice(bytes);
            Ok(records)
        }
    };
}

pub(crate) use plain_lists;

macro_rules! fixed {
    ($($name:ty $(: $image:expr)?),*) => {$(
        impl<'s> Record<'s> for $name {
            type Owned = Self;
            #[inline(always)]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            owned!();
            #[inline(always)]
            fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
                Ok(Self::from_le_bytes(reader.array()?))
            }
            plain_lists!();
            $(
                #[inline(always)]
                fn image(&self) -> Option<u128> {
                    let image: fn(Self) -> u128 = $image;
                    Some(image(*self))
                }
            )?
        }
    )*};
}
fixed!(
    u8: |number| u128::from(number),
    i8: |number| i128::from(number).wrapping_sub(i128::MIN) as u128,
    f32,
    f64,
    u128: |number| number,
    i128: |number| number.wrapping_sub(i128::MIN) as u128
);

impl<'s> Record<'s> for bool {
    type Owned = Self;
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    owned!();
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(damaged()),
        }
    }
}

impl<'s> Record<'s> for char {
    type Owned = Self;
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(u32::from(*self)));
    }
    owned!();
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        u32::decode(reader)?.try_into().map_err(|_| damaged())
    }
    fn image(&self) -> Option<u128> {
        Some(u128::from(u32::from(*self)))
    }
}

impl<'s> Record<'s> for &'s [u8] {
    type Owned = Vec<u8>;
    #[inline(always)]
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self);
    }
    #[inline(always)]
    fn decode(reader: &mut Reader<'s>) -> Result<Self> {
        let len = reader.length()?;
        reader.bytes(len)
    }
    #[inline(always)]
    fn touch(&self) -> u8 {
        self.first().copied().unwrap_or_default()
    }
    #[inline(always)]
    fn image(&self) -> Option<u128> {
        Some(first_bytes(self))
    }
}

/// The first bytes as a number that is ordered as they are.
#[inline(always)]
fn first_bytes(bytes: &[u8]) -> u128 {
    match bytes.first_chunk() {
        Some(first) => u128::from_be_bytes(*first),
        None => bytes.iter().rev().fold(0, |image, byte| (image >> 8) | u128::from(*byte) << 120),
    }
}

impl<'s> Record<'s> for &'s str {
    type Owned = String;
    #[inline(always)]
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode(out);
    }
    #[inline(always)]
    fn decode(reader: &mut Reader<'s>) -> Result<Self> {
        std::str::from_utf8(<&[u8]>::decode(reader)?).map_err(|_| damaged())
    }
    #[inline(always)]
    fn touch(&self) -> u8 {
        self.as_bytes().touch()
    }
    #[inline(always)]
    fn image(&self) -> Option<u128> {
        Some(first_bytes(self.as_bytes()))
    }
}

impl<'s> Record<'s> for String {
    type Owned = Self;
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode(out);
    }
    owned!();
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(<&str>::decode(reader)?.to_owned())
    }
    fn touch(&self) -> u8 {
        self.as_bytes().touch()
    }
    fn heap(&self) -> usize {
        heap::allocated(self.capacity())
    }
    fn image(&self) -> Option<u128> {
        Some(first_bytes(self.as_bytes()))
    }
}

/// The items of a list.
#[inline(always)]
fn items_of<'r, T>(
    reader: &mut Reader<'r>,
    len: usize,
    decode: impl Fn(&mut Reader<'r>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut items = Vec::with_capacity(len.min(reader.bytes.len()));
    for _ in 0..len {
        items.push(decode(reader)?);
    }
    Ok(items)
}

impl<'s, T: Record<'s>> Record<'s> for Vec<T> {
    type Owned = Vec<T::Owned>;
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        T::encode_all(self, out);
    }
    fn decode(reader: &mut Reader<'s>) -> Result<Self> {
        let len = reader.length()?;
        if T::OWNED { T::decode_all(reader, len) } else { items_of(reader, len, T::decode) }
    }
    const OWNED: bool = T::OWNED;
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        let len = reader.length()?;
        T::decode_all(reader, len)
    }
    fn heap(&self) -> usize {
        heap::list(self) + heap_of(self)
    }
}

impl<'s, T: Record<'s>> Record<'s> for Option<T> {
    type Owned = Option<T::Owned>;
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(item) = self {
            item.encode(out);
        }
    }
    fn decode(reader: &mut Reader<'s>) -> Result<Self> {
        bool::decode(reader)?.then(|| T::decode(reader)).transpose()
    }
    const OWNED: bool = T::OWNED;
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        bool::decode_owned(reader)?.then(|| T::decode_owned(reader)).transpose()
    }
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, T::heap)
    }
}

impl<'s> Record<'s> for () {
    type Owned = ();
    fn encode(&self, _out: &mut Vec<u8>) {}
    owned!();
    fn decode_owned(_reader: &mut Reader<'_>) -> Result<Self> {
        Ok(())
    }
}

/// Writes a serde type: its length, then bincode. For [`crate::record!`].
#[doc(hidden)]
pub fn encode_serde<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) {
    crate::serial::encode_record(value, out);
}

/// Reads a serde type. For [`crate::record!`].
#[doc(hidden)]
pub fn decode_serde<T: serde::de::DeserializeOwned>(reader: &mut Reader<'_>) -> Result<T> {
    let len = reader.length()?;
    crate::serial::decode_record(reader.bytes(len)?)
}

/// Makes records of serde types: `firesteel::record!(Point, Line);`
#[macro_export]
macro_rules! record {
    ($($name:ty),* $(,)?) => {$(
        impl<'s> $crate::Record<'s> for $name {
            type Owned = Self;
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::record::encode_serde(self, out);
            }
            fn decode(reader: &mut $crate::record::Reader<'s>) -> $crate::Result<Self> {
                $crate::record::decode_serde(reader)
            }
            const OWNED: bool = true;
            fn decode_owned(reader: &mut $crate::record::Reader<'_>) -> $crate::Result<Self> {
                $crate::record::decode_serde(reader)
            }
        }
    )*};
}
