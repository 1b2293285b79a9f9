//! `placement`: in which memory weights are, and from where lost prefixes are brought back.
//!
//! A location is `npu`, `cpu` (the instance's own node) or `cxl:N`. Weights are where the rule for their layer says,
//! else the rule for their block, else the default (behaviour contract, section 13). A prefix moves as a whole, all
//! blocks at once, so of `kv_evict_loc` only the default's counts; where that is silent, prefixes come from the memory
//! that their tier is in. LLMServingSim recalls them over the CPU's memory then, whichever tier they are in, and
//! `--polling reference` does too. KV that a running request works on is always on the NPU.

use std::str::FromStr;

use documents::json::{Cursor, Object, Placed};
use documents::suggest;
use engine::{Placement, Polling};
use model::Layer;
use network::Location;
use units::NodeId;

use crate::instances::Instance;
use crate::report::Report;
use crate::schema;
use crate::settings::{Flags, PrefixStorage, Settings};

/// What `placement` of one instance says.
#[derive(Default)]
pub(crate) struct PlacementRules {
    default: Rule,
    blocks: Vec<BlocksRule>,
    layers: Vec<(Layer, Rule)>,
}

/// Where things are, as far as one rule says so.
#[derive(Default)]
struct Rule {
    weights: Option<Placed<Device>>,
    kv_evict_loc: Option<Placed<Device>>,
}

/// A rule for some blocks.
struct BlocksRule {
    /// Ranges, each from its first block to its last.
    ranges: Placed<Vec<(u64, u64)>>,
    rule: Rule,
}

/// A memory as an instance sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Npu,
    Cpu,
    Cxl(u32),
}

/// Reads `placement` of one instance.
pub(crate) fn read(value: &Cursor<'_>) -> Option<PlacementRules> {
    let object = value.object()?;
    object.reject_unknown_in(&schema::PLACEMENT);
    let default = object.get("default").and_then(|value| value.object());
    if let Some(default) = &default {
        default.reject_unknown_in(&schema::LOCATIONS);
    }
    let blocks = object.get("blocks").and_then(|value| value.array()).unwrap_or_default();
    let layers = object.get("layers").and_then(|value| value.object());
    let layers = layers.iter().flat_map(Object::entries);
    Some(PlacementRules {
        default: default.as_ref().map(rule).unwrap_or_default(),
        blocks: blocks.iter().filter_map(blocks_rule).collect(),
        layers: layers.filter_map(|(name, value)| layer_rule(name, &value)).collect(),
    })
}

fn blocks_rule(value: &Cursor<'_>) -> Option<BlocksRule> {
    let object = value.object()?;
    object.reject_unknown_in(&schema::BLOCKS);
    let rule = rule(&object);
    let ranges = object.require("blocks").and_then(|value| ranges(&value));
    Some(BlocksRule { ranges: ranges?, rule })
}

/// `0-3,5,7-9`, or a single number.
fn ranges(value: &Cursor<'_>) -> Option<Placed<Vec<(u64, u64)>>> {
    if let Some(block) = value.as_count() {
        return Some(Placed { value: vec![(block, block)], place: value.place() });
    }
    let Placed { value: text, place } = value.string()?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).map(|(a, b)| (a.min(b), a.max(b))),
        None => number(part).map(|block| (block, block)),
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    if ranges.is_none() {
        value.push(place.fault(format!("`{text}` names no blocks")).hint("write numbers and ranges, as in \"0-3,5\""));
    }
    Some(Placed { value: ranges?, place })
}

fn layer_rule(name: &str, value: &Cursor<'_>) -> Option<(Layer, Rule)> {
    let layer = Layer::from_str(name).ok();
    if layer.is_none() {
        let names: Vec<_> = Layer::ALL.iter().map(|layer| layer.name()).collect();
        let fault = value.place().fault(format!("unknown layer `{name}`"));
        value.push(fault.hint(suggest::hint(name, &names)));
    }
    let object = value.object()?;
    object.reject_unknown_in(&schema::LOCATIONS);
    Some((layer?, rule(&object)))
}

fn rule(object: &Object<'_>) -> Rule {
    let device = |key| object.get(key).and_then(|value| device(&value));
    if let Some(Placed { value: location, place }) = device("kv_loc")
        && location != Device::Npu
    {
        let fault = place.fault("KV of running requests is simulated on the NPU only");
        object.push(
            fault.hint("write \"npu\"; `weights` may be elsewhere, and --prefix-storage keeps prefixes elsewhere"),
        );
    }
    Rule { weights: device("weights"), kv_evict_loc: device("kv_evict_loc") }
}

