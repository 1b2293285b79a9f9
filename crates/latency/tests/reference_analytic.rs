//! The analytic model with the constants that ship, beside the measurements they were fitted to: op by op, and over
//! whole steps as serving makes them.

use std::path::Path;

use latency::compare::{Comparison, compare};
use latency::fit::{Measured, fit};
use latency::{AttentionShape, Bundle, GpuConstants, Op, OpLatency, Sample, read_samples};
use model::{Architecture, Dtype, Experts, KvCacheDtype, Layer, Model, Table};

/// A median error over many ops or steps that is good enough.
const MEDIAN_MAX: f64 = 0.10;

struct Gpu {
    hardware: &'static str,
    models: &'static [&'static str],
    tp_degrees: &'static [u64],
}

const GPUS: &[Gpu] = &[
    Gpu {
        hardware: "RTXPRO6000",
        models: &["Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B"],
        tp_degrees: &[1, 2],
    },
    Gpu { hardware: "RTX4090", models: &["meta-llama/Llama-3.1-8B"], tp_degrees: &[1] },
];

fn read_model(dir: &Path, name: &str) -> Model {
    let text = std::fs::read_to_string(dir.join("models").join(format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let find = |key: &str| json[key].as_u64();
    let number = |key: &str| find(key).unwrap_or_else(|| panic!("{name} has no {key}"));
    let experts = find("num_experts").map(|count| Experts {
        count: count.try_into().unwrap(),
        per_token: number("num_experts_per_tok").try_into().unwrap(),
        intermediate_size: number("moe_intermediate_size"),
    });
    Model {
        name: name.to_owned(),
        model_type: json["model_type"].as_str().unwrap().to_owned(),
        hidden_size: number("hidden_size"),
        num_hidden_layers: number("num_hidden_layers"),
        num_attention_heads: number("num_attention_heads"),
        num_key_value_heads: number("num_key_value_heads"),
        head_dim: find("head_dim").unwrap_or_else(|| number("hidden_size") / number("num_attention_heads")),
        intermediate_size: number("intermediate_size"),
        vocab_size: number("vocab_size"),
        max_position_embeddings: number("max_position_embeddings"),
        experts,
        torch_dtype: Some(Dtype::Bfloat16),
    }
}

impl Gpu {
    fn models(&self, dir: &Path) -> Vec<(Model, Architecture)> {
        let models = self.models.iter().map(|name| read_model(dir, name));
        models.map(|model| (model.clone(), Architecture::built_in(&model.model_type).unwrap())).collect()
    }

    fn bundle(&self, dir: &Path, model: &Model) -> std::path::PathBuf {
        dir.join("profiles").join(self.hardware).join(&model.name).join("bf16")
    }

    fn measured<'a>(&self, dir: &Path, models: &'a [(Model, Architecture)]) -> Vec<Measured<'a>> {
        let mut all = Vec::new();
        for (model, architecture) in models {
            for &tp in self.tp_degrees {
                let samples = read_samples(&self.bundle(dir, model), tp).unwrap();
                let (dtype, kv_cache_dtype) = (Dtype::Bfloat16, KvCacheDtype::Auto);
                all.push(Measured { model, architecture, tp, dtype, kv_cache_dtype, samples });
            }
        }
        all
    }

    fn shipped(&self) -> GpuConstants {
        GpuConstants::shipped(self.hardware).expect("shipped constants")
    }
}

/// The part of a step that an op belongs to.
fn class(op: &Op) -> &'static str {
    match op {
        Op::Dense { .. } => "dense",
        Op::PerSequence { .. } => "per sequence",
        Op::Attention(_) => "attention",
        Op::Experts { .. } => "experts",
    }
}

/// |model / measured − 1| at the `q`-th of the sorted errors.
fn quantile(errors: &mut [f64], q: f64) -> f64 {
    errors.sort_by(f64::total_cmp);
    errors[(errors.len() as f64 * q) as usize]
}

#[test]
fn ops() {
    let Some(dir) = testkit::reference_dir() else { return };
    for gpu in GPUS {
        let models = gpu.models(&dir);
        let mut errors = Vec::new();
        for measured in gpu.measured(&dir, &models) {
            let analytic = measured.analytic(gpu.shipped());
            let comparison = compare(&measured.samples, &analytic);
            println!("{} {} tp{}\n{comparison}", gpu.hardware, measured.model.name, measured.tp);
            let Comparison { median, median_of_layers, .. } = comparison;
            assert!(median < MEDIAN_MAX && median_of_layers < MEDIAN_MAX, "{median} {median_of_layers}");
            errors.extend(measured.samples.iter().map(|Sample { op, time }| {
                (class(op), (op.time(&analytic).ns() as f64 / time.ns() as f64 - 1.0).abs())
            }));
        }
        for class in ["dense", "per sequence", "attention", "experts"] {
            let mut of_class: Vec<f64> = errors.iter().filter(|error| error.0 == class).map(|error| error.1).collect();
            if !of_class.is_empty() {
                let [median, p90] = [0.5, 0.9].map(|q| quantile(&mut of_class, q));
                println!("{} {class}: median {:.1}%, p90 {:.1}%", gpu.hardware, median * 100.0, p90 * 100.0);
                assert!(median < MEDIAN_MAX, "{} {class}: {median}", gpu.hardware);
            }
        }
    }
}

