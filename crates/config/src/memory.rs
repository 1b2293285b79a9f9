//! What fits into the memory of an NPU: the weights, and blocks of KV in what is left.
//!
//! `blocks = floor((floor(mem_size * utilisation) - weights) / bytes per block)`, as vLLM's `GPUWorker` does it but
//! without the peak of activations, which is not modelled (behaviour contract, sections 5 and 8). So the capacity is an
//! upper bound on that of vLLM at the same utilisation.

use diagnostics::Faults;
use engine::KvSpec;
use model::Model;
use units::GIB;

use crate::cluster::Instance;
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

/// Divides up the memory of `instance`; `None` when the model does not fit.
pub(crate) fn divide(
    instance: &Instance,
    model: &Model,
    degrees: Degrees,
    settings: &Settings,
    faults: &mut Faults,
) -> Option<Capacity> {
    let memory = &instance.npu_memory.size_gib;
    let memory_bytes = memory.value * GIB as f64;
    let requested_bytes = (memory_bytes * settings.memory_utilization) as u64;
    let weight_bytes = weights(model, degrees, settings);
    let bytes_per_block = block_bytes(model, degrees, settings);
    if bytes_per_block == 0 {
        let message = format!("tp_size {} leaves less than a byte of KV per block on each NPU", degrees.tp);
        faults.push(instance.place.fault(message));
        return None;
    }

    let needed = |degrees| weights(model, degrees, settings).saturating_add(block_bytes(model, degrees, settings));
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
    let kv = KvSpec { num_blocks, block_size, bytes_per_block, prefix_caching: settings.prefix_caching };
    Some(Capacity { weight_bytes, kv })
}

fn weights(model: &Model, Degrees { tp, ep }: Degrees, settings: &Settings) -> u64 {
    model.weight_bytes_per_npu(u64::from(tp), 1, u64::from(ep), settings.dtype.bytes())
}

fn block_bytes(model: &Model, degrees: Degrees, settings: &Settings) -> u64 {
    let element_bytes = settings.kv_cache_dtype.bytes(settings.dtype);
    model.kv_bytes_per_token(element_bytes, u64::from(degrees.tp)).saturating_mul(settings.block_size)
}

/// The smallest tensor-parallel degree at which the model fits, with as many expert ranks on each NPU as now.
fn smallest_fit(model: &Model, degrees: Degrees, fits: impl Fn(Degrees) -> bool) -> String {
    /// As far as one looks.
    const TP_MOST: u32 = 1024;
    let with_experts = |tp: u32| {
        let ep = degrees.ep / degrees.tp.min(degrees.ep) * tp;
        let can_be = model.experts.is_some_and(|experts| experts.count.is_multiple_of(ep));
        Degrees { tp, ep: if can_be { ep } else { degrees.ep } }
    };
    let divides_heads = |&tp: &u32| model.num_attention_heads.is_multiple_of(u64::from(tp));
    match (degrees.tp + 1..=TP_MOST).filter(divides_heads).map(with_experts).find(|&split| fits(split)) {
        Some(Degrees { tp, ep }) if model.is_moe() => format!("tp_size {tp} with ep_size {ep} fits"),
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
