//! Loops compiled for the vectors of the machine that they run on: a job is compiled for any machine of its
//! architecture, and a loop over numbers is several times faster with the wide vectors that most have.
//!
//! What is *not* here: vectors. The compiler makes them of plain loops over slices and arrays.

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
/// the compiler never changes the order of floating-point operations.
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
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
        {
            // SAFETY: the machine has what the function was compiled for.
            return unsafe { with_512_bits(kernel) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") {
            // SAFETY: the machine has what the function was compiled for.
            return unsafe { with_256_bits(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,bmi1")]
fn with_512_bits<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
fn with_256_bits<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
