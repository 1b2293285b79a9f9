//! What fits into the memory of an NPU: the weights, and blocks of KV in what is left.
//!
//! `blocks = floor((floor(mem_size * utilisation) - weights) / bytes per block)`, as vLLM's `GPUWorker` does it but
//! without the peak of activations, which is not modelled (behaviour contract, sections 5 and 8). So the capacity is an
//! upper bound on that of vLLM at the same utilisation.
//!
//! Weights placed elsewhere leave the room to KV. LLMServingSim keeps it for them all the same, and so does
//! `--polling reference`.

use diagnostics::Faults;
use engine::{KvSpec, Placement, Polling};
use model::{Architecture, Layer, Model};
use network::Location;
use units::GIB;

use crate::instances::Instance;
use crate::parallelism::Degrees;
use crate::settings::Settings;

/// The memory of each NPU of one instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Bytes of weights.
    pub(crate) weight_bytes: u64,
    /// The KV cache.
    pub(crate) kv: KvSpec,
}

/// What decides over the weights that an NPU holds.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'m> {
    /// The model.
    pub(crate) model: &'m Model,
    /// The order of its layers.
    pub(crate) architecture: &'m Architecture,
    /// Where they are.
    pub(crate) placement: &'m Placement,
}

/// Divides up the memory of `instance`; `None` when the model does not fit.
pub(crate) fn divide(
    instance: &Instance,
    held: Weights<'_>,
    degrees: Degrees,
    settings: &Settings,
    polling: Polling,
    faults: &mut Faults,
) -> Option<Capacity> {
    let model = held.model;
    let memory = &instance.npu_memory.size_gib;
    let memory_bytes = memory.value * GIB as f64;
    let requested_bytes = (memory_bytes * settings.memory_utilization) as u64;
    let weights = |degrees| weights(held, degrees, settings, polling);
    let weight_bytes = weights(degrees);
    let bytes_per_block = block_bytes(model, degrees, settings);
    if bytes_per_block == 0 {
        let message = format!("{} NPUs leave less than a byte of KV per block on each", degrees.num_npus());
        faults.push(instance.place.fault(message));
        return None;
    }

    let needed = |degrees| weights(degrees).saturating_add(block_bytes(model, degrees, settings));
    let fits = |degrees| needed(degrees) <= requested_bytes;
    if weight_bytes as f64 > memory_bytes {
        let over = gib(weight_bytes as f64 - memory_bytes);
        let message = format!(
            "{} does not fit: its weights take {} of each NPU's {}, {over} too many",
            model.name,
            gib(weight_bytes as f64),
            gib(memory_bytes),
        );
        faults.push(memory.place.fault(message).hint(smallest_fit(model, degrees, fits)));
        return None;
    }
    if !fits(degrees) {
        let message = format!(
            "no room for KV: a utilisation of {} gives {}, the weights take {}, and a block of {} tokens {}",
            settings.memory_utilization,
            gib(requested_bytes as f64),
            gib(weight_bytes as f64),
            settings.block_size,
            gib(bytes_per_block as f64),
        );
        let hint = format!(
            "raise mem_util or --npu-memory-utilization, or split more: {}",
            smallest_fit(model, degrees, fits)
        );
        faults.push(memory.place.fault(message).hint(hint));
        return None;
    }

    let blocks = (requested_bytes - weight_bytes) / bytes_per_block;
    let (Ok(num_blocks), Ok(block_size)) = (u32::try_from(blocks), u32::try_from(settings.block_size)) else {
        let message = format!("{blocks} KV blocks of {} tokens are more than can be numbered", settings.block_size);
        faults.push(memory.place.fault(message).hint("use a smaller memory or larger blocks"));
        return None;
    };
    let (element_bytes, prefix_caching) = (settings.kv_element_bytes(), settings.prefix_caching);
    let kv = KvSpec { num_blocks, block_size, element_bytes, bytes_per_block, prefix_caching };
    Some(Capacity { weight_bytes, kv })
}

