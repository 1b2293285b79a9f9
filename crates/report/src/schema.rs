//! What users' documents look like, as JSON schemas (draft 2020-12) and as tables.

mod tables;

use documents::Bounds;
use documents::schema::{DocumentKind, Key, Others, Rule, Shape, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Number, json};

pub use tables::document_tables;

/// The JSON schema of a kind of document, with a line break at its end.
///
/// It is stricter than nothing and laxer than the reader: what depends on other files, counts, or the order of numbers is
/// the reader's to find.
pub fn json_schema(document: &DocumentKind) -> String {
    let json = serde_json::to_string_pretty(&Root(document));
    json.expect("plain structures of numbers and strings have a JSON form") + "\n"
}

type Json = serde_json::Value;

struct Root<'a>(&'a DocumentKind);

impl Serialize for Root<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("$schema", "https://json-schema.org/draft/2020-12/schema")?;
        map.serialize_entry("title", self.0.title)?;
        map.serialize_entry("description", self.0.about)?;
        map.serialize_entry("$ref", &reference(self.0.root))?;
        map.serialize_entry("$defs", &Definitions(self.0))?;
        map.end()
    }
}

fn reference(shape: &Shape) -> String {
    format!("#/$defs/{}", definition_name(shape))
}

/// The name of a shape where it is part of an address.
fn definition_name(shape: &Shape) -> String {
    shape.name.replace(['<', '>'], "")
}

struct Definitions<'a>(&'a DocumentKind);

impl Serialize for Definitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shapes = self.0.root.with_inner().into_iter();
        let null_is_absent = self.0.null_is_absent;
        serializer.collect_map(shapes.map(|shape| (definition_name(shape), ObjectSchema { shape, null_is_absent })))
    }
}

struct ObjectSchema {
    shape: &'static Shape,
    null_is_absent: bool,
}

impl Serialize for ObjectSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ObjectSchema { shape: Shape { about, keys, others, rules, .. }, null_is_absent } = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("description", about)?;
        map.serialize_entry("type", "object")?;
        if !keys.is_empty() {
            map.serialize_entry("properties", &Properties { keys, null_is_absent })?;
        }
        let required: Vec<&str> = keys.iter().filter(|key| key.is_required).map(|key| key.name).collect();
        if !required.is_empty() {
            map.serialize_entry("required", &required)?;
        }
        match others {
            Others::Faults => map.serialize_entry("additionalProperties", &false)?,
            Others::PassedOver => {}
            Others::Hold(value) if null_is_absent => {
                map.serialize_entry("additionalProperties", &or_null(of(value)))?;
            }
            Others::Hold(value) => map.serialize_entry("additionalProperties", &of(value))?,
        }
        if !rules.is_empty() {
            map.serialize_entry("allOf", &rules.iter().map(rule).collect::<Vec<_>>())?;
        }
        map.end()
    }
}

/// `null` counts as absent, so a key is there when it holds something else.
fn is_there(key: &str) -> Json {
    json!({"required": [key], "properties": {key: {"not": {"type": "null"}}}})
}

fn rule(rule: &Rule) -> Json {
    let all = |keys: &[&str]| json!({"allOf": keys.iter().map(|key| is_there(key)).collect::<Vec<_>>()});
    let any = |keys: &[&str]| json!({"anyOf": keys.iter().map(|key| is_there(key)).collect::<Vec<_>>()});
    match rule {
        Rule::Unless(key, keys) => json!({"anyOf": [is_there(key), all(keys)]}),
        Rule::With(key, keys) => json!({"anyOf": [{"not": is_there(key)}, all(keys)]}),
        Rule::Without(key, keys) => json!({"not": {"allOf": [is_there(key), any(keys)]}}),
        Rule::OneOf(keys) => any(keys),
    }
}

struct Properties {
    keys: &'static [Key],
    null_is_absent: bool,
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let null_is_absent = self.null_is_absent;
        serializer.collect_map(self.keys.iter().map(|key| (key.name, Property { key, null_is_absent })))
    }
}

struct Property {
    key: &'static Key,
    null_is_absent: bool,
}

impl Serialize for Property {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Key { value, is_required, about, .. } = self.key;
        let schema = if *is_required || !self.null_is_absent { of(value) } else { or_null(of(value)) };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("description", about)?;
        for (name, part) in schema.as_object().expect("a schema is an object") {
            map.serialize_entry(name, part)?;
        }
        map.end()
    }
}

/// The schema of a value.
fn of(value: &Value) -> Json {
    match value {
        Value::Count { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Value::Number(Bounds::From { least, most }) => {
            json!({"type": "number", "minimum": number(*least), "maximum": number(*most)})
        }
        Value::Number(Bounds::Positive { most }) => {
            json!({"type": "number", "exclusiveMinimum": 0, "maximum": number(*most)})
        }
        Value::Switch => json!({"type": "boolean"}),
        Value::Text => json!({"type": "string", "minLength": 1}),
        Value::AnyText => json!({"type": "string"}),
        Value::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        Value::OneOf(names) => json!({"type": "string", "enum": names}),
        Value::Object(shape) => json!({"$ref": reference(shape)}),
        Value::List(value) => json!({"type": "array", "items": of(value)}),
        Value::FilledList(value) => json!({"type": "array", "items": of(value), "minItems": 1}),
        Value::Tuple(values) => {
            let (schemas, count) = (values.iter().map(of).collect::<Vec<_>>(), values.len());
            json!({"type": "array", "prefixItems": schemas, "items": false, "minItems": count})
        }
        Value::Either(values) => json!({"anyOf": values.iter().map(of).collect::<Vec<_>>()}),
        Value::EmptyList => json!({"type": "array", "maxItems": 0}),
        Value::Refused => json!({"type": "null"}),
        Value::OrNull(value) => or_null(of(value)),
        Value::Anything => json!({}),
    }
}

/// A number, without a fraction where it has none.
fn number(number: f64) -> Json {
    let is_whole = number.fract() == 0.0 && number.abs() < (1u64 << 53) as f64;
    if is_whole { json!(number as i64) } else { Number::from_f64(number).map_or(Json::Null, Json::Number) }
}

/// The same schema, for `null` too.
fn or_null(schema: Json) -> Json {
    match schema.as_object() {
        Some(object) if object.is_empty() || object.get("type").is_some_and(|kind| kind == "null") => schema,
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}
