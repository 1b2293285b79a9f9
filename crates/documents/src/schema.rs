//! What documents look like that users write: their keys, what each holds, and what it means.
//!
//! Readers name their keys by these tables ([`Object::reject_unknown_in`](crate::json::Object::reject_unknown_in)), and
//! JSON schemas and reference pages are made from them, so that the three can't differ. What values a key may hold is
//! said twice, in the table and by the reader; tests hold the two together.

use crate::Bounds;

/// One kind of document.
#[derive(Clone, Copy, Debug)]
pub struct DocumentKind {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What it is for, how a file of it is written, and who takes it.
    pub about: &'static str,
    /// Whether `null` counts as an absent key.
    pub null_is_absent: bool,
    /// The outermost object.
    pub root: &'static Shape,
}

/// An object.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What it is called where several keys hold one.
    pub name: &'static str,
    /// What it describes.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// What is under other keys.
    pub others: Others,
    /// Which keys must be there beside those that always must.
    pub rules: &'static [Rule],
}

/// Keys that are not in a table.
#[derive(Clone, Copy, Debug)]
pub enum Others {
    /// Are faults.
    Faults,
    /// Are passed over.
    PassedOver,
    /// Hold such values, under names of the user's.
    Hold(&'static Value),
}

/// Which keys must be there, and which must not.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Where the first is not, all of these are.
    Unless(&'static str, &'static [&'static str]),
    /// Where the first is, none of these is.
    Without(&'static str, &'static [&'static str]),
    /// Where the first is, all of these are.
    With(&'static str, &'static [&'static str]),
    /// One of these is there.
    OneOf(&'static [&'static str]),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub value: Value,
    /// Whether it must be there.
    pub is_required: bool,
    /// What it means, with its unit, and what is taken where it is absent.
    pub about: &'static str,
}

/// What stands under a key.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A whole number.
    Count {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A number.
    Number(Bounds),
    /// `true` or `false`.
    Switch,
    /// A text that is not empty.
    Text,
    /// A text, or an empty one.
    AnyText,
    /// A text that this regular expression matches (ECMA 262).
    Pattern(&'static str),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// An object.
    Object(&'static Shape),
    /// A list of such values.
    List(&'static Value),
    /// A list of at least one such value.
    FilledList(&'static Value),
    /// A list of these values, one each.
    Tuple(&'static [Value]),
    /// Any of these.
    Either(&'static [Value]),
    /// An empty list.
    EmptyList,
    /// Nothing: a key that is refused for what it asks for.
    Refused,
    /// Such a value or `null`.
    OrNull(&'static Value),
    /// Anything.
    Anything,
}

impl Key {
    /// A key that must be there.
    pub const fn required(name: &'static str, value: Value, about: &'static str) -> Self {
        Self { name, value, is_required: true, about }
    }

    /// A key that may be left out.
    pub const fn optional(name: &'static str, value: Value, about: &'static str) -> Self {
        Self { name, value, is_required: false, about }
    }
}

impl Shape {
    /// An object whose keys are all known.
    pub const fn of(name: &'static str, about: &'static str, keys: &'static [Key]) -> Self {
        Self { name, about, keys, others: Others::Faults, rules: &[] }
    }

    /// The names of its keys.
    pub fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }

    /// This object and all that stand in it, each once, in the order in which they are met.
    pub fn with_inner(&'static self) -> Vec<&'static Shape> {
        let mut met: Vec<&'static Shape> = vec![self];
        let mut next = 0;
        while let Some(&shape) = met.get(next) {
            next += 1;
            let others = match &shape.others {
                Others::Hold(value) => Some(*value),
                Others::Faults | Others::PassedOver => None,
            };
            for value in shape.keys.iter().map(|key| &key.value).chain(others) {
                value.shapes(&mut |inner| {
                    if met.iter().all(|known| known.name != inner.name) {
                        met.push(inner);
                    }
                });
            }
        }
        met
    }
}

impl Value {
    /// Calls `each` with every object that may stand here.
    fn shapes(&self, each: &mut dyn FnMut(&'static Shape)) {
        match self {
            Value::Object(shape) => each(shape),
            Value::List(value) | Value::FilledList(value) | Value::OrNull(value) => value.shapes(each),
            Value::Tuple(values) | Value::Either(values) => values.iter().for_each(|value| value.shapes(each)),
            _ => {}
        }
    }
}
