//! Documents as tables in Markdown.

use documents::Bounds;
use documents::schema::{DocumentKind, Key, Others, Rule, Shape, Value};

/// The objects of a kind of document, a section with a table each. `level` is that of the sections' headings.
pub fn document_tables(document: &DocumentKind, level: usize) -> String {
    let shapes = document.root.with_inner();
    let sections: Vec<String> = shapes.into_iter().map(|shape| section(shape, level)).collect();
    sections.join("\n")
}

fn section(shape: &Shape, level: usize) -> String {
    let mut text = format!("{} `{}`\n\n{}\n", "#".repeat(level), shape.name, shape.about);
    if !shape.keys.is_empty() {
        text += "\n| key | value | |\n|---|---|---|\n";
        shape.keys.iter().for_each(|key| text += &row(key));
    }
    match shape.others {
        Others::Faults => {}
        Others::PassedOver => text += "\nOther keys are passed over.\n",
        Others::Hold(value) => text += &format!("\nUnder names of your own: {}.\n", described(value)),
    }
    for rule in shape.rules {
        text += &format!("\n{}\n", sentence(rule));
    }
    text
}

fn row(key: &Key) -> String {
    let needed = if key.is_required { " (required)" } else { "" };
    let value = described(&key.value).replace('|', "\\|");
    format!("| `{}`{needed} | {value} | {} |\n", key.name, key.about.replace('|', "\\|"))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn sentence(rule: &Rule) -> String {
    match rule {
        Rule::Unless(key, keys) => format!("Without `{key}`, {} must be there.", listed(keys)),
        Rule::Without(key, keys) => format!("Beside `{key}`, {} can't be there.", listed(keys)),
        Rule::With(key, keys) => format!("With `{key}`, {} must be there.", listed(keys)),
        Rule::OneOf(keys) => format!("One of {} must be there.", listed(keys)),
    }
}

/// What a key may hold, in words.
fn described(value: &Value) -> String {
    match value {
        Value::Count { least, most } if least == most => format!("{least}"),
        Value::Count { least, most } if *most >= 1 << 20 => format!("whole number from {least}"),
        Value::Count { least, most } => format!("whole number from {least} to {most}"),
        Value::Number(Bounds::From { least, most }) if *most >= 1e5 => format!("number from {least}"),
        Value::Number(bounds @ Bounds::From { .. }) => format!("number {bounds}"),
        Value::Number(Bounds::Positive { most }) if *most >= 1e5 => "number above 0".to_owned(),
        Value::Number(bounds) => format!("number {bounds}"),
        Value::Switch => "`true` or `false`".to_owned(),
        Value::Text | Value::AnyText | Value::Pattern(_) => "text".to_owned(),
        Value::OneOf([name]) => format!("`\"{name}\"`"),
        Value::OneOf(names) => {
            format!("one of {}", names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", "))
        }
        Value::Object(shape) => format!("object [{}](#{})", shape.name, anchor(shape.name)),
        Value::List(value) => format!("list of: {}", described(value)),
        Value::FilledList(value) => format!("list of at least one: {}", described(value)),
        Value::Tuple(values) => format!("list of {}", values.iter().map(described).collect::<Vec<_>>().join(", then ")),
        Value::Either(values) => values.iter().map(described).collect::<Vec<_>>().join(", or "),
        Value::EmptyList => "empty list".to_owned(),
        Value::Refused => "`null`".to_owned(),
        Value::OrNull(value) => format!("{}, or `null`", described(value)),
        Value::Anything => "anything".to_owned(),
    }
}

/// Where the heading of a name is found: in lower case, without what is no letter, digit, hyphen or underscore.
fn anchor(name: &str) -> String {
    let kept = name.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'));
    kept.collect::<String>().to_lowercase()
}
