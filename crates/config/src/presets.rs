//! Presets: what an engine's host takes, by name.
//!
//! A preset is a JSON file `{"name", "about", "host_us": {…}}`. `servingsim calibrate` writes such files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use documents::json::Object;
use documents::{Bounds, Document, json, suggest};
use engine::HostTimes;
use units::Duration;

use crate::schema;

/// The presets that ship with the simulator.
const SHIPPED: &[(&str, &str)] = &[("vllm-0.19", include_str!("../presets/vllm-0.19.json"))];

/// A second: more than any host takes for one of these.
pub(crate) const MICROSECONDS: Bounds = Bounds::From { least: 0.0, most: 1e6 };

/// What an engine's host takes, and where that is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preset {
    /// Its name, which results are shown with.
    pub name: String,
    /// Of which engine it tells, and how it came about.
    pub about: String,
    /// Its times.
    pub host: HostTimes,
}

impl Preset {
    /// The preset that engines like vLLM's have unless another is asked for.
    pub const DEFAULT: &str = "vllm-0.19";

    /// The preset that ships as `name`, or else the file of that name. `none` is one in which the host takes no time.
    ///
    /// # Errors
    /// When there is neither, or the file is no preset; all that is wrong with it at once.
    pub fn load(name: &str) -> Result<Self, Faults> {
        if name == "none" {
            return Ok(Self { name: name.to_owned(), ..Self::default() });
        }
        if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Self::parse(Document { name: name.to_owned(), text: (*text).to_owned() });
        }
        let path = Path::new(name);
        if !path.exists() {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).chain(["none"]).collect();
            let fault = Fault::new("--preset", format!("no preset and no file is called `{name}`"));
            return Err(fault.hint(format!("there are {}", suggest::listed(&names))).into());
        }
        Self::parse(Document::read(path)?)
    }

    fn parse(document: Document) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let preset = json::read(&Arc::new(document), &mut faults, |outermost| {
            let object = outermost.object()?;
            object.reject_unknown_in(&schema::PRESET_ROOT);
            let name = object.require("name").and_then(|value| value.string());
            let about = object.get("about").map_or(Some(String::new()), |value| Some(value.string()?.value));
            let times = object.require("host_us").and_then(|value| value.object());
            let host = times.and_then(|times| host_times(&times));
            Some(Self { name: name?.value, about: about?, host: host? })
        });
        preset.filter(|_| faults.is_empty()).ok_or(faults)
    }
}

fn host_times(object: &Object<'_>) -> Option<HostTimes> {
    let mut host = HostTimes::default();
    object.reject_unknown_in(&schema::HOST);
    let mut is_sound = true;
    for (name, time) in host.named_mut() {
        let Some(value) = object.get(name) else { continue };
        match value.number(MICROSECONDS) {
            Some(microseconds) => *time = Duration::from_ns((microseconds.value * 1e3).round() as u64),
            None => is_sound = false,
        }
    }
    is_sound.then_some(host)
}

/// As the JSON it is read from.
impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let times = self.host.named().map(|(name, time)| format!("    \"{name}\": {}", time.ns() as f64 / 1e3));
        writeln!(f, "{{\n  \"name\": {},", quoted(&self.name))?;
        if !self.about.is_empty() {
            writeln!(f, "  \"about\": {},", quoted(&self.about))?;
        }
        writeln!(f, "  \"host_us\": {{\n{}\n  }}\n}}", times.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Preset, Faults> {
        Preset::parse(Document { name: "p.json".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn presets_that_ship_are_sound_and_write_themselves() {
        for (name, text) in SHIPPED {
            let preset = Preset::load(name).unwrap();
            assert_eq!(preset.name, *name);
            assert_eq!(preset.to_string(), *text);
        }
        assert_eq!(Preset::load("none").unwrap().host, HostTimes::default());
        assert!(SHIPPED.iter().any(|(name, _)| *name == Preset::DEFAULT));
    }

    #[test]
    fn what_is_not_said_takes_no_time() {
        let preset = parse(r#"{"name": "mine", "host_us": {"step": 150.5}}"#).unwrap();
        assert_eq!(preset.host, HostTimes { step: Duration::from_ns(150_500), ..HostTimes::default() });
    }

    #[test]
    fn faults_are_told_at_once() {
        let faults = parse(r#"{"about": 3, "host_us": {"step": -1, "blocks": 2}}"#).unwrap_err().to_string();
        for expected in ["`name`", "$.about", "$.host_us.step", "`blocks`", "did you mean `block`"] {
            assert!(faults.contains(expected), "{expected} in {faults}");
        }
        assert!(Preset::load("no-such").unwrap_err().to_string().contains("vllm-0.19"));
    }
}