/// One step: its attention, and whether decodes differ in length.
fn steps() -> Vec<AttentionShape> {
    let mut steps = Vec::new();
    for num_decodes in [1, 8, 32, 64, 128, 250] {
        for kv_decode_mean in [200, 800, 2000] {
            for prefill_tokens in [0, 512, 1024, 2048] {
                // Sweeps end at 128 decodes beside a prefill; beyond, the tables repeat what they have there.
                if prefill_tokens > 0 && num_decodes > 128 {
                    continue;
                }
                let even = AttentionShape {
                    prefill_tokens,
                    prefill_history: 0,
                    num_decodes,
                    kv_decode_mean,
                    kv_decode_max: kv_decode_mean,
                    kv_decode_min: kv_decode_mean,
                };
                steps.push(even);
                // Tables correct for skew by a share of the time at the longest decode, which means little once that
                // many KV tokens outgrow the cache.
                if num_decodes > 1 && kv_decode_mean < 2000 {
                    let (longest, shortest) = (kv_decode_mean * 2, kv_decode_mean / 4);
                    steps.push(AttentionShape { kv_decode_max: longest, kv_decode_min: shortest, ..even });
                }
                if prefill_tokens > 0 {
                    steps.push(AttentionShape { prefill_history: 1024, ..even });
                }
            }
        }
    }
    steps
}

/// The time of all layers of one step in ns, with routing that reaches as many experts as it can.
fn step_ns(measured: &Measured<'_>, shape: &AttentionShape, latency: &dyn OpLatency) -> f64 {
    let tokens = shape.prefill_tokens + shape.num_decodes;
    let sequences = shape.num_decodes + u64::from(shape.prefill_tokens > 0);
    let layer_ns = |&layer: &Layer| {
        let time = match measured.architecture.table(layer).unwrap() {
            Table::Dense => latency.dense(layer, tokens),
            Table::PerSequence => latency.per_sequence(layer, sequences),
            Table::Attention => latency.attention(shape),
            Table::Moe => {
                let experts = measured.model.experts.unwrap();
                let reached = (tokens * u64::from(experts.per_token)).min(experts.count.into());
                latency.experts(tokens, reached)
            }
        };
        time.ns() as f64
    };
    let sequence = &measured.architecture.sequence;
    let feed_forward = if measured.model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
    let block: f64 = [&sequence.pre_attn, &sequence.post_attn, feed_forward].into_iter().flatten().map(layer_ns).sum();
    let rest: f64 = [&sequence.prologue, &sequence.head].into_iter().flatten().map(layer_ns).sum();
    block * measured.model.num_hidden_layers as f64 + rest
}

#[test]
fn whole_steps() {
    let Some(dir) = testkit::reference_dir() else { return };
    for gpu in GPUS {
        let models = gpu.models(&dir);
        for measured in gpu.measured(&dir, &models) {
            let mut bundle = Bundle::load(&gpu.bundle(&dir, measured.model)).unwrap();
            let tables = bundle.at(measured.architecture, measured.tp).unwrap();
            let analytic = measured.analytic(gpu.shipped());
            let name = format!("{} {} tp{}", gpu.hardware, measured.model.name, measured.tp);
            for with_prefill in [false, true] {
                let steps = steps().into_iter().filter(|step| (step.prefill_tokens > 0) == with_prefill);
                let error = |step: &AttentionShape| {
                    step_ns(&measured, step, &analytic) / step_ns(&measured, step, &tables) - 1.0
                };
                let errors: Vec<(f64, AttentionShape)> = steps.map(|step| (error(&step), step)).collect();
                let (worst, at) = errors.iter().max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())).unwrap();
                // A profile runs one block again and again, so what little one token needs stays in the L2 cache, which
                // it would not in a model of many blocks: a lone sequence only counts towards the worst.
                let shared = errors.iter().filter(|error| error.1.num_decodes > 1);
                let mut sizes: Vec<f64> = shared.map(|error| error.0.abs()).collect();
                let [median, p90] = [0.5, 0.9].map(|q| quantile(&mut sizes, q));
                let percents = [median, p90, *worst].map(|share| share * 100.0);
                let [median_percent, p90_percent, worst_percent] = percents;
                println!(
                    "{name:<48} {}: median {median_percent:4.1}% p90 {p90_percent:4.1}% worst {worst_percent:+5.1}% at \
                     prefill {} after {}, {} decodes of {} to {}",
                    if with_prefill { "with prefill" } else { "only decodes" },
                    at.prefill_tokens,
                    at.prefill_history,
                    at.num_decodes,
                    at.kv_decode_mean,
                    at.kv_decode_max,
                );
                assert!(median < 0.05 && p90 < 0.10 && worst.abs() < 0.25, "{name}: {median} {p90} {worst}");
            }
        }
    }
}

#[test]
fn the_shipped_constants_are_what_a_fit_finds() {
    let Some(dir) = testkit::reference_dir() else { return };
    let gpu = &GPUS[1];
    let models = gpu.models(&dir);
    let measured = gpu.measured(&dir, &models);
    let num_sms = GpuConstants::known_sms(gpu.hardware).unwrap();
    let found = fit(gpu.hardware, num_sms, &measured);
    let median = |constants| compare(&measured[0].samples, &measured[0].analytic(constants)).median;
    let (found, shipped) = (median(found), median(gpu.shipped()));
    println!("median error {found} of a new fit, {shipped} of what ships");
    // Not the constants themselves: other machines round powers otherwise, and a search follows every bit.
    assert!((found - shipped).abs() < 0.005, "{found} is not {shipped}");
}
