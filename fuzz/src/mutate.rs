//! Numbers and changes that follow from a seed: no clock and no chance, so every run can be repeated.

/// A stream of numbers that look random (SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// Numbers that decoders trip over.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 44,
    1 << 63,
    u64::MAX,
];
/// The longest piece that is put in at once.
const PIECE: usize = 64;
/// The longest input that is made.
pub const LEN_MAX: usize = 64 * 1024;

impl Rng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.number().checked_rem(bound as u64).unwrap_or(0) as usize
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number().to_le_bytes()[0]).collect()
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// Changes an input a few times; `others` are inputs whose pieces may be put in.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=rng.below(6) {
        change(rng, input, others);
    }
    input.truncate(LEN_MAX);
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = rng.below(input.len() + 1);
    let len = rng.below((input.len() - at).min(PIECE) + 1);
    match rng.below(10) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.number().to_le_bytes()[0];
            }
        }
        3 | 4 => {
            let width = [1, 2, 4, 8][rng.below(4)];
            let number = rng.pick(&EDGES).copied().unwrap_or(0).wrapping_add([0, 1, u64::MAX][rng.below(3)]);
            for (byte, new) in input.iter_mut().skip(at).zip(number.to_le_bytes()).take(width) {
                *byte = new;
            }
        }
        5 => drop(input.drain(at..at + len)),
        6 => {
            let piece = input[at..at + len].to_vec();
            input.splice(at..at, piece);
        }
        7 => {
            let count = 1 + rng.below(16);
            let piece = rng.bytes(count);
            input.splice(at..at, piece);
        }
        8 => {
            if let Some(other) = rng.pick(others) {
                let from = rng.below(other.len() + 1);
                let piece = other[from..].iter().take(PIECE).copied();
                input.splice(at..at + len, piece);
            }
        }
        _ => input.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_changes_again_and_another_makes_others() {
        let made = |seed| {
            let mut rng = Rng::new(seed);
            let mut inputs = Vec::new();
            for _ in 0..100 {
                let mut input = b"0123456789".to_vec();
                mutate(&mut rng, &mut input, &[b"abcdef".to_vec()]);
                inputs.push(input);
            }
            inputs
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        let changed = made(1).iter().filter(|input| input.as_slice() != b"0123456789").count();
        assert!(changed > 90, "{changed} of 100 were changed");
        assert_eq!(Rng::new(3).below(0), 0);
    }

    #[test]
    fn inputs_do_not_grow_without_end() {
        let mut rng = Rng::new(5);
        let mut input = vec![1; 100];
        for _ in 0..20_000 {
            mutate(&mut rng, &mut input, &[vec![2; 1000]]);
            assert!(input.len() <= LEN_MAX);
        }
    }
}
