//! Numbers in text, read one after the other without a string for each. What is *not* here: lines; a block of
//! whole lines is a text like any other.

use crate::simd::{Kernel, separators, vectorised};

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// A whole number of so many digits fits 64 bits, and one below [`EXACT`] fits a double.
const DIGITS_MAX: usize = 19;
const EXACT: u64 = 1 << 53;
/// Bytes that are searched for separators at once.
const WINDOW: usize = 64;
/// Numbers that are made of their digits at once.
const BATCH: usize = 16;
/// Rows that are read at once.
const ROWS: usize = 64;
const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Reads the numbers of a text. Blanks, commas and control characters (tabs and ends of lines are such)
/// separate them. Where no number of the asked kind stands, the answer is `None`, and the next call looks at
/// the same place.
///
/// ```
/// let mut numbers = firesteel::text::Numbers::new("7 -0.25\n1e3\n");
/// assert_eq!(numbers.whole(), Some(7));
/// assert_eq!((numbers.decimal(), numbers.decimal(), numbers.decimal()), (Some(-0.25), Some(1000.0), None));
/// assert!(numbers.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Numbers<'a> {
    text: &'a [u8],
    /// Where the next number is looked for.
    at: usize,
    /// Where the window begins in which separators are known.
    window: usize,
    /// The separators in the window that are not before `at`, a bit for each byte. What is beyond the text
    /// counts as one.
    separators: u64,
}

/// The digits at the start of `bytes`, added to `value`, and how many there are. More than fit are only
/// counted.
#[inline(always)]
fn digits(bytes: &[u8], mut value: u64) -> (u64, usize) {
    let mut len = 0;
    while let Some(digit) = bytes.get(len).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    (value, len)
}

/// The value of eight digits, each in a byte of a word as a number, the first one lowest. Pairs, then fours,
/// then eights are put together.
#[inline(always)]
fn value_of(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10 * 256 + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 * 65_536 + 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 * 4_294_967_296 + 1) >> 32
}

/// The high bit of each byte that is no digit.
#[inline(always)]
fn others(digits: u64) -> u64 {
    (((digits & !HIGH) + 0x7676_7676_7676_7676) | digits) & HIGH
}

/// A value with a sign, without a branch: in most data no one can foretell it.
#[inline(always)]
fn signed(value: f64, negative: bool) -> f64 {
    f64::from_bits(value.to_bits() | u64::from(negative) << 63)
}

/// The digits of a number, as if there was no point, and how many of them stand behind the point.
struct Short {
    value: u64,
    fraction: usize,
}

impl<'a> Numbers<'a> {
    /// The numbers of a text, from its start.
    pub fn new(text: &'a str) -> Self {
        let mut numbers = Self { text: text.as_bytes(), at: 0, window: 0, separators: 0 };
        numbers.look();
        numbers
    }

    /// Finds the separators of the window.
    #[inline(always)]
    fn look(&mut self) {
        let rest = self.text.get(self.window..).unwrap_or_default();
        self.separators = match rest.first_chunk() {
            Some(window) => separators(window),
            None => last_separators(rest),
        };
    }

    /// Where the next number ends, if there is one.
    #[inline(always)]
    fn end(&mut self) -> Option<usize> {
        loop {
            while self.separators == 0 {
                self.window += WINDOW;
                self.look();
            }
            let end = self.window + self.separators.trailing_zeros() as usize;
            if end > self.at {
                return Some(end);
            }
            if end >= self.text.len() {
                return None;
            }
            self.pass(end);
        }
    }

    /// Goes on behind a separator.
    #[inline(always)]
    fn pass(&mut self, separator: usize) {
        self.at = separator + 1;
        self.separators &= self.separators - 1;
    }

    /// Whether nothing follows but separators.
    #[inline(always)]
    pub fn is_empty(&mut self) -> bool {
        self.end().is_none()
    }

