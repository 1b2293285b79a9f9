//! The analytic model by itself: against a roofline worked by hand, its shape, its constants' file, and a fit to its
//! own times.

use latency::fit::{Measured, fit};
use latency::{Analytic, AttentionShape, GpuConstants, Op, OpLatency, Sample};
use model::{Architecture, Dtype, Experts, KvCacheDtype, Layer, Model};

fn model(model_type: &str, experts: Option<Experts>) -> Model {
    Model {
        name: "test".to_owned(),
        model_type: model_type.to_owned(),
        hidden_size: 4096,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: 8,
        head_dim: 128,
        intermediate_size: 14_336,
        vocab_size: 128_256,
        max_position_embeddings: 131_072,
        experts,
        torch_dtype: Some(Dtype::Bfloat16),
    }
}

fn analytic(model: &Model, tp: u64, constants: GpuConstants) -> Analytic {
    let architecture = Architecture::built_in(&model.model_type).unwrap();
    Analytic::new(model, &architecture, tp, Dtype::Bfloat16, KvCacheDtype::Auto, constants)
}

fn rtx4090() -> GpuConstants {
    GpuConstants::shipped("RTX4090").unwrap()
}

fn moe_model() -> Model {
    model("qwen3_moe", Some(Experts { count: 128, per_token: 8, intermediate_size: 768 }))
}

/// A GPU whose parts overlap perfectly and start at once, so that times can be worked out by hand.
fn ideal() -> GpuConstants {
    let mut constants = rtx4090();
    constants.num_sms = 100;
    constants.gemm.launch_ns = 1e-9;
    constants.gemm.bandwidth_gbps = 1000.0;
    constants.gemm.compute_tflops = 100.0;
    constants.gemm.small_tile_share = 1e-3;
    constants.gemm.stream_share = 1e-3;
    constants.gemm.activation_reads = 1e-9;
    constants.gemm.overlap = 1e3;
    constants.attention.launch_ns = 1000.0;
    constants.attention.regroup_ns = 500.0;
    constants.attention.combine_ns = 250.0;
    constants.attention.tile_ns = 100.0;
    constants.attention.kv_block_ns = 10.0;
    constants.attention.decode_kv_block_ns = 10.0;
    constants.attention.empty_tile_ns = 1.0;
    constants.attention.bandwidth_gbps = 100_000.0;
    constants.attention.tail_share = 1.0;
    constants.attention.decode_overlap = 1e3;
    constants.attention.prefill_overlap = 1e3;
    constants
}

fn decodes(num_decodes: u64, kv: u64) -> AttentionShape {
    AttentionShape { num_decodes, kv_decode_mean: kv, kv_decode_max: kv, kv_decode_min: kv, ..Default::default() }
}

#[test]
fn products_by_hand() {
    let model = model("llama", None);
    let check = |layer, tp, tokens, expected| {
        assert_eq!(analytic(&model, tp, ideal()).dense(layer, tokens).ns(), expected, "{layer} tp{tp} of {tokens}");
    };
    // Few tokens: 4096 × 28672 weights of 2 bytes at 10^12 bytes/s. On 224 tiles in 3 waves of 100 SMs, arithmetic
    // takes 3 · 2 · 128 · 128 · 4096 / 10^12 s = 403 µs, and is the longer one.
    check(Layer::GateUpProj, 1, 1, 402_653);
    check(Layer::GateUpProj, 1, 128, 402_653);
    // One token more is another row of tiles: 448 of them, 5 waves.
    check(Layer::GateUpProj, 1, 129, 671_088);
    // Half of it on each of two ranks: 112 tiles, 2 waves.
    check(Layer::GateUpProj, 2, 1, 268_435);
    // 32 tiles leave most SMs idle, and take as long as a wave of them: 2 · 128 · 128 · 4096 / 10^12.
    check(Layer::OProj, 1, 1, 134_217);
}

