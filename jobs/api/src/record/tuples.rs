//! Tuples and arrays: their parts, one after the other.

use super::{Reader, Record, heap_of};
use firesteel_common::Result;

macro_rules! tuples {
    ($(($($name:ident $at:tt),*);)*) => {$(
        impl<'s, $($name: Record<'s>),*> Record<'s> for ($($name,)*) {
            type Owned = ($($name::Owned,)*);
            #[inline(always)]
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$at.encode(out);)*
            }
            #[inline(always)]
            #[expect(non_snake_case, reason = "a type parameter lends its name to its value")]
            fn decode(reader: &mut Reader<'s>) -> Result<Self> {
                $(let $name = $name::decode(reader)?;)*
                Ok(($($name,)*))
            }
            const OWNED: bool = $($name::OWNED)&&*;
            #[inline(always)]
            #[expect(non_snake_case, reason = "a type parameter lends its name to its value")]
            fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
                $(let $name = $name::decode_owned(reader)?;)*
                Ok(($($name,)*))
            }
            #[inline(always)]
            fn touch(&self) -> u8 {
                0 $(^ self.$at.touch())*
            }
            /// That of the first: it decides most.
            #[inline(always)]
            fn image(&self) -> Option<u128> {
                self.0.image()
            }
            #[inline(always)]
            fn heap(&self) -> usize {
                0 $(+ if std::mem::needs_drop::<$name>() { self.$at.heap() } else { 0 })*
            }
        }
    )*};
}
tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}

/// An array of what is decoded one after the other.
#[inline(always)]
fn array_of<T, const N: usize>(mut decode: impl FnMut() -> Result<T>) -> Result<[T; N]> {
    let mut failure = None;
    let mut items: [Option<T>; N] = std::array::from_fn(|_| match decode() {
        Ok(item) => Some(item),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(std::array::from_fn(|at| match items[at].take() {
            Some(item) => item,
            None => unreachable!("every item was read"),
        })),
    }
}

impl<'s, T: Record<'s>, const N: usize> Record<'s> for [T; N] {
    type Owned = [T::Owned; N];
    #[inline(always)]
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode_all(self, out);
    }
    #[inline(always)]
    fn decode(reader: &mut Reader<'s>) -> Result<Self> {
        array_of(|| T::decode(reader))
    }
    const OWNED: bool = T::OWNED;
    #[inline(always)]
    fn decode_owned(reader: &mut Reader<'_>) -> Result<Self> {
        array_of(|| T::decode_owned(reader))
    }
    fn heap(&self) -> usize {
        heap_of(self)
    }
}
