//! How many KV blocks an NPU has: given, by LLMServingSim's arithmetic, and by vLLM's.

mod common;

use common::{LINKS, LLAMA, cluster_of, instance};
use config::{Inputs, InstanceSummary, KvBasis, Overheads, Source, load};
use engine::{Engine, Vllm};

/// What has a null block, and overheads.
const VLLM: Engine = Engine::Vllm(Vllm::PLAIN);

const QWEN: &str = "Qwen/Qwen3-32B";
const QWEN_MOE: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";
const LLAMA_70B: &str = "meta-llama/Llama-3.1-70B";
const GIB: f64 = (1u64 << 30) as f64;

/// `copies` instances of `model` with `memory` in GiB and further keys there and beside it.
fn inputs(model: &str, copies: usize, (memory, memory_keys): (f64, &str), keys: &str, engine: Engine) -> Inputs {
    let own = format!(r#""mem_size": {memory}{memory_keys}"#);
    let instance = instance(model, keys).replace(r#""mem_size": 96"#, &own);
    let mut inputs = cluster_of(&[vec![instance; copies]], LINKS);
    inputs.flags.engine = engine;
    inputs
}

#[track_caller]
fn summary(inputs: &Inputs) -> InstanceSummary {
    common::loaded(inputs).instances[0].clone()
}

fn overheads(summary: &InstanceSummary) -> Overheads {
    match summary.kv_basis {
        KvBasis::Share { overheads: Some(overheads), .. } => overheads,
        other => panic!("{other:?}"),
    }
}

/// Whatever the number comes from, vLLM's engines have one block less for requests.
#[test]
fn the_null_block_is_vllms() {
    let mut compared = 0;
    for model in [LLAMA, QWEN, QWEN_MOE] {
        for size in [80.0, 96.0, 141.0] {
            for (memory_keys, keys) in [
                ("", r#", "num_gpu_blocks": 2"#),
                ("", r#", "num_gpu_blocks": 2588"#),
                (r#", "mem_util": 0.9"#, ""),
                (r#", "mem_util": 1, "activation_peak": 0, "runtime_context": 0"#, ""),
                (r#", "mem_util": 0.95"#, r#", "block_size": 1"#),
            ] {
                let [reference, synchronous, asynchronous] = [Engine::Reference, VLLM, Engine::Vllm(Vllm::default())]
                    .map(|engine| {
                        let inputs = inputs(model, 1, (size, memory_keys), keys, engine);
                        let loaded = common::loaded(&inputs);
                        let kv = loaded.deployment.instances[0].kv;
                        let summary = &loaded.instances[0];
                        assert_eq!(u64::from(kv.num_blocks), summary.kv_blocks);
                        assert_eq!(summary.kv_tokens, summary.kv_blocks * u64::from(kv.block_size));
                        assert_eq!(summary.kv_bytes, summary.kv_blocks * kv.bytes_per_block);
                        kv.num_blocks
                    });
                assert_eq!([synchronous + 1, asynchronous + 1], [reference; 2], "{model} {size} {memory_keys} {keys}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 45);
}

#[test]
fn given_blocks_win_over_memory() {
    let of = |memory_keys, keys, engine| summary(&inputs(LLAMA, 1, (96.0, memory_keys), keys, engine));
    for engine in [Engine::Reference, VLLM] {
        let given = of(r#", "mem_util": 0.2"#, r#", "num_gpu_blocks": 2588"#, engine);
        assert_eq!(given.kv_basis, KvBasis::Given);
        assert_eq!(given.kv_blocks, 2588 - u64::from(engine != Engine::Reference));
    }
    // 96 GiB - 16060522496 B leave 41493.7 blocks of 2097152 B.
    let most = of("", r#", "num_gpu_blocks": 41493"#, Engine::Reference);
    assert_eq!(most.kv_blocks, 41_493);
    // Half the model and half a token's KV on each of two NPUs.
    assert_eq!(of("", r#", "num_gpu_blocks": 80000, "tp_size": 2"#, VLLM).kv_blocks, 79_999);
}

/// Llama-3.1-8B with 2048 tokens and 128 sequences: sampling holds 2048·4096·2 B of hidden states, logits of
/// 128·128256·(2 + 3·4) B and 128·4·128256 B for thresholds, more than its layers do, 2048·2·(4·4096 + 3·14336) B; with
/// 8192 tokens it is the other way round.
#[test]
fn activation_peaks_by_hand() {
    #[track_caller]
    fn check(model: &str, copies: usize, keys: &str, peak: u64, context_gib: f64) {
        let summary = summary(&inputs(model, copies, (96.0, ""), keys, VLLM));
        let runtime_context_bytes = (context_gib * GIB) as u64;
        assert_eq!(overheads(&summary), Overheads { activation_peak_bytes: peak, runtime_context_bytes });
    }
    check(LLAMA, 1, "", 16_777_216 + 229_834_752 + 65_667_072, 0.5);
    check(LLAMA, 1, r#", "max_num_batched_tokens": 8192"#, 8192 * 2 * (16_384 + 43_008), 0.5);
    // Logits stand on every rank; what layers have is split, but for hidden states.
    check(LLAMA, 1, r#", "tp_size": 2"#, 16_777_216 + 229_834_752 + 65_667_072, 2.1);
    check(LLAMA, 1, r#", "tp_size": 2, "max_num_batched_tokens": 8192"#, 8192 * 2 * (16_384 + 21_504), 2.1);
    // No more rows than tokens.
    check(LLAMA, 1, r#", "max_num_seqs": 0, "max_num_batched_tokens": 64"#, 524_288 + 114_917_376 + 65_667_072, 0.5);
    // Eight experts a token, of width 768: 2048·8·2·(2048 + 2048) B, beside sampling.
    let sampling = 8_388_608 + 128 * 151_936 * 14 + 128 * 4 * 151_936;
    check(QWEN_MOE, 1, "", 134_217_728 + sampling, 0.5);
    check(QWEN_MOE, 1, r#", "tp_size": 2"#, 134_217_728 + sampling, 2.1);
    // Tokens of both members.
    check(QWEN_MOE, 2, r#", "ep_size": 2, "dp_group": "A""#, 2 * 134_217_728 + sampling, 2.1);
}

#[test]
fn who_takes_overheads_off() {
    #[track_caller]
    fn check(memory_keys: &str, engine: Engine, expected: Option<(f64, f64)>) {
        let summary = summary(&inputs(LLAMA, 1, (96.0, memory_keys), "", engine));
        let gib = |gib: f64| (gib * GIB) as u64;
        let expected = expected.map(|(activations, context)| Overheads {
            activation_peak_bytes: gib(activations),
            runtime_context_bytes: gib(context),
        });
        let utilization = if memory_keys.contains("mem_util") { 0.8 } else { 0.9 };
        assert_eq!(summary.kv_basis, KvBasis::Share { utilization, overheads: expected }, "{memory_keys}");
        let overhead_bytes = expected.map_or(0, |both| both.activation_peak_bytes + both.runtime_context_bytes);
        let left = (utilization * 96.0 * GIB) as u64 - 16_060_522_496 - overhead_bytes;
        assert_eq!(summary.kv_blocks, left / 2_097_152 - u64::from(engine != Engine::Reference));
    }
    let estimate = 312_279_040.0 / GIB;
    check("", Engine::Reference, None);
    check(r#", "mem_util": 0.8"#, Engine::Reference, None);
    check(r#", "activation_peak": 1.5, "runtime_context": 0.25"#, Engine::Reference, None);
    check("", Engine::Vllm(Vllm::PLAIN), Some((estimate, 0.5)));
    check(r#", "mem_util": 0.8"#, VLLM, None);
    check(r#", "mem_util": 0.8, "activation_peak": "estimate""#, VLLM, Some((estimate, 0.5)));
    check(r#", "mem_util": 0.8, "runtime_context": 0.25"#, VLLM, Some((estimate, 0.25)));
    check(r#", "activation_peak": 1.5, "runtime_context": "estimate""#, VLLM, Some((1.5, 0.5)));
    check(r#", "activation_peak": 0, "runtime_context": 0"#, VLLM, Some((0.0, 0.0)));
}

#[test]
fn keys_that_change_nothing_are_noted() {
    let notes = |memory_keys, keys, engine| common::loaded(&inputs(LLAMA, 2, (96.0, memory_keys), keys, engine)).notes;
    let both = r#", "mem_util": 0.8, "activation_peak": 1, "runtime_context": "estimate""#;
    let given = r#", "num_gpu_blocks": 100"#;
    assert_eq!(notes(both, "", VLLM), [""; 0]);
    assert_eq!(notes("", given, Engine::Reference), [""; 0]);
    assert_eq!(
        notes(both, "", Engine::Reference),
        ["activation_peak", "runtime_context"]
            .map(|key| format!("`{key}` has no effect with --engine reference, which takes weights and KV alone"))
    );
    for engine in [Engine::Reference, VLLM] {
        let expected = ["mem_util", "activation_peak", "runtime_context"];
        assert_eq!(
            notes(both, given, engine),
            expected.map(|key| format!("`{key}` has no effect beside `num_gpu_blocks`"))
        );
    }
}

#[test]
fn faults() {
    let mut rows = String::new();
    let mut check = |model: &str, memory_keys: &str, keys: &str, engine| {
        let faults = load(&inputs(model, 1, (24.0, memory_keys), keys, engine)).expect_err(keys).to_string();
        rows += &format!("# {model}{memory_keys}{keys} {}\n{faults}\n", engine.name());
    };
    for value in ["0", "1", "-1", "2.5", r#""2588""#, "true", "99999999999", "4630", "4294967295"] {
        check(LLAMA, "", &format!(r#", "num_gpu_blocks": {value}"#), VLLM);
    }
    check(QWEN, "", r#", "num_gpu_blocks": 100, "tp_size": 2"#, Engine::Reference);
    check(LLAMA_70B, "", r#", "num_gpu_blocks": 100"#, Engine::Reference);
    for value in ["-1", r#""guess""#, "true", "1e9", r#"{"GiB": 1}"#] {
        check(LLAMA, &format!(r#", "activation_peak": {value}"#), "", VLLM);
    }
    check(LLAMA, r#", "runtime_contxt": 1"#, "", VLLM);
    check(LLAMA, r#", "activation_peak": 4, "runtime_context": 3"#, "", VLLM);
    // There would be the null block alone.
    let room_for_one = r#", "mem_util": 0.62335"#;
    assert_eq!(summary(&inputs(LLAMA, 1, (24.0, room_for_one), "", Engine::Reference)).kv_blocks, 1);
    check(LLAMA, room_for_one, "", VLLM);
    insta::assert_snapshot!("kv_capacity", rows);
}

/// What vLLM 0.19.0 told: on an RTX 4090 the number of blocks, on H100s of 79.19 GiB, 0.95 of it, the peak of
/// activations and what it, weights and runtime leave for KV, in GiB. Limits there are taken to be vLLM's defaults, 8192
/// tokens and 1024 sequences.
#[test]
fn near_what_vllm_had() {
    let mut inputs_4090 = inputs(LLAMA, 1, (25_250_627_584.0 / GIB, ""), r#", "max_num_seqs": 256"#, VLLM);
    inputs_4090.flags.max_num_batched_tokens = 2048;
    let blocks = summary(&inputs_4090).kv_blocks + 1;
    let error = blocks as f64 / 2588.0 - 1.0;
    println!("RTX 4090, {LLAMA}: {blocks} blocks for 2588, {:+.1} %", error * 100.0);
    assert!(error.abs() < 0.05, "{blocks} blocks");

    for (model, keys, peak_gib, kv_gib) in [
        (LLAMA, "", 1.89, Some(58.11)),
        (LLAMA, r#", "tp_size": 2"#, 1.89, Some(63.76)),
        (LLAMA, r#", "tp_size": 4"#, 1.89, Some(67.44)),
        // Of Qwen3-30B-A3B, of the same shapes, and of Llama-3.3-70B, quantised.
        (QWEN_MOE, "", 2.68, None),
        (LLAMA_70B, r#", "tp_size": 4"#, 1.97, None),
    ] {
        let mut inputs = inputs(model, 1, (79.19, ""), keys, VLLM);
        inputs.flags.npu_memory_utilization = 0.95;
        (inputs.flags.max_num_batched_tokens, inputs.flags.max_num_seqs) = (8192, 1024);
        let summary = summary(&inputs);
        let peak = overheads(&summary).activation_peak_bytes as f64 / GIB;
        let kv = summary.kv_bytes as f64 / GIB;
        println!("H100, {model}{keys}: a peak of {peak:.2} GiB for {peak_gib}, {kv:.2} GiB of KV for {kv_gib:?}");
        assert!((peak / peak_gib - 1.0).abs() < 0.04, "{model}{keys}: {peak} GiB");
        assert!(kv_gib.is_none_or(|had| (kv / had - 1.0).abs() < 0.01), "{model}{keys}: {kv} GiB");
    }
}

#[test]
fn a_file_of_llmservingsim_keeps_its_capacity() {
    let mut inputs = inputs(LLAMA, 1, (24.0, r#", "mem_util": 0.833919"#), "", VLLM);
    assert_eq!(summary(&inputs).kv_blocks, 2587);
    let Source::Text { text, .. } = &mut inputs.cluster else { panic!("a cluster in a file") };
    *text = text.replace(r#", "mem_util": 0.833919"#, "");
    assert!(summary(&inputs).kv_blocks > 2587);
}