    /// The number between two places, if it has at most eight bytes: all of them are looked at together. Most
    /// numbers are short, and a branch for each digit costs more than all else.
    #[inline(always)]
    fn short(&self, start: usize, end: usize, with_point: bool) -> Option<Short> {
        let len = end - start;
        if len.wrapping_sub(1) >= 8 {
            return None;
        }
        let word = u64::from_le_bytes(*self.text.get(..end)?.last_chunk()?);
        // What stands before it becomes zeros, as if it had eight digits.
        let digits = (word ^ ZEROS) & (u64::MAX << (64 - 8 * len));
        let others = others(digits);
        if others == 0 {
            return Some(Short { value: value_of(digits), fraction: 0 });
        }
        let at = others.trailing_zeros() - 7;
        let is_point = with_point && others & (others - 1) == 0 && (word >> at) as u8 == b'.' && len > 1;
        if !is_point {
            return None;
        }
        let before = digits & ((1 << at) - 1);
        let behind = (digits ^ before) & (u64::MAX << at << 8);
        let behind = if at == 56 { 0 } else { behind };
        Some(Short { value: value_of(before << 8 | behind), fraction: 7 - at as usize / 8 })
    }

    /// Numbers as [`Numbers::decimal`] reads them, and how many there are until `out` is full or no number
    /// follows. Many at once take half of the time.
    ///
    /// ```
    /// let mut numbers = firesteel::text::Numbers::new("1 2.5 -3 x");
    /// let mut out = [0.0; 4];
    /// assert_eq!(numbers.decimals(&mut out), 3);
    /// assert_eq!(out[..3], [1.0, 2.5, -3.0]);
    /// ```
    pub fn decimals(&mut self, out: &mut [f64]) -> usize {
        vectorised(Decimals { numbers: self, out })
    }

    /// Rows of `N` numbers as [`Numbers::decimal`] reads them, to the first that is not whole.
    ///
    /// ```
    /// let rows: Vec<[f64; 2]> = firesteel::text::Numbers::new("1 2\n3 4\n5").rows().collect();
    /// assert_eq!(rows, [[1.0, 2.0], [3.0, 4.0]]);
    /// ```
    pub fn rows<const N: usize>(self) -> impl Iterator<Item = [f64; N]> + use<'a, N> {
        let (mut numbers, mut rows) = (self, [[0.0; N]; ROWS]);
        let (mut next, mut len) = (0, 0);
        std::iter::from_fn(move || {
            if next == len {
                len = numbers.decimals(rows.as_flattened_mut()) / N.max(1);
                next = 0;
            }
            let row = rows[..len].get(next).copied();
            next += 1;
            row
        })
    }

    /// A whole number without a sign, of at most 64 bits.
    #[inline(always)]
    pub fn whole(&mut self) -> Option<u64> {
        let end = self.end()?;
        let value = match self.short(self.at, end, false) {
            Some(number) => number.value,
            None => self.long_whole(end)?,
        };
        self.pass(end);
        Some(value)
    }

    #[inline(never)]
    fn long_whole(&self, end: usize) -> Option<u64> {
        let number = self.text.get(self.at..end)?;
        let (value, len) = digits(number, 0);
        if len != number.len() {
            return None;
        }
        if len > DIGITS_MAX { str::from_utf8(number).ok()?.parse().ok() } else { Some(value) }
    }

    /// A number with a sign, a fraction and an exponent, of which all but digits may be missing: the double
    /// that is nearest to it.
    #[inline(always)]
    pub fn decimal(&mut self) -> Option<f64> {
        let end = self.end()?;
        let negative = self.text[self.at] == b'-';
        let value = match self.short(self.at + usize::from(negative), end, true) {
            Some(short) => signed(short.value as f64 / POWERS[short.fraction], negative),
            None => self.long_decimal(end)?,
        };
        self.pass(end);
        Some(value)
    }

    #[inline(never)]
    fn long_decimal(&self, end: usize) -> Option<f64> {
        let all = self.text.get(self.at..end)?;
        let negative = all.first() == Some(&b'-');
        let number = all.get(usize::from(negative)..)?;
        let (mut value, whole) = digits(number, 0);
        let (mut len, mut fraction) = (whole, 0);
        if number.get(whole) == Some(&b'.') {
            (value, fraction) = digits(&number[whole + 1..], value);
            len += 1 + fraction;
        }
        let few = whole + fraction <= DIGITS_MAX && value <= EXACT && fraction < POWERS.len();
        if len != number.len() || !few || whole + fraction == 0 {
            return str::from_utf8(all).ok()?.parse().ok();
        }
        // Both are exact, so the quotient is the nearest double.
        Some(signed(value as f64 / POWERS[fraction], negative))
    }
}

