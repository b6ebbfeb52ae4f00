//! Loops compiled for the vectors of the machine that they run on: a job is compiled for any machine of its
//! architecture, and a loop over numbers is several times faster with the wide vectors that most have.
//!
//! The compiler makes vectors of plain loops over slices and arrays; only the search for separators, which it
//! does not see through, names its instructions.

#![expect(
    unsafe_code,
    reason = "what needs vectors of this machine is called once they are known to be there"
)]

/// A computation over slices. Mark `run`, and what it calls in its loops, `#[inline(always)]`: only what is
/// inlined is compiled for the machine.
pub trait Kernel {
    /// What it computes.
    type Output;

    /// Computes it.
    fn run(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors that this machine has. The results are the same on every machine:
/// the compiler never changes the order of floating-point operations. (`mul_add` is one operation of such a
/// machine, and slow on others.)
///
/// ```
/// struct Sum<'a>(&'a [f64]);
///
/// impl firesteel::Kernel for Sum<'_> {
///     type Output = f64;
///     #[inline(always)]
///     fn run(self) -> f64 {
///         let (eights, rest) = self.0.as_chunks::<8>();
///         let mut sums = [0.0; 8];
///         for eight in eights {
///             sums.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x);
///         }
///         sums.iter().chain(rest).sum()
///     }
/// }
///
/// assert_eq!(firesteel::vectorised(Sum(&[1.0; 100])), 100.0);
/// ```
#[inline]
pub fn vectorised<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        let has_256_bits = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("fma");
        if has_256_bits
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the machine has what the function was compiled for.
            return unsafe { with_512_bits(kernel) };
        }
        if has_256_bits {
            // SAFETY: the machine has what the function was compiled for.
            return unsafe { with_256_bits(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,bmi1,bmi2,lzcnt,popcnt,fma")]
fn with_512_bits<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,fma")]
fn with_256_bits<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Whether all bytes are ASCII.
struct IsAscii<'a>(&'a [u8]);

impl Kernel for IsAscii<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let (parts, rest) = self.0.as_chunks::<256>();
        let high = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte) >= 0x80;
        !parts.iter().any(|part| high(part)) && !high(rest)
    }
}

/// Bytes that are ASCII as the text that they are: what most text is, and much faster to see than that other
/// text is UTF-8.
pub fn ascii(bytes: &[u8]) -> Option<&str> {
    // SAFETY: whatever is ASCII is UTF-8.
    vectorised(IsAscii(bytes)).then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// A bit for each byte of a text that stands between numbers: a blank, a comma or a control character.
#[inline(always)]
pub fn separators(window: &[u8; 64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every machine of this architecture has what the function needs.
    return unsafe { separators_128_bits(window) };
    #[cfg(not(target_arch = "x86_64"))]
    separators_plain(window)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn separators_plain(window: &[u8; 64]) -> u64 {
    let separates = |byte: &u8| u64::from(*byte <= b' ' || *byte == b',');
    window.iter().rev().fold(0, |bits, byte| bits << 1 | separates(byte))
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn separators_128_bits(window: &[u8; 64]) -> u64 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let mut bits = 0;
    for (part, bytes) in window.as_chunks().0.iter().enumerate() {
        let bytes = u128::from_le_bytes(*bytes);
        let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        let blank = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(b' ' as i8)), bytes);
        let comma = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b',' as i8));
        bits |= u64::from(_mm_movemask_epi8(_mm_or_si128(blank, comma)) as u16) << (16 * part);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ascii_is_what_has_no_high_bit(
            mut bytes in prop::collection::vec(0_u8..128, 0..700),
            high in prop::option::of((0_usize..700, 128_u8..)),
        ) {
            if let Some((at, high)) = high.filter(|(at, _)| *at < bytes.len()) {
                bytes[at] = high;
            }
            prop_assert_eq!(ascii(&bytes).is_some(), bytes.is_ascii());
            prop_assert!(ascii(&bytes).is_none_or(|text| text.as_bytes() == bytes));
        }

        #[test]
        fn separators_are_found_alike(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..64], 64),
        ) {
            let mut window = [0; 64];
            window.copy_from_slice(&bytes);
            prop_assert_eq!(separators(&window), separators_plain(&window));
        }
    }
}