#[test]
fn attention_by_hand() {
    let model = model("llama", None);
    let check = |shape: AttentionShape, expected| {
        assert_eq!(analytic(&model, 1, ideal()).attention(&shape).ns(), expected, "{shape:?}");
    };
    check(decodes(1, 16), 1110); // one tile on one KV block, nothing to regroup
    check(decodes(2, 16), 1610);
    check(decodes(64, 16), 1500 + 6 * 110); // 512 tiles on 100 SMs
    check(decodes(64, 1280), 1500 + 3355); // 64 · 1280 · 4096 bytes at 10^14 bytes/s, longer than 6 · 210
    let prefill = AttentionShape { prefill_tokens: 64, ..Default::default() };
    check(prefill, 1110);
    check(AttentionShape { prefill_history: 1216, ..prefill }, 1000 + 100 + 110); // 1 + (1216 + 64) / 128 KV blocks
    // Three rows of 32 blocks, on 1.5 KV blocks in the mean, and 32 decodes, on one: (96 · 115 + 32 · 110) / 100 in all,
    // more than whole waves of either kind. Each decode has two empty blocks beside it.
    check(AttentionShape { prefill_tokens: 192, ..decodes(1, 16) }, 1000 + 145 + 2 * 32);
}

#[test]
fn layers_of_the_architecture_are_covered() {
    let dense = analytic(&model("llama", None), 1, rtx4090());
    for &layer in Layer::ALL {
        let expected = Architecture::built_in("llama").unwrap().table(layer).is_some();
        assert_eq!(dense.covers(layer), expected, "{layer}");
    }
    assert!(analytic(&moe_model(), 1, rtx4090()).covers(Layer::Moe));
    assert!(!analytic(&model("qwen3_moe", None), 1, rtx4090()).covers(Layer::Moe), "without experts");
    assert_eq!(analytic(&moe_model(), 1, rtx4090()).experts(0, 0).ns(), 0);
}

#[test]
fn replicated_layers_take_the_same_at_every_degree() {
    let model = moe_model();
    let (one, four) = (analytic(&model, 1, rtx4090()), analytic(&model, 4, rtx4090()));
    for layer in [Layer::Layernorm, Layer::QkNorm, Layer::FinalLayernorm] {
        assert_eq!(one.dense(layer, 2048), four.dense(layer, 2048), "{layer}");
    }
    assert!(four.dense(Layer::QkvProj, 2048) < one.dense(Layer::QkvProj, 2048));
    assert!(four.attention(&decodes(64, 2000)) < one.attention(&decodes(64, 2000)));
}

/// Times never fall from one to the next.
fn check_rising(what: &str, mut time: impl FnMut(u64) -> u64) {
    let mut last = 0;
    for x in (0..64).chain((64..5000).step_by(7)).chain((13..63).map(|power| 1 << power)).chain([u64::MAX]) {
        let now = time(x);
        assert!(now >= last && now >= 1, "{what}: {now} ns at {x} after {last} ns");
        last = now;
    }
}

#[test]
fn more_work_takes_no_less() {
    for constants in GpuConstants::all_shipped() {
        let latency = analytic(&moe_model(), 1, constants);
        for layer in [Layer::Embedding, Layer::Layernorm, Layer::QkvProj, Layer::QkNorm, Layer::RotaryEmb, Layer::OProj]
        {
            check_rising(layer.name(), |tokens| latency.dense(layer, tokens).ns());
        }
        for layer in [Layer::LmHead, Layer::Sampler] {
            check_rising(layer.name(), |sequences| latency.per_sequence(layer, sequences).ns());
        }
        check_rising("tokens of experts", |tokens| latency.experts(tokens.max(1), 64).ns());
        check_rising("active experts", |active| latency.experts(128, active).ns());
        for num_decodes in [0, 1, 8, 100] {
            let shape = decodes(num_decodes, 700);
            let prefill = |prefill_tokens, prefill_history| AttentionShape { prefill_tokens, prefill_history, ..shape };
            check_rising("prefill", |tokens| latency.attention(&prefill(tokens.max(1), 300)).ns());
            check_rising("history", |history| latency.attention(&prefill(100, history)).ns());
        }
        for prefill_tokens in [0, 1, 2048] {
            let shape = |num_decodes, kv| AttentionShape { prefill_tokens, ..decodes(num_decodes, kv) };
            check_rising("KV of one decode", |kv| latency.attention(&shape(1, kv)).ns());
            check_rising("KV of many decodes", |kv| latency.attention(&shape(100, kv)).ns());
        }
        let uneven = |longest| AttentionShape { prefill_tokens: 64, kv_decode_max: longest, ..decodes(8, 700) };
        check_rising("longest decode", |longest| latency.attention(&uneven(longest)).ns());
    }
}

#[test]
fn constants_survive_their_file() {
    for constants in GpuConstants::all_shipped() {
        assert_eq!(GpuConstants::parse("file", &constants.to_string()), Ok(constants.clone()));
        assert_eq!(GpuConstants::known_sms(&constants.hardware), Some(constants.num_sms));
    }
    assert_eq!(GpuConstants::shipped("abacus"), None);
}

