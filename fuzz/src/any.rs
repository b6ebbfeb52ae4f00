//! Values of the protocol's types made from bytes: well-formed messages with ids that collide and numbers at
//! the edges. What they say need not make sense.

mod messages;

use firesteel_common::Payload;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that values are made from. When they are used up, everything is zero, empty and absent.
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// Values from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// A number: mostly a small one, sometimes one at an edge.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..216 => u64::from(byte % 4),
            byte @ 216..232 => u64::from(byte),
            232..240 => u64::from(u16::from_le_bytes([self.byte(), self.byte()])),
            240..244 => u64::from(i32::MAX.cast_unsigned()) + u64::from(self.byte() % 2),
            244..250 => u64::from(u32::MAX) - u64::from(self.byte() % 2),
            250..253 => (1 << 63) + u64::from(self.byte() % 2),
            _ => u64::MAX - u64::from(self.byte() % 2),
        }
    }

    /// How many elements a list has: mostly few.
    fn len(&mut self) -> usize {
        match self.byte() {
            byte @ 0..250 => usize::from(byte % 4),
            _ => self.below(40),
        }
    }

    /// A value of a type.
    pub fn any<T: Any>(&mut self) -> T {
        T::any(self)
    }
}

/// Something that is made from bytes.
pub trait Any {
    /// Makes one.
    fn any(source: &mut Source<'_>) -> Self;
}

impl Any for bool {
    fn any(source: &mut Source<'_>) -> Self {
        source.byte() % 2 == 1
    }
}

impl Any for u8 {
    fn any(source: &mut Source<'_>) -> Self {
        source.byte()
    }
}

impl Any for u32 {
    fn any(source: &mut Source<'_>) -> Self {
        source.number() as u32
    }
}

impl Any for u64 {
    fn any(source: &mut Source<'_>) -> Self {
        source.number()
    }
}

impl Any for String {
    fn any(source: &mut Source<'_>) -> Self {
        let known = ["", "a", "host-1:1", "127.0.0.1:1", "worker-2", "../../token", "\u{0}\n\u{202e}"];
        match source.below(9) {
            8 => "x".repeat(usize::from(source.byte()) * 4),
            at => {
                known.get(at).map_or_else(|| format!("host-{}", source.number()), |text| (*text).to_owned())
            }
        }
    }
}

impl Any for Arc<str> {
    fn any(source: &mut Source<'_>) -> Self {
        String::any(source).into()
    }
}

impl Any for Payload {
    fn any(source: &mut Source<'_>) -> Self {
        let bytes: Vec<u8> = source.any();
        bytes.into()
    }
}

impl<T: Any> Any for Arc<T> {
    fn any(source: &mut Source<'_>) -> Self {
        Arc::new(source.any())
    }
}

impl<T: Any> Any for Option<T> {
    fn any(source: &mut Source<'_>) -> Self {
        bool::any(source).then(|| source.any())
    }
}

impl<T: Any> Any for Vec<T> {
    fn any(source: &mut Source<'_>) -> Self {
        let len = source.len();
        (0..len).map(|_| source.any()).collect()
    }
}

impl<T: Any> Any for Range<T> {
    fn any(source: &mut Source<'_>) -> Self {
        source.any()..source.any()
    }
}

impl<A: Any, B: Any> Any for (A, B) {
    fn any(source: &mut Source<'_>) -> Self {
        (source.any(), source.any())
    }
}

impl<A: Any, B: Any, C: Any> Any for (A, B, C) {
    fn any(source: &mut Source<'_>) -> Self {
        (source.any(), source.any(), source.any())
    }
}

impl<K: Any + Ord, V: Any> Any for BTreeMap<K, V> {
    fn any(source: &mut Source<'_>) -> Self {
        Vec::any(source).into_iter().collect()
    }
}

impl<T: Any, E: Any> Any for Result<T, E> {
    fn any(source: &mut Source<'_>) -> Self {
        if bool::any(source) { Ok(source.any()) } else { Err(source.any()) }
    }
}
