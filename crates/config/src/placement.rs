//! `placement`: where weights and KV live. Only the NPU is modelled so far, so only that is let through.
//!
//! Evicted KV may be said to go to the NPU or the CPU: nothing is moved on eviction, so both mean the same.

use std::str::FromStr;

use model::Layer;

use crate::json::{Cursor, Object};
use crate::suggest;

const LOCATIONS: &[&str] = &["weights", "kv_loc", "kv_evict_loc"];

/// Refuses every rule that puts something elsewhere.
pub(crate) fn check(placement: &Cursor<'_>) {
    let Some(object) = placement.object() else { return };
    object.reject_unknown(&["default", "blocks", "layers"]);
    if let Some(rule) = object.get("default").and_then(|value| value.object()) {
        rule.reject_unknown(LOCATIONS);
        check_rule(&rule);
    }
    for element in object.get("blocks").and_then(|value| value.array()).unwrap_or_default() {
        let Some(rule) = element.object() else { continue };
        rule.reject_unknown(&["blocks", "weights", "kv_loc", "kv_evict_loc"]);
        check_rule(&rule);
    }
    let Some(layers) = object.get("layers").and_then(|value| value.object()) else { return };
    for (name, value) in layers.entries() {
        if Layer::from_str(name).is_err() {
            let names: Vec<_> = Layer::ALL.iter().map(|layer| layer.name()).collect();
            let fault = value.place().fault(format!("unknown layer `{name}`"));
            value.push(fault.hint(suggest::hint(name, &names)));
        }
        let Some(rule) = value.object() else { continue };
        rule.reject_unknown(LOCATIONS);
        check_rule(&rule);
    }
}

fn check_rule(rule: &Object<'_>) {
    for &key in LOCATIONS {
        let Some(value) = rule.get(key) else { continue };
        let Some(location) = value.string() else { continue };
        let is_modelled = match location.value.to_ascii_lowercase().as_str() {
            "npu" => true,
            "cpu" => key == "kv_evict_loc",
            _ => false,
        };
        if !is_modelled {
            let message = format!("`{key}` on `{}` is not supported yet", location.value);
            value.push(location.place.fault(message).hint("write \"npu\""));
        }
    }
}
