//! What fits into the memory of an NPU: the weights, and blocks of KV in what is left.
//!
//! `blocks = floor((floor(mem_size * utilisation) - weights - overheads) / bytes per block)`, as vLLM's `GPUWorker` does
//! it. Overheads are those of [`crate::overheads`]; LLMServingSim knows none (behaviour contract, sections 5 and 8).
//! `num_gpu_blocks` says how many there are instead. Where the engine is vLLM's, its `BlockPool` sets one of them aside as
//! the null block, which holds no KV of any request.
//!
//! Weights placed elsewhere leave the room to KV. LLMServingSim keeps it for them all the same, and so does
//! `--polling reference`.

use diagnostics::Fault;
use documents::json::{Place, Placed};
use engine::{Engine, KvSpec, Placement, Polling};
use model::{Architecture, Layer, Model, WeightBytes};
use network::Location;
use units::GIB;

use crate::instances::{Instance, NUM_GPU_BLOCKS_LEAST};
use crate::overheads::{self, Overheads};
use crate::parallelism::Degrees;
use crate::report::Report;
use crate::settings::{Flags, Settings};

/// The memory of each NPU of one instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Bytes of weights.
    pub(crate) weights: WeightBytes,
    /// The KV cache.
    pub(crate) kv: KvSpec,
    /// What its size follows from.
    pub(crate) kv_basis: KvBasis,
}

/// What the number of KV blocks follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KvBasis {
    /// `num_gpu_blocks`.
    Given,
    /// A share of NPU memory, without weights.
    Share {
        /// The share.
        utilization: f64,
        /// What else was taken off.
        overheads: Option<Overheads>,
    },
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
    flags: &Flags,
    report: &mut Report,
) -> Option<Capacity> {
    note_unused(instance, flags.engine, report);
    let model = held.model;
    let memory = &instance.npu_memory.size_gib;
    let memory_bytes = memory.value * GIB as f64;
    let weights = |degrees| weights(held, degrees, settings, flags.polling);
    let (weights_held, bytes_per_block) = (weights(degrees), block_bytes(model, degrees, settings));
    let weight_bytes = weights_held.total();
    if bytes_per_block == 0 {
        let message = format!("{} NPUs leave less than a byte of KV per block on each", degrees.num_npus());
        report.push(instance.place.fault(message));
        return None;
    }

    let given = instance.num_gpu_blocks.as_ref();
    let null_blocks = u64::from(flags.engine != Engine::Reference);
    let (usable_bytes, blocks_least) = match given {
        Some(count) => (memory_bytes as u64, count.value),
        None => ((memory_bytes * settings.memory_utilization) as u64, 1 + null_blocks),
    };
    let overheads = |degrees| match given {
        Some(_) => None,
        None => overheads::of(&instance.npu_memory, model, degrees, settings, flags.engine),
    };
    let taken = |degrees| weights(degrees).total().saturating_add(overheads(degrees).map_or(0, Overheads::bytes));
    let needed = |degrees| {
        let kv_bytes = block_bytes(model, degrees, settings).saturating_mul(blocks_least);
        taken(degrees).saturating_add(kv_bytes)
    };
    let fits = |degrees| needed(degrees) <= usable_bytes;
    if weight_bytes as f64 > memory_bytes {
        let over = gib(weight_bytes as f64 - memory_bytes);
        let message = format!(
            "{} does not fit: its weights take {} of each NPU's {}, {over} too many",
            model.name,
            gib(weight_bytes as f64),
            gib(memory_bytes),
        );
        report.push(memory.place.fault(message).hint(smallest_fit(model, degrees, fits)));
        return None;
    }
    if !fits(degrees) {
        let split = smallest_fit(model, degrees, fits);
        let bytes = Bytes { usable: usable_bytes, weights: weight_bytes, block: bytes_per_block };
        report.push(match given {
            Some(count) => too_many_blocks(count, &bytes, &split),
            None => no_room(&memory.place, &bytes, overheads(degrees), (settings, blocks_least), &split),
        });
        return None;
    }

    let num_gpu_blocks = given.map_or_else(|| (usable_bytes - taken(degrees)) / bytes_per_block, |count| count.value);
    let blocks = num_gpu_blocks - null_blocks;
    let (Ok(num_blocks), Ok(block_size)) = (u32::try_from(blocks), u32::try_from(settings.block_size)) else {
        let message = format!("{blocks} KV blocks of {} tokens are more than can be numbered", settings.block_size);
        report.push(memory.place.fault(message).hint("use a smaller memory or larger blocks"));
        return None;
    };
    let (element_bytes, prefix_caching) = (settings.kv_element_bytes(), settings.prefix_caching);
    let kv = KvSpec { num_blocks, block_size, element_bytes, bytes_per_block, prefix_caching };
    let kv_basis = match given {
        Some(_) => KvBasis::Given,
        None => KvBasis::Share { utilization: settings.memory_utilization, overheads: overheads(degrees) },
    };
    Some(Capacity { weights: weights_held, kv, kv_basis })
}

