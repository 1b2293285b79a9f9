//! What vLLM takes of an NPU's memory beside weights and KV.
//!
//! `GPUWorker.determine_available_memory` runs the model once with the longest step and takes off what it sees: the peak
//! of PyTorch's allocations, and what was allocated outside of PyTorch. CUDA graphs are captured later and are not taken
//! off (vLLM 0.19).
//!
//! With `T` tokens of a step (`max_num_batched_tokens`), `R = min(max_num_seqs, T)` rows to sample, hidden size `H`,
//! vocabulary `V`, `q`, `k`, `v` and feed-forward widths divided by `tp`, and elements of `b` bytes, the peak is
//!
//! ```text
//! experts + max(layers, sampling)
//! layers   = T b (4 H + max(3 intermediate_size, q + (q + k + v)))
//! sampling = T b H + R V (b + 3 · 4) + 128 · 4 V
//! experts  = T max(1, ep / tp) per_token b (max(I, H) + max(2 I, H))
//! ```
//!
//! - `layers`: the residual, what goes into and comes out of a norm, and what comes back, beside gate, up and their
//!   product, or queries, keys, values and what attention makes of them (`_dummy_run`).
//! - `sampling`: hidden states that are still held, and logits: gathered on every rank, whatever `tp`, in `b` bytes and
//!   in float32, their probabilities and the noise they are divided by (`_dummy_sampler_run`, `Sampler.forward`,
//!   `random_sample`), and a row for each of the GPU's processors, about 128, in which `apply_top_k_top_p_triton` looks
//!   for the threshold.
//! - `experts`, of width `I`: the two workspaces of `TritonExperts.workspace_shapes`, which are kept. Tokens are those of
//!   all members of a data-parallel group.
//!
//! Peaks that vLLM 0.19.0 told on H100s are higher by 0.01 to 0.07 GiB, probably PyTorch's workspaces for cuBLAS; they
//! are counted with the rest here. That rest was 0.25 GiB on one H100 and 2.1 GiB on each of several, where NCCL and the
//! custom all-reduce have buffers; on an RTX 4090 the number of blocks leaves 0.65 GiB for it.

use engine::Engine;
use model::Model;
use units::GIB;

use crate::cluster::{Memory, Overhead};
use crate::parallelism::Degrees;
use crate::settings::Settings;

/// Bytes of float32.
const FLOAT32: u64 = 4;
/// Copies of the logits in float32: logits, probabilities, noise.
const LOGIT_COPIES: u64 = 3;
/// Rows in which the GPU's processors look for the top-k and top-p threshold.
const THRESHOLD_ROWS: u64 = 128;
/// Runtime context of an NPU by itself.
const CONTEXT_ALONE_GIB: f64 = 0.5;
/// Runtime context of an NPU that has collectives with others.
const CONTEXT_AMONG_OTHERS_GIB: f64 = 2.1;

/// Memory beside weights and KV, in bytes on each NPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overheads {
    /// The most that activations take at once.
    pub activation_peak_bytes: u64,
    /// CUDA, cuBLAS and NCCL.
    pub runtime_context_bytes: u64,
}

impl Overheads {
    /// Both.
    pub(crate) fn bytes(self) -> u64 {
        self.activation_peak_bytes.saturating_add(self.runtime_context_bytes)
    }
}

/// What is taken off `memory`; `None` where nothing is.
///
/// LLMServingSim takes nothing off. A file that has `mem_util` and neither of the two keys means a share for weights and
/// KV, as its files do: theirs was chosen to meet the capacity that vLLM had.
pub(crate) fn of(
    memory: &Memory,
    model: &Model,
    degrees: Degrees,
    settings: &Settings,
    engine: Engine,
) -> Option<Overheads> {
    let is_asked_for = memory.activation_peak.is_some() || memory.runtime_context.is_some();
    if engine == Engine::Reference || (memory.utilisation.is_some() && !is_asked_for) {
        return None;
    }
    let or_estimate = |overhead: Option<Overhead>, estimate: u64| match overhead {
        Some(Overhead::Gib(gib)) => bytes(gib),
        Some(Overhead::Estimate) | None => estimate,
    };
    let context = if degrees.num_npus() > 1 || degrees.ep > 1 { CONTEXT_AMONG_OTHERS_GIB } else { CONTEXT_ALONE_GIB };
    Some(Overheads {
        activation_peak_bytes: or_estimate(memory.activation_peak, activation_peak(model, degrees, settings)),
        runtime_context_bytes: or_estimate(memory.runtime_context, bytes(context)),
    })
}

fn bytes(gib: f64) -> u64 {
    (gib * GIB as f64) as u64
}

/// The most that activations take at once, in bytes.
fn activation_peak(model: &Model, degrees: Degrees, settings: &Settings) -> u64 {
    let (tp, ep) = (u64::from(degrees.tp), u64::from(degrees.ep));
    let (element, hidden) = (settings.dtype.bytes(), model.hidden_size);
    let tokens = settings.scheduler.max_num_batched_tokens;
    let rows = settings.scheduler.max_num_seqs.map_or(tokens, |most| most.min(tokens));

    let attention = 2 * (model.q_width() + model.kv_width()) / tp;
    let (widest, expert_bytes) = match model.experts {
        Some(experts) => {
            let (width, per_token) = (experts.intermediate_size, u64::from(experts.per_token));
            let token_bytes = per_token * (width.max(hidden) + (2 * width).max(hidden)) * element;
            (attention, tokens.saturating_mul((ep / tp).max(1)).saturating_mul(token_bytes))
        }
        None => (attention.max(3 * model.intermediate_size / tp), 0),
    };
    let layers = tokens.saturating_mul(element * (4 * hidden + widest));
    let logits = rows.saturating_mul(model.vocab_size * (element + LOGIT_COPIES * FLOAT32));
    let thresholds = THRESHOLD_ROWS * FLOAT32 * model.vocab_size;
    let sampling = tokens.saturating_mul(element * hidden).saturating_add(logits).saturating_add(thresholds);
    expert_bytes.saturating_add(layers.max(sampling))
}