/// Numbers as they stand in the text: the eight bytes before the end of each, how many of them belong to it
/// without its sign, and whether there is one.
struct Batch {
    words: [u64; BATCH],
    lens: [u64; BATCH],
    negative: [u64; BATCH],
}

/// Reads many numbers; see [`Numbers::decimals`].
struct Decimals<'n, 'a> {
    numbers: &'n mut Numbers<'a>,
    out: &'n mut [f64],
}

impl Kernel for Decimals<'_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { numbers, out } = self;
        let mut batch = Batch { words: [0; BATCH], lens: [0; BATCH], negative: [0; BATCH] };
        let mut count = 0;
        while count < out.len() {
            if let Some(all) = out[count..].first_chunk_mut()
                && let Some(after) = numbers.take_batch(&mut batch)
                && batch.convert(all)
            {
                *numbers = after;
                count += BATCH;
                continue;
            }
            let several = out.len().min(count + BATCH);
            for x in &mut out[count..several] {
                let Some(number) = numbers.decimal() else { return count };
                *x = number;
                count += 1;
            }
        }
        count
    }
}

impl<'a> Numbers<'a> {
    /// Finds numbers of one to eight bytes beside their sign; what is left after them. `None` if not all are
    /// such, or the text ends soon.
    #[inline(always)]
    fn take_batch(&self, batch: &mut Batch) -> Option<Self> {
        let Self { text, mut at, mut window, mut separators } = *self;
        let mut fit = true;
        for number in 0..BATCH {
            let end = loop {
                if separators == 0 {
                    window += WINDOW;
                    separators = crate::simd::separators(text.get(window..)?.first_chunk()?);
                    continue;
                }
                let end = window + separators.trailing_zeros() as usize;
                separators &= separators - 1;
                if end > at {
                    break end;
                }
                at = end + 1;
            };
            let word = text.get(end.wrapping_sub(8)..end)?.first_chunk()?;
            let negative = text[at] == b'-';
            let len = end - at - usize::from(negative);
            fit &= len.wrapping_sub(1) < 8;
            batch.words[number] = u64::from_le_bytes(*word);
            batch.lens[number] = len as u64;
            batch.negative[number] = u64::from(negative);
            at = end + 1;
        }
        fit.then_some(Self { text, at, window, separators })
    }
}

impl Batch {
    /// The numbers, and whether all are digits with at most one point: the same steps as in
    /// [`Numbers::short`], without a branch.
    #[inline(always)]
    fn convert(&self, out: &mut [f64; BATCH]) -> bool {
        let mut wrong = 0;
        for (number, out) in out.iter_mut().enumerate() {
            let len = self.lens[number];
            let digits = (self.words[number] ^ ZEROS) & (u64::MAX << ((64 - 8 * len) & 63));
            let others = others(digits);
            wrong |= others & others.wrapping_sub(1);
            // The lowest bit of the byte with the point, or nothing.
            let point = others >> 7;
            let byte = (others << 1).wrapping_sub(point);
            wrong |= (digits & byte) ^ (point * u64::from(b'.' ^ b'0'));
            wrong |= u64::from(point != 0) & u64::from(len == 1);
            let before = digits & point.wrapping_sub(1);
            let behind = (digits ^ before) & !byte;
            let whole = point == 0;
            let value = value_of(if whole { digits } else { before << 8 | behind });
            // A one where the point stands has as many digits behind it as the number.
            let power = value_of(if whole { 1 << 56 } else { point });
            let value = value as i64 as f64 / power as i64 as f64;
            *out = f64::from_bits(value.to_bits() | self.negative[number] << 63);
        }
        wrong == 0
    }
}

