//! Numbers in text, read one after the other without a string for each. What is *not* here: lines; a block of
//! whole lines is a text like any other.

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// A whole number of so many digits fits 64 bits, and one below [`EXACT`] fits a double.
const DIGITS_MAX: usize = 19;
const EXACT: u64 = 1 << 53;

/// Reads the numbers of a text. Blanks, tabs, commas and ends of lines separate them. Where no number of the
/// asked kind stands, the answer is `None`, and the next call looks at the same place.
///
/// ```
/// let mut numbers = firesteel::text::Numbers::new("7 -0.25\n1e3\n");
/// assert_eq!(numbers.whole(), Some(7));
/// assert_eq!((numbers.decimal(), numbers.decimal(), numbers.decimal()), (Some(-0.25), Some(1000.0), None));
/// assert!(numbers.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Numbers<'a> {
    rest: &'a [u8],
}

/// What stands between numbers.
#[inline(always)]
fn separates(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b',' | b'\r')
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

/// The value of one to eight digits, each in a byte of a word as a number, the first one lowest, after those
/// that are missing. Pairs, then fours, then eights are put together.
#[inline(always)]
fn value_of(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10 * 256 + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 * 65_536 + 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 * 4_294_967_296 + 1) >> 32
}

/// A value with a sign, without a branch: in most data no one can foretell it.
#[inline(always)]
fn signed(value: f64, negative: bool) -> f64 {
    f64::from_bits(value.to_bits() | u64::from(negative) << 63)
}

/// A short number that is followed by a separator.
struct Short {
    /// Its digits, as if there was no point.
    value: u64,
    /// How many of them stand behind the point.
    fraction: usize,
    /// Its bytes.
    len: usize,
}

/// The number at the start of `bytes`, if it has at most seven bytes: all of them are looked at together.
/// Most numbers are short, and a branch for each digit costs more than all else.
#[inline(always)]
fn short(bytes: &[u8], with_point: bool) -> Option<Short> {
    let word = u64::from_le_bytes(*bytes.first_chunk()?);
    let digits = word ^ 0x3030_3030_3030_3030;
    // The high bit of each byte that is no digit; beyond the first that is no ASCII it may be anything.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    if others == 0 {
        return None;
    }
    let whole = others.trailing_zeros() & !7;
    let (mut end, mut packed, mut fraction, mut bits) = (whole, digits, 0, whole);
    if with_point && (word >> whole) as u8 == b'.' {
        let behind = others & (others - 1);
        if behind == 0 {
            return None;
        }
        end = behind.trailing_zeros() & !7;
        fraction = (end - whole) as usize / 8 - 1;
        bits = end - 8;
        let low = (1 << whole) - 1;
        packed = (digits & low) | ((digits >> 8) & !low);
    }
    if bits == 0 || !separates((word >> end) as u8) {
        return None;
    }
    Some(Short { value: value_of(packed << (64 - bits)), fraction, len: end as usize / 8 })
}

impl<'a> Numbers<'a> {
    /// The numbers of a text, from its start.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes() }
    }

    /// Whether nothing follows but separators.
    #[inline(always)]
    pub fn is_empty(&mut self) -> bool {
        while let [byte, rest @ ..] = self.rest
            && separates(*byte)
        {
            self.rest = rest;
        }
        self.rest.is_empty()
    }

    /// A whole number without a sign, of at most 64 bits.
    #[inline(always)]
    pub fn whole(&mut self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        if let Some(number) = short(self.rest, false) {
            // The separator goes with it.
            self.rest = &self.rest[number.len + 1..];
            return Some(number.value);
        }
        let (value, len) = digits(self.rest, 0);
        if len == 0 || self.rest.get(len).is_some_and(|byte| !separates(*byte)) {
            return None;
        }
        let value = if len > DIGITS_MAX { self.long(len)? } else { value };
        self.rest = &self.rest[len..];
        Some(value)
    }

    #[cold]
    fn long(&self, len: usize) -> Option<u64> {
        str::from_utf8(&self.rest[..len]).ok()?.parse().ok()
    }

    /// A number with a sign, a fraction and an exponent, of which all but digits may be missing: the double
    /// that is nearest to it.
    #[inline(always)]
    pub fn decimal(&mut self) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        let negative = self.rest[0] == b'-';
        let number = &self.rest[usize::from(negative)..];
        if let Some(short) = short(number, true) {
            let value = short.value as f64 / POWERS[short.fraction];
            self.rest = &number[short.len + 1..];
            return Some(signed(value, negative));
        }
        let (mut value, whole) = digits(number, 0);
        let mut len = whole;
        let mut fraction = 0;
        if number.get(whole) == Some(&b'.') {
            (value, fraction) = digits(&number[whole + 1..], value);
            len += 1 + fraction;
        }
        let plain = number.get(len).is_none_or(|byte| separates(*byte));
        let few = whole + fraction <= DIGITS_MAX && value <= EXACT && fraction < POWERS.len();
        if !plain || !few || whole + fraction == 0 {
            return self.other();
        }
        // Both are exact, so the quotient is the nearest double.
        let value = value as f64 / POWERS[fraction];
        self.rest = &number[len..];
        Some(signed(value, negative))
    }

    /// A number that the standard library reads, up to the next separator.
    #[cold]
    fn other(&mut self) -> Option<f64> {
        let len = self.rest.iter().position(|byte| separates(*byte)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(len);
        let value = str::from_utf8(number).ok()?.parse().ok()?;
        self.rest = rest;
        Some(value)
    }
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
