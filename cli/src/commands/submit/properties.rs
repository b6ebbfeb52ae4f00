//! Properties files (`spark-defaults.conf` and what `--properties-file` names) as pairs. Where such files lie
//! and which layer wins is not known here.

use crate::failure::{Failure, Outcome};

/// The longest file that is read, in bytes.
pub const BYTES_MAX: u64 = 1 << 20;

/// The pairs of a file, in its order. A line is `key value`, `key=value` or `key: value`; `#` and `!` begin a
/// comment, and a backslash at a line's end joins it with the next one.
///
/// # Errors
/// Misuse, for a line that has no value; `name` and the line's number are named.
pub fn parse(name: &str, text: &str) -> Outcome<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut joined = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if joined.is_empty() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            joined.push_str(part);
            continue;
        }
        joined.push_str(line);
        let line = std::mem::take(&mut joined);
        let pair = split(&line).ok_or_else(|| {
            Failure::usage(format!("{name}, line {}: '{line}' is not of the form KEY VALUE", index + 1))
        })?;
        pairs.push(pair);
    }
    if joined.is_empty() {
        return Ok(pairs);
    }
    pairs.extend(split(&joined));
    Ok(pairs)
}

fn split(line: &str) -> Option<(String, String)> {
    let end = line.find(|c: char| c == '=' || c == ':' || c.is_whitespace())?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
    (!key.is_empty() && !value.is_empty()).then(|| (key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_line_is_understood() {
        let text = "# comment\n! too\n\nspark.a  1\nspark.b=2\n spark.c : x=y \nspark.d \\\n  4\nspark.e =5";
        let pairs = parse("f", text).unwrap();
        let found: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected =
            [("spark.a", "1"), ("spark.b", "2"), ("spark.c", "x=y"), ("spark.d", "4"), ("spark.e", "5")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_without_a_value_is_named() {
        for text in ["\nspark.a", "\n=3", "\nspark.a="] {
            let message = parse("my.conf", text).unwrap_err().error.message;
            assert!(message.contains("my.conf, line 2"), "{message}");
        }
    }

    #[test]
    fn any_text_is_pairs_or_a_misuse() {
        let pieces =
            ["a", " ", "=", ":", "\\", "\n", "#", "!", "\t", "\r", "é", "\u{2028}", "\0", "spark.x y", ""];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text += pieces[(state >> 33) as usize % pieces.len()];
            }
            for (key, value) in parse("f", &text).unwrap_or_default() {
                assert!(!key.is_empty() && !value.is_empty(), "{text:?}");
                assert!(text.len() >= key.len() + value.len(), "{text:?}");
            }
        }
    }
}
