//! Keys: records that are grouped, combined and partitioned by. One digest of a key serves the choice of its
//! partition, its place in a table, and, for short keys, the question whether two are the same.

use crate::record::Record;
use std::hash::{BuildHasher, Hash};

/// Sixteen bytes that stand for a key. Equal keys have equal digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    /// The key itself, its first bytes, or a hash.
    pub low: u64,
    /// The rest of the key, or a hash; see [`Digest::INEXACT`].
    pub high: u64,
}

impl Digest {
    /// The top byte of `high` says "this is a hash": keys of equal digests must be compared.
    pub const INEXACT: u64 = 0xff << 56;

    /// The digest of something that can be hashed, when it does not fit sixteen bytes.
    pub fn of_hash<T: Hash + ?Sized>(key: &T) -> Self {
        let hash = foldhash::fast::FixedState::with_seed(0x5eed_f12e).hash_one(key);
        Self { low: hash, high: Self::INEXACT }
    }

    /// The digest of bytes: up to 15 bytes are their own digest.
    #[inline(always)]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let len = bytes.len();
        if len < 8 {
            return Self { low: short_word(bytes), high: (len as u64) << 56 };
        }
        if len < 16 {
            let (first, _) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], bytes));
            let (_, last) = bytes.split_last_chunk::<8>().unwrap_or((bytes, &[0; 8]));
            // The last eight bytes overlap the first ones; what is left after the shift are those from the
            // ninth.
            let rest = u64::from_le_bytes(*last).checked_shr(8 * (16 - len as u32)).unwrap_or(0);
            return Self { low: u64::from_le_bytes(*first), high: rest | (len as u64) << 56 };
        }
        Self::of_hash(bytes)
    }

    /// Whether equal digests already mean equal keys.
    #[inline(always)]
    pub fn is_exact(self) -> bool {
        self.high < Self::INEXACT
    }

    /// Well mixed bits of the digest.
    #[inline(always)]
    pub fn hash(self) -> u64 {
        let product =
            u128::from(self.low ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(self.high ^ 0x8bb8_4b93_962e_acc9);
        let folded = product as u64 ^ (product >> 64) as u64;
        folded.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The partition of a key, of `count`: by other bits than the place in a table.
    #[inline(always)]
    pub fn partition(self, count: u32) -> u32 {
        (((self.hash() & 0xffff_ffff) * u64::from(count)) >> 32) as u32
    }
}

/// Up to seven bytes as a number, little-endian, without reading beyond them.
#[inline(always)]
fn short_word(bytes: &[u8]) -> u64 {
    match bytes {
        [] => 0,
        [a] => u64::from(*a),
        [a, b] => u64::from(*a) | u64::from(*b) << 8,
        [a, b, c] => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
        _ => {
            let (first, _) = bytes.split_first_chunk::<4>().unwrap_or((&[0; 4], bytes));
            let (_, last) = bytes.split_last_chunk::<4>().unwrap_or((bytes, &[0; 4]));
            let shift = 8 * (bytes.len() - 4) as u32;
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift
        }
    }
}

/// What a table keeps of the digest of a key beside the key: all of it, or nothing where the key is as fast
/// to look at.
#[doc(hidden)]
pub trait Kept: Copy {
    /// Of a digest.
    fn of(digest: Digest) -> Self;
    /// Whether its key is the one with this digest; `same` compares the keys.
    fn is(self, digest: Digest, same: impl FnOnce() -> bool) -> bool;
    /// The digest of its key.
    fn digest<'s, K: Key<'s>>(self, key: &K) -> Digest;
}

impl Kept for Digest {
    #[inline(always)]
    fn of(digest: Digest) -> Self {
        digest
    }
    #[inline(always)]
    fn is(self, digest: Digest, same: impl FnOnce() -> bool) -> bool {
        // Where equal digests mean equal keys, the keys, which may lie elsewhere, are not looked at.
        self == digest && (digest.is_exact() || same())
    }
    #[inline(always)]
    fn digest<'s, K: Key<'s>>(self, _key: &K) -> Digest {
        self
    }
}

impl Kept for () {
    #[inline(always)]
    fn of(_digest: Digest) -> Self {}
    #[inline(always)]
    fn is(self, _digest: Digest, same: impl FnOnce() -> bool) -> bool {
        same()
    }
    #[inline(always)]
    fn digest<'s, K: Key<'s>>(self, key: &K) -> Digest {
        key.digest()
    }
}

/// A record that can be a key.
pub trait Key<'s>: Record<'s> + Eq + Clone {
    /// What a table keeps of its digest.
    #[doc(hidden)]
    type Kept: Kept;

    /// The digest: equal for equal keys, in every process.
    fn digest(&self) -> Digest;
}

macro_rules! number_keys {
    ($($name:ty),*) => {$(
        impl<'s> Key<'s> for $name {
            type Kept = ();
            #[inline(always)]
            fn digest(&self) -> Digest {
                Digest { low: *self as u64, high: 0 }
            }
        }
    )*};
}
number_keys!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, bool, char);

impl<'s> Key<'s> for &'s str {
    type Kept = Digest;
    #[inline(always)]
    fn digest(&self) -> Digest {
        Digest::of_bytes(self.as_bytes())
    }
}

impl<'s> Key<'s> for &'s [u8] {
    type Kept = Digest;
    #[inline(always)]
    fn digest(&self) -> Digest {
        Digest::of_bytes(self)
    }
}

impl<'s> Key<'s> for String {
    type Kept = Digest;
    fn digest(&self) -> Digest {
        Digest::of_bytes(self.as_bytes())
    }
}

impl<'s> Key<'s> for Vec<u8> {
    type Kept = Digest;
    fn digest(&self) -> Digest {
        Digest::of_bytes(self)
    }
}

impl<'s> Key<'s> for () {
    type Kept = Digest;
    fn digest(&self) -> Digest {
        Digest { low: 0, high: 0 }
    }
}

impl<'s, T: Key<'s>> Key<'s> for Option<T> {
    type Kept = Digest;
    fn digest(&self) -> Digest {
        Digest { low: self.as_ref().map_or(0, |key| key.digest().hash() | 1), high: Digest::INEXACT }
    }
}

macro_rules! tuple_keys {
    ($(($($name:ident $at:tt),*);)*) => {$(
        impl<'s, $($name: Key<'s>),*> Key<'s> for ($($name,)*) {
            type Kept = Digest;
            #[inline(always)]
            fn digest(&self) -> Digest {
                let mut low = 0_u64;
                $(low = low.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.$at.digest().hash();)*
                Digest { low, high: Digest::INEXACT }
            }
        }
    )*};
}
tuple_keys! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
}

/// Makes keys (and records) of types with `Serialize + Deserialize + Hash + Eq + Clone`:
/// `firesteel::key!(UserId);`
#[macro_export]
macro_rules! key {
    ($($name:ty),* $(,)?) => {$(
        $crate::record!($name);
        impl<'s> $crate::Key<'s> for $name {
            type Kept = $crate::key::Digest;
            fn digest(&self) -> $crate::key::Digest {
                $crate::key::Digest::of_hash(self)
            }
        }
    )*};
}
