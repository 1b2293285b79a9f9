//! YAML with places: a mapping of lists, each value reading itself or recording what was expected.

use diagnostics::{Fault, Faults, Position};
use documents::{Bounds, Document, suggest};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};

/// A value, and where it stands.
pub(crate) struct Node<'y> {
    yaml: &'y MarkedYaml<'y>,
    path: String,
}

/// Reads the values of one document, and collects what is wrong with them.
pub(crate) struct Reader<'d> {
    document: &'d Document,
    faults: &'d mut Faults,
}

/// The parser calls itself for each level of nesting, of which there are at most as many as characters that open one.
const MOST_OPENINGS: usize = 1_000;

impl<'d> Reader<'d> {
    /// A reader of `document`, whose faults go to `faults`.
    pub(crate) fn new(document: &'d Document, faults: &'d mut Faults) -> Self {
        Self { document, faults }
    }

    /// Parses the document and reads its outermost value with `read`.
    pub(crate) fn read<T>(&mut self, read: impl FnOnce(&mut Self, &Node<'_>) -> Option<T>) -> Option<T> {
        let text = self.document.text.as_str();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        if lines.flat_map(str::chars).filter(|character| "[{-?:".contains(*character)).count() > MOST_OPENINGS {
            self.push_whole("the file is too long for a network");
            return None;
        }
        let roots = match MarkedYaml::load_from_str(text) {
            Ok(roots) => roots,
            Err(error) => {
                let message = format!("not YAML: {}", error.info());
                self.faults.push(Fault::new(self.document.name.as_str(), message).at(position(error.marker())));
                return None;
            }
        };
        match roots.as_slice() {
            [] => self.push_whole("the file is empty"),
            [root] => return read(self, &Node { yaml: root, path: "$".to_owned() }),
            [_, second, ..] => {
                let second = Node { yaml: second, path: "$".to_owned() };
                self.push(&second, "a second document begins here", Some("keep one of them"));
            }
        }
        None
    }

    fn push_whole(&mut self, message: &str) {
        self.faults.push(Fault::new(self.document.name.as_str(), message));
    }

    /// Records a fault of `node`.
    pub(crate) fn push(&mut self, node: &Node<'_>, message: impl Into<String>, hint: Option<&str>) {
        let at = position(&node.yaml.span.start);
        let mut fault = Fault::new(self.document.name.as_str(), message).at(at).path(node.path.as_str());
        fault.hint = hint.map(str::to_owned);
        self.faults.push(fault);
    }

    fn expected<T>(&mut self, node: &Node<'_>, what: &str, hint: Option<&str>) -> Option<T> {
        self.push(node, format!("expected {what}, found {}", shown(node.yaml)), hint);
        None
    }

    /// The lists under `keys`, in their order. Each must be there, and no other key.
    pub(crate) fn lists<'y, const N: usize>(
        &mut self,
        node: &Node<'y>,
        keys: [&str; N],
    ) -> Option<[Option<List<'y>>; N]> {
        let Some(mapping) = node.yaml.data.as_mapping() else {
            return self.expected(node, &format!("the keys {}", suggest::listed(&keys)), None);
        };
        let mut lists = [const { None }; N];
        let mut is_missing = [true; N];
        for (key, value) in mapping {
            let key = Node { yaml: key, path: node.path.clone() };
            let Some(name) = key.yaml.data.as_str() else {
                self.expected::<()>(&key, "a name as the key", None);
                continue;
            };
            let Some(index) = keys.iter().position(|&known| known == name) else {
                self.push(&key, format!("unknown key `{name}`"), Some(&suggest::hint(name, &keys)));
                continue;
            };
            is_missing[index] = false;
            lists[index] = self.list(Node { yaml: value, path: format!("{}.{name}", node.path) });
        }
        for (key, _) in keys.iter().zip(is_missing).filter(|&(_, is_missing)| is_missing) {
            self.push(node, format!("missing key `{key}`"), None);
        }
        Some(lists)
    }

    fn list<'y>(&mut self, node: Node<'y>) -> Option<List<'y>> {
        const WHAT: &str = "a list with an entry for each dimension";
        match node.yaml.data.as_vec() {
            Some(entries) if !entries.is_empty() => {
                let entry = |(index, yaml)| Node { yaml, path: format!("{}[{index}]", node.path) };
                let entries = entries.iter().enumerate().map(entry).collect();
                Some(List { node, entries })
            }
            Some(_) => self.expected(&node, WHAT, None),
            None => {
                let value = match &node.yaml.data {
                    YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
                    YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_)) => Some(shown(node.yaml)),
                    _ => None,
                };
                let hint = value.map(|value| format!("write `[{value}]`"));
                self.expected(&node, WHAT, hint.as_deref())
            }
        }
    }

    /// One of the values of a type by its name.
    pub(crate) fn name_of<T: Copy>(&mut self, node: &Node<'_>, values: &[T], name: fn(T) -> &'static str) -> Option<T> {
        let text = node.yaml.data.as_str();
        if let Some(&value) = values.iter().find(|&&value| Some(name(value)) == text) {
            return Some(value);
        }
        let names: Vec<_> = values.iter().map(|&value| name(value)).collect();
        let nearest = text.and_then(|text| suggest::nearest(text, &names));
        let hint = nearest.map(|nearest| format!("did you mean `{nearest}`?"));
        self.expected(node, &format!("one of {}", suggest::listed(&names)), hint.as_deref())
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn count(&mut self, node: &Node<'_>, least: u32, most: u32) -> Option<u32> {
        let count = node.yaml.data.as_integer().and_then(|count| u32::try_from(count).ok());
        match count.filter(|count| (least..=most).contains(count)) {
            Some(count) => Some(count),
            None => self.expected(node, &format!("a whole number from {least} to {most}"), None),
        }
    }

    /// A number within `bounds`.
    pub(crate) fn number(&mut self, node: &Node<'_>, bounds: Bounds) -> Option<f64> {
        let number = match &node.yaml.data {
            YamlData::Value(Scalar::Integer(number)) => Some(*number as f64),
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.0),
            _ => None,
        };
        match number.filter(|&number| bounds.contain(number)) {
            Some(number) => Some(number),
            None => self.expected(node, &format!("a number {bounds}"), None),
        }
    }
}

/// A list of at least one entry.
pub(crate) struct List<'y> {
    /// The list itself.
    pub(crate) node: Node<'y>,
    /// What it holds.
    pub(crate) entries: Vec<Node<'y>>,
}

/// A value as an error message shows it.
fn shown(yaml: &MarkedYaml<'_>) -> String {
    match &yaml.data {
        YamlData::Value(Scalar::String(text)) => {
            let cut: String = text.chars().take(40).collect();
            format!("{cut:?}")
        }
        YamlData::Value(Scalar::Integer(number)) => number.to_string(),
        YamlData::Value(Scalar::FloatingPoint(number)) => format!("{:?}", number.0),
        YamlData::Value(Scalar::Boolean(boolean)) => boolean.to_string(),
        YamlData::Value(Scalar::Null) => "nothing".to_owned(),
        YamlData::Sequence(entries) if entries.is_empty() => "an empty list".to_owned(),
        YamlData::Sequence(_) => "a list".to_owned(),
        YamlData::Mapping(_) => "a mapping".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn position(marker: &Marker) -> Position {
    // Lines count from 1 there, columns from 0.
    Position { line: marker.line(), column: marker.col() + 1 }
}