#[test]
fn faulty_constants() {
    let text = rtx4090().to_string();
    let check = |from: &str, to: &str, expected: &str| {
        let faulty = text.replacen(from, to, 1);
        assert_ne!(faulty, text, "{from} is in the file");
        let faults = GpuConstants::parse("gpu.json", &faulty).unwrap_err().to_string();
        assert!(faults.contains(expected), "{faults}");
    };
    check("\"num_sms\": 128", "\"num_sms\": 0", "gpu.json at $.num_sms: a GPU has at least one");
    check("\"launch_ns\": ", "\"launch_ns\": -", "gpu.json at $.gemm.launch_ns: -");
    check("\"small_tile_share\": 0", "\"small_tile_share\": 1", "$.gemm.small_tile_share: 1.");
    check("\"overlap\"", "\"overlapp\"", "gpu.json:11:14: unknown field `overlapp`");
    check("{", "", "gpu.json:2:");
}

#[test]
fn a_fit_finds_the_constants_that_made_the_times() {
    let mut truth = rtx4090();
    truth.gemm.bandwidth_gbps = 2000.0;
    truth.gemm.compute_tflops = 300.0;
    truth.elementwise.launch_ns = 3000.0;
    truth.attention.bandwidth_gbps = 1800.0;
    truth.attention.kv_block_ns = 2500.0;
    truth.experts.compute_share = 0.4;

    let (model, architecture) = (moe_model(), Architecture::built_in("qwen3_moe").unwrap());
    let latency = analytic(&model, 1, truth.clone());
    let samples: Vec<Sample> = ops().into_iter().map(|op| Sample { op, time: op.time(&latency) }).collect();
    let measured = Measured {
        model: &model,
        architecture: &architecture,
        tp: 1,
        dtype: Dtype::Bfloat16,
        kv_cache_dtype: KvCacheDtype::Auto,
        samples,
    };
    let found = fit("test", truth.num_sms, std::slice::from_ref(&measured));
    let check = |what: &str, found: f64, truth: f64| {
        let error = found / truth - 1.0;
        println!("{what}: {found} for {truth}, {:+.1}%", error * 100.0);
        assert!(error.abs() < 0.1, "{what}: {found} for {truth}");
    };
    check("weights' bandwidth", found.gemm.bandwidth_gbps, truth.gemm.bandwidth_gbps);
    check("matrix rate", found.gemm.compute_tflops, truth.gemm.compute_tflops);
    check("launch", found.elementwise.launch_ns, truth.elementwise.launch_ns);
    check("KV bandwidth", found.attention.bandwidth_gbps, truth.attention.bandwidth_gbps);
    check("KV block", found.attention.kv_block_ns, truth.attention.kv_block_ns);
    check("rate of experts", found.experts.compute_share, truth.experts.compute_share);
    let comparison = latency::compare::compare(&measured.samples, &measured.analytic(found));
    println!("{comparison}");
    assert!(comparison.median < 0.02, "{comparison}");
    assert_eq!(comparison.count, measured.samples.len());
}

/// A sweep like a profiler's, thinned.
fn ops() -> Vec<Op> {
    let mut ops = Vec::new();
    let powers = |from: u32, to: u32| (from..=to).map(|power| 1u64 << power);
    for tokens in powers(0, 11).flat_map(|tokens| [tokens, tokens + tokens / 2]) {
        for layer in [Layer::Embedding, Layer::Layernorm, Layer::QkvProj, Layer::QkNorm, Layer::RotaryEmb, Layer::OProj]
        {
            ops.push(Op::Dense { layer, tokens });
        }
    }
    for sequences in powers(0, 8) {
        ops.extend([Layer::LmHead, Layer::Sampler].map(|layer| Op::PerSequence { layer, sequences }));
    }
    for active_experts in powers(3, 7) {
        ops.extend(powers(0, 11).map(|tokens| Op::Experts { tokens, active_experts }));
    }
    for kv in powers(4, 12) {
        for num_decodes in powers(0, 8) {
            ops.push(Op::Attention(decodes(num_decodes, kv)));
            for prefill_tokens in [16, 256, 2048] {
                ops.push(Op::Attention(AttentionShape { prefill_tokens, ..decodes(num_decodes, kv) }));
            }
        }
        for prefill_tokens in powers(4, 11) {
            let prefill = AttentionShape { prefill_tokens, prefill_history: kv, ..Default::default() };
            ops.push(Op::Attention(prefill));
        }
    }
    ops
}