/// The separators of less than a window at the end of the text.
#[cold]
fn last_separators(rest: &[u8]) -> u64 {
    let mut window = [b' '; WINDOW];
    window.iter_mut().zip(rest).for_each(|(byte, from)| *byte = *from);
    separators(&window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_those_of_the_standard_library(
            numbers in prop::collection::vec((any::<u64>(), any::<f64>(), -9_999_999_i64..9_999_999), 0..20),
            separator in prop::sample::select(vec![" ", "\n", ",", "\r\n", " \t "]),
        ) {
            let mut text = String::new();
            for (whole, decimal, short) in &numbers {
                let short = *short as f64 / 1e4;
                let decimals = [format!("{decimal:e}"), decimal.to_string(), format!("{short:.4}")];
                let all = std::iter::once(whole.to_string()).chain(decimals);
                all.for_each(|number| text += &format!("{number}{separator}"));
            }
            let mut read = Numbers::new(&text);
            for (whole, decimal, short) in &numbers {
                prop_assert_eq!(read.whole(), Some(*whole));
                for _ in 0..2 {
                    let value = read.decimal();
                    prop_assert_eq!(value.map(f64::to_bits), Some(decimal.to_bits()));
                }
                prop_assert_eq!(read.decimal(), format!("{:.4}", *short as f64 / 1e4).parse().ok());
            }
            prop_assert!(read.is_empty());
            // Many at once are the same, wherever a batch begins.
            let mut one_by_one = Numbers::new(&text);
            let expected: Vec<u64> =
                std::iter::from_fn(|| one_by_one.decimal()).map(f64::to_bits).collect();
            prop_assert_eq!(expected.len(), 4 * numbers.len());
            let mut read = Numbers::new(&text);
            let mut found = Vec::new();
            for len in (1..).step_by(7) {
                let mut part = vec![0.0; len];
                let count = read.decimals(&mut part);
                found.extend(part[..count].iter().map(|x| x.to_bits()));
                if count < len {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn many_short_numbers_at_once_are_those_of_the_standard_library(
            numbers in prop::collection::vec("-?([0-9]{1,8}|[0-9]{1,4}\\.[0-9]{0,3}|\\.[0-9]{1,7})", 0..200),
            wrong in prop::option::of(
                (0_usize..200, prop::sample::select(vec!["x", "-", ".", "1x3", "1..2"])),
            ),
            separator in prop::sample::select(vec![" ", "\n", ",", "\r\n", ", "]),
        ) {
            let mut texts: Vec<&str> = numbers.iter().map(String::as_str).collect();
            let good = match wrong {
                Some((at, wrong)) if at < texts.len() => {
                    texts[at] = wrong;
                    at
                }
                _ => texts.len(),
            };
            let mut out = vec![0.0; texts.len() + 1];
            let text = texts.join(separator);
            let mut read = Numbers::new(&text);
            prop_assert_eq!(read.decimals(&mut out), good);
            for (number, found) in texts[..good].iter().zip(&out) {
                prop_assert_eq!(number.parse::<f64>().map(f64::to_bits), Ok(found.to_bits()), "{}", number);
            }
            prop_assert_eq!(read.is_empty(), good == texts.len());
        }
    }

    #[test]
    fn what_is_no_number_stays() {
        for text in ["x", "1x", "-", ".", "1.2.3", "18446744073709551616x"] {
            let mut numbers = Numbers::new(text);
            assert_eq!((numbers.whole(), numbers.decimal()), (None, None), "{text}");
            assert!(!numbers.is_empty());
        }
        let mut numbers = Numbers::new("18446744073709551616 -3");
        assert_eq!((numbers.whole(), numbers.decimal()), (None, Some(18_446_744_073_709_551_616.0)));
        assert_eq!((numbers.whole(), numbers.decimal(), numbers.decimal()), (None, Some(-3.0), None));
        assert_eq!(Numbers::new(".5 5.").decimal(), Some(0.5));
    }
}
