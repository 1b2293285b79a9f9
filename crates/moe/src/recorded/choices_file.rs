//! Reads expert choices: JSON Lines, each line an object like `{"layer": 3, "experts": [[5, 17], [0, 2]]}`.
//!
//! `experts` has one list a token, of as many distinct experts as a token takes. Lines of one layer follow each other in
//! time; `step` may say in which step of the recording they were, and is only looked at to see that they do.

use std::collections::BTreeMap;

use diagnostics::Faults;
use documents::json;
use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, parse_to_ast};

use super::choices::Choices;
use super::{FileFaults, MoeShape, lines};

const LINE_HINT: &str = "each line is one JSON object like {\"layer\": 0, \"experts\": [[5, 17], [0, 2]]}";

pub(super) fn read(text: &str, shape: &MoeShape, faults: FileFaults<'_>) -> Result<Choices, Faults> {
    let recorded = vec![Vec::new(); shape.num_layers as usize];
    let mut reader = Reader { shape, faults, line: (0, ""), recorded, latest_steps: BTreeMap::new() };
    for line in lines(text) {
        reader.line = line;
        reader.read_line();
    }
    let Reader { mut faults, recorded, .. } = reader;
    if recorded.iter().all(Vec::is_empty) && faults.is_empty() {
        faults.push_whole("no token has chosen any expert", LINE_HINT);
    }
    faults.into_result(())?;
    Ok(Choices::new(recorded, shape.num_experts, shape.experts_per_token))
}

struct Reader<'a> {
    shape: &'a MoeShape,
    faults: FileFaults<'a>,
    line: (usize, &'a str),
    /// By layer, the experts of token after token.
    recorded: Vec<Vec<u32>>,
    /// By layer, the last step and its line.
    latest_steps: BTreeMap<u64, (u64, usize)>,
}

impl<'a> Reader<'a> {
    fn fault(&mut self, offset: usize, message: impl Into<String>, hint: &str) {
        self.faults.push(self.line, offset, message, hint);
    }

    fn read_line(&mut self) {
        match parse_to_ast(self.line.1, &CollectOptions::default(), &json::strict()) {
            Ok(parsed) => match parsed.value {
                Some(Value::Object(object)) => self.read_object(&object),
                _ => self.fault(0, "expected an object", LINE_HINT),
            },
            Err(error) => {
                let message = format!("not JSON: {}", error.kind().to_string().to_lowercase());
                self.fault(error.range().start, message, LINE_HINT);
            }
        }
    }

    fn read_object(&mut self, object: &Object<'_>) {
        for (index, property) in object.properties.iter().enumerate() {
            let name = property.name.as_str();
            if !["layer", "step", "experts"].contains(&name) {
                self.fault(property.start(), format!("unknown key `{name}`"), LINE_HINT);
            } else if object.properties[..index].iter().any(|former| former.name.as_str() == name) {
                self.fault(property.start(), format!("key `{name}` stands here twice"), "keep one of them");
            }
        }
        let layer = self.require(object, "layer").and_then(|value| self.count(value, u64::from(self.shape.num_layers)));
        let step = property(object, "step").and_then(|property| self.count(&property.value, u64::MAX));
        if let (Some(layer), Some(step)) = (layer, step) {
            self.note_step(layer, step, object);
        }
        if let Some(value) = self.require(object, "experts") {
            self.read_tokens(layer, value);
        }
    }

    fn require<'v>(&mut self, object: &'v Object<'_>, name: &str) -> Option<&'v Value<'v>> {
        let found = property(object, name);
        if found.is_none() {
            self.fault(object.start(), format!("missing key `{name}`"), LINE_HINT);
        }
        found.map(|property| &property.value)
    }

    /// A whole number below `end`.
    fn count(&mut self, value: &Value<'_>, end: u64) -> Option<u64> {
        let count = number(value).filter(|&count| count < end);
        if count.is_none() {
            let found: String = value.text(self.line.1).chars().take(20).collect();
            let most = if end == u64::MAX { String::new() } else { format!(" to {}", end - 1) };
            self.fault(value.start(), format!("expected a whole number from 0{most}, found `{found}`"), "");
        }
        count
    }

    /// A recording that is out of order would not be what happened.
    fn note_step(&mut self, layer: u64, step: u64, object: &Object<'_>) {
        let former = self.latest_steps.insert(layer, (step, self.line.0));
        if let Some((former, former_line)) = former.filter(|&(former, _)| former > step) {
            let message = format!("step {step} of layer {layer} comes after step {former} in line {former_line}");
            self.fault(object.start(), message, "sort the lines of each layer by step");
        }
    }

    /// Appends the choices of all tokens to the layer's, unless there is a fault among them.
    fn read_tokens(&mut self, layer: Option<u64>, value: &Value<'_>) {
        let Value::Array(tokens) = value else {
            return self.fault(value.start(), "expected a list with one list of experts for each token", LINE_HINT);
        };
        let mut experts = Vec::with_capacity(tokens.elements.len() * self.shape.experts_per_token as usize);
        for token in &tokens.elements {
            self.read_token(token, &mut experts);
        }
        if let Some(layer) = layer {
            self.recorded[layer as usize].append(&mut experts);
        }
    }

    fn read_token(&mut self, token: &Value<'_>, experts: &mut Vec<u32>) {
        let MoeShape { num_experts, experts_per_token, .. } = *self.shape;
        let elements = match token {
            Value::Array(list) if list.elements.len() == experts_per_token as usize => &list.elements,
            Value::Array(list) => {
                let message =
                    format!("expected {experts_per_token} experts for a token, found {}", list.elements.len());
                return self.fault(token.start(), message, "");
            }
            _ => return self.fault(token.start(), "expected a list of experts for each token", LINE_HINT),
        };
        let first = experts.len();
        for element in elements {
            let Some(expert) = self.count(element, u64::from(num_experts)) else { return };
            let expert = expert as u32;
            if experts[first..].contains(&expert) {
                return self.fault(element.start(), format!("a token takes expert {expert} twice"), "");
            }
            experts.push(expert);
        }
    }
}

fn property<'v, 'a>(object: &'v Object<'a>, name: &str) -> Option<&'v ObjectProp<'a>> {
    object.properties.iter().find(|property| property.name.as_str() == name)
}

fn number(value: &Value<'_>) -> Option<u64> {
    let Value::NumberLit(literal) = value else { return None };
    literal.value.parse().ok()
}
