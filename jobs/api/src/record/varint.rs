//! Whole numbers in one to ten bytes, seven bits to the byte, the low ones first: a byte below 128 is the
//! last.

use super::{Reader, damaged};
use firesteel_common::Result;

impl Reader<'_> {
    /// A number of up to 64 bits, seven bits to the byte.
    ///
    /// # Errors
    /// `CODEC` if it does not end.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64> {
        match self.bytes.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    /// A number of two to eight bytes, without a branch for each, where eight bytes are left.
    #[inline(always)]
    fn long_varint(&mut self) -> Result<u64> {
        if let Some((head, _)) = self.bytes.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*head);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let bits = ends.trailing_zeros() + 1;
                let sevens = word & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
                let twice = (sevens & 0x007f_007f_007f_007f) | ((sevens & 0x7f00_7f00_7f00_7f00) >> 1);
                let fours = (twice & 0x0000_3fff_0000_3fff) | ((twice & 0x3fff_0000_3fff_0000) >> 2);
                self.bytes = &self.bytes[bits as usize / 8..];
                return Ok((fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4));
            }
        }
        self.any_varint()
    }

    fn any_varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }
}

/// Writes a number of up to 64 bits, seven bits to the byte.
#[inline(always)]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    if value >> 56 != 0 {
        return put_long_varint(out, value);
    }
    // Seven bits to each byte of a word, in three steps; the bytes that are not needed are cut off again.
    let halves = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let quarters = (halves & 0x0000_3fff_0000_3fff) | ((halves & 0x0fff_c000_0fff_c000) << 2);
    let sevens = (quarters & 0x007f_007f_007f_007f) | ((quarters & 0x3f80_3f80_3f80_3f80) << 1);
    let more = value.ilog2() / 7;
    let word = sevens | (0x8080_8080_8080_8080 & ((1 << (8 * more)) - 1));
    let len = out.len() + more as usize + 1;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(len);
}

#[cold]
fn put_long_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte by byte, as the definition says.
    fn plain(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_defined_and_read_again(
            numbers in prop::collection::vec((any::<u64>(), 0_u32..64), 0..40),
        ) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(number, shift)| number >> shift).collect();
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put_varint(&mut bytes, *number));
            prop_assert_eq!(&bytes, &numbers.iter().flat_map(|number| plain(*number)).collect::<Vec<_>>());
            let mut reader = Reader::new(&bytes);
            for number in &numbers {
                prop_assert_eq!(reader.varint().ok(), Some(*number));
            }
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn the_edges_of_every_length_are_right_and_what_does_not_end_is_refused() {
        for bits in 0..64 {
            for number in [1_u64 << bits, (1 << bits) - 1, (1 << bits) + 1] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, number);
                assert_eq!(bytes, plain(number));
                assert_eq!(Reader::new(&bytes).varint().ok(), Some(number));
                bytes.extend([0xff; 16]);
                assert_eq!(Reader::new(&bytes).varint().ok(), Some(number));
                assert!(Reader::new(&bytes[bytes.len() - 16..]).varint().is_err());
            }
        }
        assert!(Reader::new(&[0x80; 5]).varint().is_err());
    }
}