fn device(value: &Cursor<'_>) -> Option<Placed<Device>> {
    let Placed { value: text, place } = value.string()?;
    let device = match text.to_ascii_lowercase().as_str() {
        "npu" => Some(Device::Npu),
        "cpu" => Some(Device::Cpu),
        "cxl" => Some(Device::Cxl(0)),
        other => other.strip_prefix("cxl:").and_then(|number| number.parse().ok()).map(Device::Cxl),
    };
    if device.is_none() {
        value.push(place.fault(format!("`{text}` is no memory")).hint("known are `npu`, `cpu` and `cxl:N`"));
    }
    Some(Placed { value: device?, place })
}

impl PlacementRules {
    /// Where the weights of `instance`, of `num_blocks` blocks, are, and from where prefixes are brought back. There
    /// are `cxl_devices` CXL devices, if that is known.
    pub(crate) fn resolve(
        &self,
        instance: &Instance,
        num_blocks: u64,
        cxl_devices: Option<u32>,
        (flags, settings): (&Flags, &Settings),
        report: &mut Report,
    ) -> Placement {
        let locate = |device: Device| location(device, instance.node);
        for device in self.devices() {
            check_device(device, cxl_devices, report);
        }
        let default_weights = self.default.weights.as_ref().map_or(Location::Npu, |device| locate(device.value));
        let weights_of = |rule: &Rule| rule.weights.as_ref().map(|device| locate(device.value));

        let mut block_weights = Vec::new();
        for BlocksRule { ranges, rule } in &self.blocks {
            if let Some((_, last)) = ranges.value.iter().find(|(_, last)| *last >= num_blocks) {
                let message = format!("there is no block {last}: the model has {num_blocks}, counted from 0");
                report.push(ranges.place.fault(message));
                continue;
            }
            // All alike as long as no rule tells them apart.
            block_weights.resize(num_blocks as usize, default_weights);
            let Some(weights) = weights_of(rule) else { continue };
            for &(first, last) in &ranges.value {
                block_weights[first as usize..=last as usize].fill(weights);
            }
        }
        self.note_ignored_evictions(report);
        Placement {
            weights: default_weights,
            block_weights,
            layer_weights: self.layers.iter().filter_map(|(layer, rule)| Some((*layer, weights_of(rule)?))).collect(),
            loads_npu_weights: settings.local_offloading,
            recall_from: self.recall_from(instance.node, flags),
        }
    }

    fn recall_from(&self, node: usize, flags: &Flags) -> Location {
        let host = Location::Host(NodeId::from(node).0);
        match &self.default.kv_evict_loc {
            Some(device) => location(device.value, node),
            None if flags.polling == Polling::Exact && flags.prefix_storage == PrefixStorage::Cxl => Location::Pool(0),
            None => host,
        }
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let blocks = self.blocks.iter().map(|blocks| &blocks.rule);
        blocks.chain(self.layers.iter().map(|(_, rule)| rule))
    }

    fn devices(&self) -> impl Iterator<Item = &Placed<Device>> {
        let rules = [&self.default].into_iter().chain(self.rules());
        rules.flat_map(|rule| [&rule.weights, &rule.kv_evict_loc]).flatten()
    }

    fn note_ignored_evictions(&self, report: &mut Report) {
        let default = self.default.kv_evict_loc.as_ref().map_or(Device::Cpu, |device| device.value);
        if self.rules().filter_map(|rule| rule.kv_evict_loc.as_ref()).any(|device| device.value != default) {
            let reason = "a prefix moves as a whole, and the default's counts";
            report.note(format!("`kv_evict_loc` of blocks and layers is not followed: {reason}"));
        }
    }
}

fn location(device: Device, node: usize) -> Location {
    match device {
        Device::Npu => Location::Npu,
        Device::Cpu => Location::Host(NodeId::from(node).0),
        Device::Cxl(number) => Location::Pool(number),
    }
}

fn check_device(device: &Placed<Device>, cxl_devices: Option<u32>, report: &mut Report) {
    let Device::Cxl(number) = device.value else { return };
    let Some(num_devices) = cxl_devices.filter(|&num_devices| number >= num_devices) else { return };
    let fault = device.place.fault(format!("there is no CXL device {number}"));
    report.push(match num_devices {
        0 => fault.hint("describe it in `cxl_mem` of the cluster"),
        _ => fault.hint(format!("`cxl_mem` has {num_devices}, counted from 0; its `num_devices` says how many")),
    });
}
