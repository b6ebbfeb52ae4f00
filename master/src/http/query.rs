//! The parameters of a query: which ones a route knows is read off the type that it reads them into, and one
//! that it does not know is refused with the nearest that it does. It reads no values.

use firesteel_common::error::nearest;
use firesteel_common::{Error, ErrorCode};
use serde::de::value::Error as Stop;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The names of a type's fields; none for a type without any.
pub(super) fn names<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // It stops at the names, so there never is a value.
    let _ = T::deserialize(Names(&mut found));
    found
}

/// Takes the names that a type asks for, and stops.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::custom("there are no values here"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        *self.0 = fields;
        Err(Stop::custom("there are no values here"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Refuses a query with a parameter that is not `known`.
///
/// # Errors
/// `BAD_REQUEST` naming the parameter and the nearest known one.
pub(super) fn check(query: &str, known: &[&str]) -> Result<(), Error> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    // A known name needs no escapes, so one that has them is none.
    let names = pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let Some(unknown) = names.into_iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let shown: String = unknown.chars().take(100).collect();
    let error = Error::new(ErrorCode::BadRequest, format!("there is no parameter '{shown}' here"));
    Err(match (nearest(&shown, known.iter().copied()), known) {
        (Some(near), _) => error.with_help(format!("did you mean '{near}'?")),
        (None, []) => error.with_help("this route has no parameters"),
        (None, known) => error.with_help(format!("there are: {}", known.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its names are looked at")]
    struct Some {
        #[serde(default)]
        offset: usize,
        wait_ms: Option<u64>,
        #[serde(rename = "type")]
        kind: String,
    }

    #[test]
    fn names_are_those_of_the_fields() {
        assert_eq!(names::<Some>(), ["offset", "wait_ms", "type"]);
        assert!(names::<()>().is_empty());
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest() {
        let known = names::<Some>();
        for query in ["", "offset=1", "offset=1&wait_ms=2", "type", "&&offset="] {
            assert_eq!(check(query, known), Ok(()), "{query}");
        }
        for (query, words) in [
            ("ofset=1", "no parameter 'ofset' here (did you mean 'offset'?)"),
            ("offset=1&zzzzzzzzz", "no parameter 'zzzzzzzzz' here (there are: offset, wait_ms, type)"),
            ("%6fffset=1", "no parameter '%6fffset' here"),
            ("=1", "no parameter '' here"),
        ] {
            let text = check(query, known).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
        assert!(check("x=1", &[]).unwrap_err().to_string().contains("this route has no parameters"));
    }
}
