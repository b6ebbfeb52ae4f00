//! Cutting text fast.

mod numbers;

pub use numbers::Numbers;

/// The words of a text: what stands between blanks and line feeds, and nothing else. A tab, a carriage return
/// or a comma is part of a word, as for `tr -s ' ' '\n'`.
pub fn words(text: &str) -> Words<'_> {
    Words { text, start: 0, base: 0, ends: 0, next: 0 }
}

/// See [`words`].
pub struct Words<'a> {
    text: &'a str,
    /// Where the open word begins.
    start: usize,
    /// Where the current 64 bytes begin.
    base: usize,
    /// A bit for each blank or line feed among them that is not used yet.
    ends: u64,
    /// Where the next 64 bytes begin.
    next: usize,
}

/// A bit for each of 64 bytes that is a blank or a line feed. The compiler makes vector instructions of the
/// first loop; a multiplication gathers the lowest bits of eight bytes.
#[inline(always)]
fn separators(bytes: &[u8; 64]) -> u64 {
    let mut found = [0_u8; 64];
    for (found, byte) in found.iter_mut().zip(bytes) {
        *found = u8::from(*byte == b' ') | u8::from(*byte == b'\n');
    }
    let mut bits = 0;
    for (eighth, found) in found.as_chunks::<8>().0.iter().enumerate() {
        let gathered = u64::from_le_bytes(*found).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= gathered << (8 * eighth);
    }
    bits
}

/// The same for fewer bytes.
#[inline(always)]
fn separators_of(bytes: &[u8]) -> u64 {
    let bit = |(at, byte): (usize, &u8)| u64::from(*byte == b' ' || *byte == b'\n') << at;
    bytes.iter().take(64).enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}

impl<'a> Words<'a> {
    /// Looks at the next bytes; the end of the text ends a word too.
    #[inline(always)]
    fn refill(&mut self) -> bool {
        let bytes = self.text.as_bytes();
        if self.next > bytes.len() {
            return false;
        }
        self.base = self.next;
        self.next += 64;
        self.ends = match bytes[self.base..].first_chunk::<64>() {
            Some(chunk) => separators(chunk),
            None => separators_of(&bytes[self.base..]) | 1 << (bytes.len() - self.base),
        };
        true
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    #[inline(always)]
    fn next(&mut self) -> Option<&'a str> {
        loop {
            while self.ends != 0 {
                let end = self.base + self.ends.trailing_zeros() as usize;
                self.ends &= self.ends - 1;
                let start = std::mem::replace(&mut self.start, end + 1);
                if end > start {
                    return self.text.get(start..end);
                }
            }
            if !self.refill() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_what_stands_between_blanks_and_line_feeds() {
        let long = "x".repeat(200);
        let pieces = ["", "a", "ab\tc", "é", &long, "\r", "0123456789abcdef"];
        for (i, first) in pieces.iter().enumerate() {
            for second in pieces {
                for fill in 0..70 {
                    let text = format!("{}{first} \n{second}\n{}", " ".repeat(fill), pieces[i]);
                    let expected: Vec<&str> =
                        text.split([' ', '\n']).filter(|word| !word.is_empty()).collect();
                    assert_eq!(words(&text).collect::<Vec<_>>(), expected);
                }
            }
        }
        assert_eq!(words("").count(), 0);
    }
}
