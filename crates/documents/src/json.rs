//! Strict JSON with places: every value knows its path, line and column, and reading it wrongly records a fault.
//!
//! A [`Cursor`] points at one value. Its readers return `None` after recording what was expected and what was found, so
//! that reading goes on beside a fault and a file's faults come out all at once. `null` counts as an absent key.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use diagnostics::{Fault, Faults, Position};
use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::schema::Shape;
use crate::{Bounds, Document, suggest};

/// Where a value stands, kept after the file is read so that later checks can point at it.
#[derive(Clone, Debug)]
pub struct Place {
    document: Arc<Document>,
    offset: usize,
    path: String,
}

impl Place {
    /// Line and column.
    pub fn position(&self) -> Position {
        Position::of(&self.document.text, self.offset)
    }

    /// A fault here.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.document.name.as_str(), message).at(self.position()).path(self.path.as_str())
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// How JSON is parsed: as the standard has it, without comments, trailing commas or anything else of JSON's kin.
pub fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Reads `document` with `read`, which gets the outermost value. `None` when it is no JSON or `read` gave up; why is in
/// `faults` then.
pub fn read<T>(
    document: &Arc<Document>,
    faults: &mut Faults,
    read: impl FnOnce(&Cursor<'_>) -> Option<T>,
) -> Option<T> {
    read_as(&strict(), document, faults, read)
}

/// The same for what Python's `json` writes: as the standard has it, but for the numbers `NaN` and `Infinity`.
pub fn read_python<T>(
    document: &Arc<Document>,
    faults: &mut Faults,
    read: impl FnOnce(&Cursor<'_>) -> Option<T>,
) -> Option<T> {
    read_as(&ParseOptions { allow_non_finite_numbers: true, ..strict() }, document, faults, read)
}

fn read_as<T>(
    options: &ParseOptions,
    document: &Arc<Document>,
    faults: &mut Faults,
    read: impl FnOnce(&Cursor<'_>) -> Option<T>,
) -> Option<T> {
    let parsed = match parse_to_ast(&document.text, &CollectOptions::default(), options) {
        Ok(parsed) => parsed,
        Err(error) => {
            let at = Position::of(&document.text, error.range().start);
            let what = error.kind().to_string();
            let hint = if what.starts_with("Unterminated") {
                "what opens here is never closed: the file may be cut off"
            } else {
                "the file must be plain JSON, without comments or trailing commas"
            };
            let message = format!("not JSON: {}", decapitalised(&what));
            faults.push(Fault::new(document.name.as_str(), message).at(at).hint(hint));
            return None;
        }
    };
    let Some(value) = parsed.value else {
        faults.push(Fault::new(document.name.as_str(), "the file is empty"));
        return None;
    };
    let found = RefCell::new(Faults::new());
    let result = read(&Cursor { document, faults: &found, value: &value, path: "$".to_owned() });
    faults.extend(found.into_inner());
    result
}

fn decapitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// One value in a document.
#[derive(Clone)]
pub struct Cursor<'r> {
    document: &'r Arc<Document>,
    faults: &'r RefCell<Faults>,
    value: &'r Value<'r>,
    path: String,
}

impl<'r> Cursor<'r> {
    /// Where the value stands.
    pub fn place(&self) -> Place {
        Place { document: Arc::clone(self.document), offset: start_of(self.value), path: self.path.clone() }
    }

    /// Records a fault.
    pub fn push(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    fn placed<T>(&self, value: T) -> Option<Placed<T>> {
        Some(Placed { value, place: self.place() })
    }

    fn expected<T>(&self, what: impl fmt::Display) -> Option<T> {
        self.push(self.place().fault(format!("expected {what}, found {}", shown(self.value))));
        None
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::NullKeyword(_))
    }

    /// Whether the value is an array.
    pub fn is_array(&self) -> bool {
        matches!(self.value, Value::Array(_))
    }

    /// Whether the value is a string.
    pub fn is_string(&self) -> bool {
        matches!(self.value, Value::StringLit(_))
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// The value as a string, if it is one; it may be empty.
    pub fn as_text(&self) -> Option<&'r str> {
        let Value::StringLit(string) = self.value else { return None };
        Some(&string.value)
    }

    /// The value as `true` or `false`, if it is one.
    pub fn as_boolean(&self) -> Option<bool> {
        let Value::BooleanLit(boolean) = self.value else { return None };
        Some(boolean.value)
    }

    /// Whether the value is an array of at least one element.
    pub fn is_filled_array(&self) -> bool {
        matches!(self.value, Value::Array(array) if !array.elements.is_empty())
    }

    /// The value as a whole number, if it is one.
    pub fn as_count(&self) -> Option<u64> {
        let Value::NumberLit(number) = self.value else { return None };
        number.value.parse().ok()
    }

    /// The keys of an object. Keys that stand there twice are faults.
    pub fn object(&self) -> Option<Object<'r>> {
        let Value::Object(object) = self.value else { return self.expected("an object") };
        let object = Object { cursor: self.clone(), properties: &object.properties };
        object.reject_duplicates();
        Some(object)
    }

    /// The elements of an array.
    pub fn array(&self) -> Option<Vec<Cursor<'r>>> {
        let Value::Array(array) = self.value else { return self.expected("an array") };
        let element = |(index, value)| Cursor { value, path: format!("{}[{index}]", self.path), ..self.clone() };
        Some(array.elements.iter().enumerate().map(element).collect())
    }

    /// A string that is not empty.
    pub fn string(&self) -> Option<Placed<String>> {
        match self.value {
            Value::StringLit(string) if !string.value.is_empty() => self.placed(string.value.as_ref().to_owned()),
            _ => self.expected("a string that is not empty"),
        }
    }

    /// One of the values of a type by its name.
    pub fn name_of<T: Copy>(&self, values: &[T], name: impl Fn(T) -> &'static str) -> Option<Placed<T>> {
        if let Value::StringLit(string) = self.value
            && let Some(&value) = values.iter().find(|&&value| name(value) == string.value)
        {
            return self.placed(value);
        }
        let names: Vec<_> = values.iter().map(|&value| format!("`{}`", name(value))).collect();
        self.expected(format!("one of {}", names.join(", ")))
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<Placed<bool>> {
        match self.value {
            Value::BooleanLit(boolean) => self.placed(boolean.value),
            _ => self.expected("`true` or `false`"),
        }
    }

    /// A whole number from `least` to `most`, without fraction or exponent.
    pub fn count(&self, least: u64, most: u64) -> Option<Placed<u64>> {
        if let Value::NumberLit(number) = self.value
            && let Ok(count) = number.value.parse()
            && (least..=most).contains(&count)
        {
            return self.placed(count);
        }
        self.expected(format!("a whole number from {least} to {most}"))
    }

    /// A whole number from `least` to `most`, whose fraction may be written out if it is 0: Python has `4.0` for 8 / 2.
    pub fn whole(&self, least: u32, most: u32) -> Option<Placed<u32>> {
        if let Value::NumberLit(literal) = self.value
            && let Ok(number) = literal.value.parse::<f64>()
            && number.fract() == 0.0
            && (f64::from(least)..=f64::from(most)).contains(&number)
        {
            return self.placed(number as u32);
        }
        self.expected(format!("a whole number from {least} to {most}"))
    }

    /// A number within `bounds`.
    pub fn number(&self, bounds: Bounds) -> Option<Placed<f64>> {
        if let Value::NumberLit(literal) = self.value
            && let Ok(number) = literal.value.parse()
            && bounds.contain(number)
        {
            return self.placed(number);
        }
        self.expected(format!("a number {bounds}"))
    }
}

/// The keys of one object.
pub struct Object<'r> {
    cursor: Cursor<'r>,
    properties: &'r [ObjectProp<'r>],
}

