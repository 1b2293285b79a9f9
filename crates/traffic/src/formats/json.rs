//! Values of JSON with their paths, so that what is wrong in them can be told.

use diagnostics::Position;
use serde_json::{Map, Value};

use crate::fault_log::FaultLog;

/// An object that begins at `position`, by whose path faults go.
pub(super) struct Object<'a, 'p> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) position: Position,
    pub(super) path: &'p str,
}

impl<'a, 'p> Object<'a, 'p> {
    pub(super) fn new(value: &'a Value, position: Position, path: &'p str, faults: &mut FaultLog) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self { map, position, path }),
            _ => {
                faults.at(position, path, format!("expected an object, found {}", kind(value)));
                None
            }
        }
    }

    /// What `read` makes of the value of `key`; where that is nothing, that it is not what is `wanted`.
    pub(super) fn read<T>(
        &self,
        key: &str,
        wanted: &str,
        faults: &mut FaultLog,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.map.get(key) else {
            faults.at(self.position, self.path, format!("`{key}` is missing"));
            return None;
        };
        let found = read(value);
        if found.is_none() {
            let path = format!("{}.{key}", self.path);
            faults.at(self.position, &path, format!("expected {wanted}, found {}", kind(value)));
        }
        found
    }
}

/// A value as a fault shows it.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => crate::fault_log::shown(text).replace("nothing", "an empty string"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A message of `serde_json` without the place at its end, which is told elsewhere.
pub(super) fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