/// Tells the keys of `npu_mem` that change nothing.
fn note_unused(instance: &Instance, engine: Engine, report: &mut Report) {
    let memory = &instance.npu_memory;
    let keys = [
        ("mem_util", memory.utilisation.is_some()),
        ("activation_peak", memory.activation_peak.is_some()),
        ("runtime_context", memory.runtime_context.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, is_there)| *is_there) {
        if instance.num_gpu_blocks.is_some() {
            report.note(format!("`{key}` has no effect beside `num_gpu_blocks`"));
        } else if engine == Engine::Reference && *key != "mem_util" {
            report.note(format!("`{key}` has no effect with --engine reference, which takes weights and KV alone"));
        }
    }
}

/// Bytes on each NPU.
struct Bytes {
    usable: u64,
    weights: u64,
    block: u64,
}

/// More blocks are given than the weights leave room for.
fn too_many_blocks(count: &Placed<u64>, bytes: &Bytes, split: &str) -> Fault {
    let left = bytes.usable - bytes.weights;
    let message = format!(
        "no room for {} blocks: at {} each they take {}, and the weights leave {} of each NPU's {}",
        count.value,
        gib(bytes.block as f64),
        gib(count.value as f64 * bytes.block as f64),
        gib(left as f64),
        gib(bytes.usable as f64),
    );
    let most = left / bytes.block;
    let fewer = if most >= NUM_GPU_BLOCKS_LEAST { format!("{most} fit, or ") } else { String::new() };
    count.place.fault(message).hint(format!("{fewer}split more: {split}"))
}

/// The utilisation leaves less than `blocks_least` blocks.
fn no_room(
    place: &Place,
    bytes: &Bytes,
    overheads: Option<Overheads>,
    (settings, blocks_least): (&Settings, u64),
    split: &str,
) -> Fault {
    let others = overheads.map_or_else(String::new, |overheads| {
        let [activations, context] = [overheads.activation_peak_bytes, overheads.runtime_context_bytes];
        format!("activations {}, the runtime context {}, ", gib(activations as f64), gib(context as f64))
    });
    let blocks = if blocks_least == 1 { "a block" } else { "a block and the null block" };
    let message = format!(
        "no room for KV: a utilisation of {} gives {}, the weights take {}, {others}and {blocks} of {} tokens {}",
        settings.memory_utilization,
        gib(bytes.usable as f64),
        gib(bytes.weights as f64),
        settings.block_size,
        gib(blocks_least as f64 * bytes.block as f64),
    );
    place.fault(message).hint(format!("raise mem_util or --npu-memory-utilization, or split more: {split}"))
}

/// Bytes of weights on the NPU that holds most of them.
fn weights(held: Weights<'_>, degrees: Degrees, settings: &Settings, polling: Polling) -> WeightBytes {
    let Degrees { tp, pp, ep } = degrees;
    let element_bytes = settings.dtype.bytes();
    let Weights { model, architecture, placement } = held;
    let all = model.weights_per_npu(u64::from(tp), u64::from(pp), u64::from(ep), element_bytes);
    if polling == Polling::Reference || is_all_on_npu(placement) {
        return all;
    }
    let sequence = &architecture.sequence;
    let feed_forward = if model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
    let add_here = |held: &mut WeightBytes, layer: Layer, block: Option<usize>| {
        let parallel = if layer == Layer::Moe { ep } else { tp };
        if placement.weights_of(layer, block) == Location::Npu {
            held.add(layer, model.sizes(layer, 1, 0, u64::from(parallel), element_bytes).weight);
        }
    };
    let mut here = WeightBytes::default();
    sequence.prologue.iter().chain(&sequence.head).for_each(|&layer| add_here(&mut here, layer, None));
    let block = |index: usize| {
        let mut held = WeightBytes::default();
        let layers = sequence.pre_attn.iter().chain(&sequence.post_attn).chain(feed_forward);
        layers.for_each(|&layer| add_here(&mut held, layer, Some(index)));
        held
    };
    let blocks: Vec<WeightBytes> = (0..model.num_hidden_layers as usize).map(block).collect();
    let sum = |stage: &[WeightBytes]| {
        let mut sum = WeightBytes::default();
        stage.iter().for_each(|&block| sum += block);
        sum
    };
    here += stages(&blocks, pp as usize).map(sum).max_by_key(WeightBytes::total).unwrap_or_default();
    // Where stages differ by a block, `all` counts the smaller number.
    if here.total() < all.total() { here } else { all }
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