impl<'r> Object<'r> {
    /// Where the object begins.
    pub fn place(&self) -> Place {
        self.cursor.place()
    }

    /// Where the value of `key` stands; where it is absent, where the object does.
    pub fn place_of(&self, key: &str) -> Place {
        self.get(key).map_or_else(|| self.place(), |value| value.place())
    }

    /// Records a fault.
    pub fn push(&self, fault: Fault) {
        self.cursor.push(fault);
    }

    /// The value of `key`, unless it is absent or `null`.
    pub fn get(&self, key: &str) -> Option<Cursor<'r>> {
        #[cfg(feature = "record")]
        recorded::push(self.path_of(key));
        let property = self.properties.iter().find(|property| property.name.as_str() == key)?;
        if matches!(property.value, Value::NullKeyword(_)) {
            return None;
        }
        Some(Cursor { value: &property.value, path: self.path_of(key), ..self.cursor.clone() })
    }

    /// The value of `key`, which must be there.
    pub fn require(&self, key: &str) -> Option<Cursor<'r>> {
        let value = self.get(key);
        if value.is_none() {
            self.push(self.place().fault(format!("missing key `{key}`")));
        }
        value
    }

    /// The keys with their values, `null` left out.
    pub fn entries(&self) -> impl Iterator<Item = (&'r str, Cursor<'r>)> {
        let names = self.properties.iter().map(|property| property.name.as_str());
        names.filter_map(|name| Some((name, self.get(name)?)))
    }

    /// Records a fault for each key that is not in `known`, with the nearest one that is.
    pub fn reject_unknown(&self, known: &[&str]) {
        self.reject_unknown_but(known, |_| false);
    }

    /// The same, with the keys of `shape`.
    pub fn reject_unknown_in(&self, shape: &Shape) {
        self.reject_unknown(&shape.names());
    }

    /// The same, except for keys that are `seen_to` elsewhere: faults that have a message of their own.
    pub fn reject_unknown_but(&self, known: &[&str], seen_to: impl Fn(&str) -> bool) {
        for property in self.properties {
            let name = property.name.as_str();
            if !known.contains(&name) && !seen_to(name) {
                let fault = self.key_place(property).fault(format!("unknown key `{name}`"));
                self.push(fault.hint(suggest::hint(name, known)));
            }
        }
    }

    fn reject_duplicates(&self) {
        let mut seen = std::collections::HashSet::new();
        for property in self.properties {
            if !seen.insert(property.name.as_str()) {
                let message = format!("key `{}` stands here twice", property.name.as_str());
                self.push(self.key_place(property).fault(message).hint("keep one of them"));
            }
        }
    }

    fn key_place(&self, property: &ObjectProp<'_>) -> Place {
        Place { offset: property.range.start, path: self.path_of(property.name.as_str()), ..self.place() }
    }

    fn path_of(&self, key: &str) -> String {
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !key.is_empty();
        if plain { format!("{}.{key}", self.cursor.path) } else { format!("{}[{key:?}]", self.cursor.path) }
    }
}

/// Which keys readers ask for, for tests that hold descriptions to them.
#[cfg(feature = "record")]
pub mod recorded {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ASKED: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn push(path: String) {
        ASKED.with_borrow_mut(|asked| asked.extend([path]));
    }

    /// The paths that were asked for on this thread since the last call.
    pub fn take() -> BTreeSet<String> {
        ASKED.take()
    }
}

fn start_of(value: &Value<'_>) -> usize {
    match value {
        Value::StringLit(literal) => literal.range.start,
        Value::NumberLit(literal) => literal.range.start,
        Value::BooleanLit(literal) => literal.range.start,
        Value::NullKeyword(keyword) => keyword.range.start,
        Value::Object(object) => object.range.start,
        Value::Array(array) => array.range.start,
    }
}

/// A value as an error message shows it.
fn shown(value: &Value<'_>) -> String {
    /// Longer ones are cut.
    const LONGEST: usize = 40;
    let cut = |text: &str| match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    match value {
        Value::StringLit(literal) => format!("{:?}", cut(&literal.value)),
        Value::NumberLit(literal) => cut(literal.value),
        Value::BooleanLit(literal) => literal.value.to_string(),
        Value::NullKeyword(_) => "null".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
    }
}
