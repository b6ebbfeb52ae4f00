//! A bound on how deep a text can nest: plans are trees that are walked recursively, and a chain of operators
//! (`a + b + c …`) is as deep as it is long. Parentheses are bounded by the parser itself.
//!
//! Not here: what a text means.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use firesteel_common::{Error, ErrorCode};

/// Operators that one statement may have. Planning takes time that grows with their square: 4,000 take half
/// a minute.
const OPERATORS_MAX: usize = 4_000;
/// Bytes of stack that [`OPERATORS_MAX`] nested operators need, with room to spare.
pub(crate) const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Refuses a text whose plan would be too deep.
///
/// # Errors
/// `SQL_INVALID` for a statement of more than [`OPERATORS_MAX`] operators.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    // What is no SQL at all is refused by the parser, with its place.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return Ok(()) };
    let longest = tokens.split(|token| *token == Token::SemiColon).map(operators).max().unwrap_or(0);
    if longest <= OPERATORS_MAX {
        return Ok(());
    }
    let message = format!("a statement has {longest} operators; at most {OPERATORS_MAX} are allowed");
    Err(Error::new(ErrorCode::SqlInvalid, message)
        .with_help("write long chains of OR as IN (...), or put the values into a table and join it"))
}

fn operators(statement: &[Token]) -> usize {
    statement.iter().filter(|token| is_operator(token)).count()
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod => true,
        Token::StringConcat | Token::Pipe | Token::Ampersand | Token::Caret => true,
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_counted_by_statement() {
        let chain = |n: usize| format!("select {}1", "1 + ".repeat(n));
        check(&chain(OPERATORS_MAX)).unwrap();
        check(&format!("{}; {}", chain(OPERATORS_MAX), chain(9))).unwrap();
        let error = check(&chain(OPERATORS_MAX + 1)).unwrap_err();
        assert_eq!(error.code, ErrorCode::SqlInvalid);
        assert!(error.message.starts_with("a statement has 4001 operators"), "{error}");
        let list = format!("select 1 where 1 in ({}3)", "2, ".repeat(50_000));
        check(&list).unwrap();
        check(&format!("select '{}'", "+".repeat(50_000))).unwrap();
    }
}