/// Bytes of weights on the NPU that holds most of them.
fn weights(held: Weights<'_>, degrees: Degrees, settings: &Settings, polling: Polling) -> u64 {
    let Degrees { tp, pp, ep } = degrees;
    let element_bytes = settings.dtype.bytes();
    let Weights { model, architecture, placement } = held;
    let all = model.weight_bytes_per_npu(u64::from(tp), u64::from(pp), u64::from(ep), element_bytes);
    if polling == Polling::Reference || is_all_on_npu(placement) {
        return all;
    }
    let sequence = &architecture.sequence;
    let feed_forward = if model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
    let bytes_here = |layer: Layer, block: Option<usize>| {
        let parallel = if layer == Layer::Moe { ep } else { tp };
        let is_here = placement.weights_of(layer, block) == Location::Npu;
        if is_here { model.sizes(layer, 1, 0, u64::from(parallel), element_bytes).weight } else { 0 }
    };
    let ends: u64 = sequence.prologue.iter().chain(&sequence.head).map(|&layer| bytes_here(layer, None)).sum();
    let block_layers = || sequence.pre_attn.iter().chain(&sequence.post_attn).chain(feed_forward);
    let block = |index: usize| block_layers().map(|&layer| bytes_here(layer, Some(index))).sum::<u64>();
    let blocks: Vec<u64> = (0..model.num_hidden_layers as usize).map(block).collect();
    let heaviest_stage = stages(&blocks, pp as usize).map(|stage| stage.iter().sum::<u64>()).max();
    // Where stages differ by a block, `all` counts the smaller number.
    all.min(ends + heaviest_stage.unwrap_or(0))
}

fn is_all_on_npu(placement: &Placement) -> bool {
    let layers = placement.layer_weights.iter().map(|(_, location)| location);
    let mut locations = [&placement.weights].into_iter().chain(&placement.block_weights).chain(layers);
    locations.all(|&location| location == Location::Npu)
}

/// The blocks of each pipeline stage: as many each, remainders to the stages before the last (vLLM's `get_pp_indices`).
fn stages<T>(blocks: &[T], num_stages: usize) -> impl Iterator<Item = &[T]> {
    let (least, remainder) = (blocks.len() / num_stages, blocks.len() % num_stages);
    let mut rest = blocks;
    (0..num_stages).map(move |stage| {
        let takes_one_more = stage + 1 < num_stages && stage + 1 + remainder >= num_stages;
        let (blocks, later) = rest.split_at(least + usize::from(takes_one_more));
        rest = later;
        blocks
    })
}

fn block_bytes(model: &Model, degrees: Degrees, settings: &Settings) -> u64 {
    let num_npus = u64::from(degrees.num_npus());
    model.kv_bytes_per_token(settings.kv_element_bytes(), num_npus).saturating_mul(settings.block_size)
}

/// The smallest tensor-parallel degree at which the model fits, with as many expert ranks on each NPU as now.
fn smallest_fit(model: &Model, degrees: Degrees, fits: impl Fn(Degrees) -> bool) -> String {
    /// As far as one looks.
    const TP_MOST: u32 = 1024;
    let with_experts = |tp: u32| {
        let ep = degrees.ep / degrees.tp.min(degrees.ep) * tp;
        let can_be = model.experts.is_some_and(|experts| experts.count.is_multiple_of(ep));
        Degrees { tp, ep: if can_be { ep } else { degrees.ep }, ..degrees }
    };
    let divides_heads = |&tp: &u32| model.num_attention_heads.is_multiple_of(u64::from(tp));
    match (degrees.tp + 1..=TP_MOST).filter(divides_heads).map(with_experts).find(|&split| fits(split)) {
        Some(Degrees { tp, ep, .. }) if model.is_moe() => format!("tp_size {tp} with ep_size {ep} fits"),
        Some(Degrees { tp, .. }) => format!("tp_size {tp} fits"),
        None => "no tp_size makes it fit".to_owned(),
    }
}

/// Bytes in GiB, for people; small ones in KiB.
fn gib(bytes: f64) -> String {
    match bytes / GIB as f64 {
        gib if gib >= 0.01 => format!("{gib:.2} GiB"),
        gib => format!("{:.1} KiB", gib * f64::from(1 << 20)),
    }
}
