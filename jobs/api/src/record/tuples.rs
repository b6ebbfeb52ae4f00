//! Tuples: their parts, one after the other.

use super::{Reader, Record};
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
