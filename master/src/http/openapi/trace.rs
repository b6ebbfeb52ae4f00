//! JSON schemas of types, found by reading a value of each with a format that has every value: whatever a
//! type asks for is what it consists of. A field may be left out if reading goes well without it.
//!
//! It finds what serde's derived code reads: structs, names of variants, options, lists, maps, numbers,
//! texts. Types that look at a value before they know what it is cannot be described this way.

use super::docs::Docs;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Describes a type.
pub(crate) type Describe = fn(&mut Schemas) -> Value;

/// What a body is.
pub(crate) enum Content {
    /// There is none.
    Nothing,
    /// JSON of this type.
    Json(Describe),
    /// Something else, by its media type.
    Other(&'static str),
}

/// A text that is a value of every type that is read from one.
const SAMPLE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A struct and one of its fields.
type Field = (&'static str, &'static str);

/// The schemas that were found, by the names of their types.
#[derive(Default)]
pub(crate) struct Schemas {
    pub(super) found: BTreeMap<String, Value>,
    fields: BTreeSet<Field>,
    skipped: Option<Field>,
    docs: Docs,
}

/// The schema of a type; those of structs and enums in it are added to `schemas`, and referred to.
pub(crate) fn schema<T: DeserializeOwned>(schemas: &mut Schemas) -> Value {
    let before = std::mem::take(&mut schemas.fields);
    let mut node = Value::Null;
    let read = T::deserialize(Tracer { schemas, node: &mut node });
    assert!(read.is_ok(), "{}: {:?}", std::any::type_name::<T>(), read.err());
    for field in schemas.fields.clone() {
        schemas.skipped = Some(field);
        let without = T::deserialize(Tracer { schemas, node: &mut Value::Null });
        schemas.skipped = None;
        if without.is_err() {
            schemas.require(field);
        }
    }
    schemas.fields.extend(before);
    node
}

impl Schemas {
    fn require(&mut self, (name, field): Field) {
        let required = self.found.get_mut(name).map(|schema| &mut schema["required"]);
        if let Some(Value::Array(required)) = required
            && !required.contains(&json!(field))
        {
            required.push(json!(field));
        }
    }

    /// Adds the schema of a named type, unless it is there, and refers to it.
    fn named(&mut self, name: &str, mut schema: Value) -> Value {
        if let Some(text) = self.docs.of_type(name) {
            schema["description"] = json!(text);
        }
        self.found.entry(name.to_owned()).or_insert(schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

/// Reads a value of whatever is asked for, and writes down what that was.
struct Tracer<'a> {
    schemas: &'a mut Schemas,
    node: &'a mut Value,
}

impl<'a> Tracer<'a> {
    fn inner<'b>(&'b mut self, node: &'b mut Value) -> Tracer<'b> {
        Tracer { schemas: self.schemas, node }
    }

    fn is(self, schema: Value) -> &'a mut Schemas {
        *self.node = schema;
        self.schemas
    }
}

macro_rules! simple {
    ($($deserialize:ident $visit:ident $value:expr, $schema:tt;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.is(json!($schema));
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    simple! {
        deserialize_bool visit_bool false, { "type": "boolean" };
        deserialize_i8 visit_i8 0, { "type": "integer" };
        deserialize_i16 visit_i16 0, { "type": "integer" };
        deserialize_i32 visit_i32 0, { "type": "integer" };
        deserialize_i64 visit_i64 0, { "type": "integer" };
        deserialize_u8 visit_u8 0, { "type": "integer", "minimum": 0 };
        deserialize_u16 visit_u16 0, { "type": "integer", "minimum": 0 };
        deserialize_u32 visit_u32 0, { "type": "integer", "minimum": 0 };
        deserialize_u64 visit_u64 0, { "type": "integer", "minimum": 0 };
        deserialize_f32 visit_f32 0.0, { "type": "number" };
        deserialize_f64 visit_f64 0.0, { "type": "number" };
        deserialize_str visit_str SAMPLE, { "type": "string" };
        deserialize_string visit_str SAMPLE, { "type": "string" };
        deserialize_identifier visit_str SAMPLE, { "type": "string" };
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("it looks at a value before it knows what it is"))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is(json!({ "type": "null" }));
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let mut inner = Value::Null;
        let value = visitor.visit_some(self.inner(&mut inner))?;
        let nullable = match inner.get("type").cloned() {
            Some(Value::String(name)) => {
                inner["type"] = json!([name, "null"]);
                inner
            }
            _ => json!({ "anyOf": [inner, { "type": "null" }] }),
        };
        self.is(nullable);
        Ok(value)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let mut items = Value::Null;
        let value = visitor.visit_seq(One { tracer: Some(self.inner(&mut items)) })?;
        self.is(json!({ "type": "array", "items": items }));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let mut values = Value::Null;
        let value = visitor.visit_map(One { tracer: Some(self.inner(&mut values)) })?;
        self.is(json!({ "type": "object", "additionalProperties": values }));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Self { schemas, node } = self;
        let mut properties = Map::new();
        let rest = fields.iter();
        let value =
            visitor.visit_map(Fields { schemas, name, rest, field: "", properties: &mut properties })?;
        *node = schemas.named(
            name,
            json!({
                "type": "object", "properties": properties, "required": [], "additionalProperties": false
            }),
        );
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Self { schemas, node } = self;
        *node = schemas.named(name, json!({ "type": "string", "enum": variants }));
        visitor.visit_enum(First(variants[0]))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit_struct tuple tuple_struct ignored_any
    }
}

/// A list of one element, or a map of one entry.
struct One<'a> {
    tracer: Option<Tracer<'a>>,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.tracer.take().map(|tracer| seed.deserialize(tracer)).transpose()
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let key: StrDeserializer<'_, Error> = SAMPLE.into_deserializer();
        self.tracer.is_some().then(|| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let tracer = self.tracer.take().ok_or_else(|| Error::custom("one entry has one value"))?;
        seed.deserialize(tracer)
    }
}

/// The fields of a struct, but for the skipped one.
struct Fields<'a> {
    schemas: &'a mut Schemas,
    name: &'static str,
    rest: std::slice::Iter<'static, &'static str>,
    field: &'static str,
    properties: &'a mut Map<String, Value>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let skipped = self.schemas.skipped;
        let Some(field) = self.rest.find(|field| skipped != Some((self.name, *field))) else {
            return Ok(None);
        };
        self.field = field;
        self.schemas.fields.insert((self.name, field));
        let key: StrDeserializer<'_, Error> = (*field).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let mut node = Value::Null;
        let value = seed.deserialize(Tracer { schemas: self.schemas, node: &mut node })?;
        if let Some(text) = self.schemas.docs.of_field(self.name, self.field) {
            node["description"] = json!(text);
        }
        self.properties.insert(self.field.to_owned(), node);
        Ok(value)
    }
}

/// The first variant of an enum, which has nothing but its name.
struct First(&'static str);

impl<'de> EnumAccess<'de> for First {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::custom("a variant with a value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a variant with values"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a variant with fields"))
    }
}
