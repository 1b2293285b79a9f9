//! What sound inputs become: capacities worked out by hand, topologies, settings and who wins.

use config::{Inputs, LatencySource, LatencyUsed, Loaded, Source, load};
use engine::SchedulerSpec;
use model::Dtype;
use network::{DimMask, MemoryDevices};

const QWEN_MOE: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";
const LLAMA: &str = "meta-llama/Llama-3.1-8B";

/// One instance of `model` on an RTXPRO6000 with further keys.
fn instance(model: &str, keys: &str) -> String {
    format!(
        r#"{{"model_name": "{model}", "hardware": "RTXPRO6000",
            "npu_mem": {{"mem_size": 96, "mem_bw": 1597.9, "mem_latency": 0}} {keys}}}"#
    )
}

/// A cluster of nodes with these instances and links.
fn cluster_of(nodes: &[Vec<String>], links: &str) -> Inputs {
    let node = |(index, instances): (usize, &Vec<String>)| {
        format!(
            r#"{{"num_instances": {}, "instances": [{}],
                "cpu_mem": {{"mem_size": 512, "mem_bw": {}, "mem_latency": 7.9}}}}"#,
            instances.len(),
            instances.join(", "),
            256 + index,
        )
    };
    let listed: Vec<String> = nodes.iter().enumerate().map(node).collect();
    let text = format!(r#"{{"num_nodes": {}, {links}, "nodes": [{}]}}"#, nodes.len(), listed.join(", "));
    let mut inputs = Inputs::new(Source::Text { name: "cluster.json".to_owned(), text });
    inputs.latency_source = LatencySource::Analytic;
    inputs
}

const LINKS: &str = r#""link_bw": 16, "link_latency": 1000"#;

fn loaded(inputs: &Inputs) -> Loaded {
    load(inputs).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn capacities_by_hand() {
    #[track_caller]
    fn check(model: &str, keys: &str, copies: usize, weight_bytes: u64, kv_blocks: u64) {
        let inputs = cluster_of(&[vec![instance(model, keys); copies]], LINKS);
        let loaded = loaded(&inputs);
        assert_eq!(loaded.deployment.instances[0].weight_bytes, weight_bytes);
        let summary = &loaded.instances[0];
        assert_eq!((summary.kv_blocks, summary.kv_tokens), (kv_blocks, 16 * kv_blocks));
        assert_eq!(summary.npu_memory_bytes, 96 << 30);
    }
    // Embedding and head 2·128256·4096·2 B; 32 blocks of norms 2·4096·2, qkv 4096·6144·2, o 4096·4096·2, gate and up
    // 4096·28672·2 and down 14336·4096·2; one norm. Of int(0.9·96 GiB) = 92771293593 B that leaves 76710771097, in
    // blocks of 16 · 2·1024·32·2 = 2097152 B.
    check(LLAMA, "", 1, 16_060_522_496, 36_578);
    // On each of two NPUs half of that, but for the norms: 65 · 4096·2 B stand twice.
    check(LLAMA, r#", "tp_size": 2"#, 1, 8_030_527_488, 80_815);
    // Half the experts each: 48 blocks of norms 2·2048·2, qkv 2048·5120·2, o 4096·2048·2, gate 2048·128·2 and
    // 64·3·2048·768·2; embedding, head and norm 2·151936·2048·2 + 4096. Blocks are 16 · 2·512·48·2 = 1572864 B.
    check(QWEN_MOE, r#", "ep_size": 2, "dp_group": "A""#, 2, 32_073_191_424, 38_590);
    // KV of one byte an element: twice the blocks.
    check(QWEN_MOE, r#", "ep_size": 2, "dp_group": "A", "kv_cache_dtype": "fp8""#, 2, 32_073_191_424, 77_181);
}

#[test]
fn groups_and_their_topologies() {
    type Expected<'e> = (&'e [u32], u32, &'e [bool], &'e [bool]);

    /// Instances in one group (or one alone) against sizes of its topology, `local_ep`, `tp_dims` and `ep_dims`.
    #[track_caller]
    fn check(model: &str, keys: &str, copies: usize, (dims, local_ep, tp_dims, ep_dims): Expected<'_>) {
        let inputs = cluster_of(&[vec![instance(model, keys); copies]], LINKS);
        let deployment = loaded(&inputs).deployment;
        assert_eq!(deployment.groups.len(), 1);
        let got: Vec<u32> = deployment.groups[0].topology.dims().iter().map(|dim| dim.npus).collect();
        assert_eq!(got, dims);
        for member in &deployment.instances {
            assert_eq!(member.local_ep, local_ep);
            assert_eq!(member.tp_dims, DimMask::new(tp_dims), "tp");
            assert_eq!(member.ep_dims, DimMask::new(ep_dims), "ep");
        }
    }
    check(LLAMA, "", 1, (&[1], 1, &[true], &[true]));
    check(LLAMA, r#", "num_npus": 4"#, 1, (&[4], 1, &[true], &[true]));
    check(QWEN_MOE, r#", "tp_size": 4"#, 1, (&[4], 4, &[true], &[true]));
    check(QWEN_MOE, r#", "tp_size": 4, "ep_size": 2"#, 1, (&[4], 2, &[true], &[true]));
    check(QWEN_MOE, r#", "dp_group": "A""#, 1, (&[1], 1, &[true], &[true]));
    check(LLAMA, r#", "tp_size": 2, "dp_group": "A""#, 3, (&[2, 3], 1, &[true, false], &[true, false]));
    check(QWEN_MOE, r#", "ep_size": 2, "dp_group": "A""#, 2, (&[1, 2], 1, &[true, false], &[false, true]));
    let both = r#", "tp_size": 2, "ep_size": 4, "dp_group": "A""#;
    check(QWEN_MOE, both, 2, (&[2, 2], 2, &[true, false], &[true, true]));
    let inside = r#", "tp_size": 2, "ep_size": 2, "dp_group": "A""#;
    check(QWEN_MOE, inside, 2, (&[2, 2], 1, &[true, false], &[true, false]));
}

#[test]
fn several_groups_over_several_nodes() {
    let member = |name: &str| instance(QWEN_MOE, &format!(r#", "ep_size": 2, "dp_group": "{name}""#));
    let nodes = [vec![member("A"), member("B")], vec![instance(LLAMA, r#", "tp_size": 2"#), member("B"), member("A")]];
    let inputs = cluster_of(&nodes, r#""link_bw": [128, 16], "link_latency": [500, 20000]"#);
    let deployment = loaded(&inputs).deployment;

    let groups: Vec<_> = deployment
        .groups
        .iter()
        .map(|group| (group.name.as_deref(), group.members.iter().map(|id| id.0).collect::<Vec<_>>()))
        .collect();
    assert_eq!(groups, [(Some("A"), vec![0, 4]), (Some("B"), vec![1, 3]), (None, vec![2])]);
    let homes: Vec<_> = deployment.instances.iter().map(|instance| (instance.node.0, instance.group.0)).collect();
    assert_eq!(homes, [(0, 0), (0, 1), (1, 2), (1, 1), (1, 0)]);

    let outer = deployment.groups[0].topology.dims()[1];
    assert_eq!((outer.bandwidth_gib_per_s, outer.latency_ns), (16.0, 20_000.0));
    let lone = deployment.groups[2].topology.dims();
    assert_eq!((lone.len(), lone[0].bandwidth_gib_per_s, lone[0].latency_ns), (1, 128.0, 500.0));
    // The first node's memory, in as many devices as there are nodes; an NPU's bandwidth cut to its whole part.
    assert_eq!(deployment.host_memory, MemoryDevices::new(7.9, 256.0, 2));
    assert_eq!(deployment.system.local_memory_gb_per_s, 1597.0);
    assert_eq!(deployment.system.endpoint_delay_ns, 10);
}

#[test]
fn lone_instances_have_the_links_of_the_innermost_dimension() {
    // LLMServingSim lays independent instances out on a grid, so lists have two values there.
    let nodes = [vec![instance(LLAMA, r#", "tp_size": 2"#); 2]];
    let inputs = cluster_of(&nodes, r#""link_bw": [128, 16], "link_latency": 20000"#);
    for group in loaded(&inputs).deployment.groups {
        assert_eq!(group.topology.dims()[0].bandwidth_gib_per_s, 128.0);
    }
}

#[test]
fn who_wins() {
    #[track_caller]
    fn check(keys: &str, change: fn(&mut Inputs), expected: SchedulerSpec, block_size: u32, element_bytes: u64) {
        let mut inputs = cluster_of(&[vec![instance(QWEN_MOE, keys)]], LINKS);
        change(&mut inputs);
        let spec = &loaded(&inputs).deployment.instances[0];
        assert_eq!(spec.scheduler, expected);
        assert_eq!((spec.kv.block_size, spec.element_bytes), (block_size, element_bytes));
    }
    let usual = SchedulerSpec {
        max_num_seqs: Some(128),
        max_num_batched_tokens: 2048,
        long_prefill_token_threshold: 0,
        chunked_prefill: true,
        reserve_full_isl: true,
    };
    check("", |_| {}, usual, 16, 2);
    let unlimited = SchedulerSpec { max_num_seqs: None, max_num_batched_tokens: 262_144, ..usual };
    check(r#", "max_num_seqs": 0, "max_num_batched_tokens": 0"#, |_| {}, unlimited, 16, 2);
    let capped = SchedulerSpec { max_num_batched_tokens: 262_144, ..usual };
    check(r#", "max_num_batched_tokens": 300000"#, |_| {}, capped, 16, 2);
    let flagged = |inputs: &mut Inputs| {
        inputs.flags.max_num_seqs = 3;
        inputs.flags.block_size = 32;
        inputs.flags.chunked_prefill = false;
        inputs.flags.dtype = Some(Dtype::Fp8);
    };
    let from_flags = SchedulerSpec { max_num_seqs: Some(3), chunked_prefill: false, ..usual };
    check("", flagged, from_flags, 32, 1);
    let own = r#", "max_num_seqs": 5, "block_size": 8, "enable_chunked_prefill": true, "dtype": "float16",
        "reserve_full_isl": false, "long_prefill_token_threshold": 512"#;
    let from_instance =
        SchedulerSpec { max_num_seqs: Some(5), reserve_full_isl: false, long_prefill_token_threshold: 512, ..usual };
    check(own, flagged, from_instance, 8, 2);
}

#[test]
fn harmless_values_of_what_is_not_supported() {
    let harmless = r#", "pd_type": null, "pp_size": 1, "num_npus": 2, "tp_size": null,
        "enable_local_offloading": false, "enable_attn_offloading": false, "enable_sub_batch_interleaving": false,
        "placement": {
            "default": {"weights": "npu", "kv_loc": "NPU", "kv_evict_loc": "cpu"},
            "blocks": [{"blocks": "0-3,7", "weights": "npu"}],
            "layers": {"lm_head": {"weights": "npu"}}
        }"#;
    let loaded = loaded(&cluster_of(&[vec![instance(LLAMA, harmless)]], LINKS));
    assert_eq!(loaded.deployment.instances[0].tp, 2);
    assert_eq!(loaded.notes, [""; 0]);
}

#[test]
fn notes() {
    let split = r#", "tp_size": 8, "num_npus": 8"#;
    let mut inputs = cluster_of(&[vec![instance(QWEN_MOE, split); 2]], LINKS);
    let replicated =
        format!("{QWEN_MOE}: tp_size 8 exceeds its 4 KV heads; engines replicate them then, here they are split");
    assert_eq!(loaded(&inputs).notes, [replicated.as_str()]);

    inputs = cluster_of(&[vec![instance(LLAMA, ""); 2]], LINKS);
    inputs.latency_source = LatencySource::Auto;
    let loaded = loaded(&inputs);
    let stand_in = "no profile for RTXPRO6000/meta-llama/Llama-3.1-8B/bf16: the analytic model stands in";
    assert_eq!(loaded.notes, [stand_in]);
    assert!(loaded.instances.iter().all(|instance| instance.latency == LatencyUsed::Analytic));
}

#[test]
fn every_built_in_model_loads() {
    for (name, npus) in [
        (QWEN_MOE, 1),
        ("Qwen/Qwen3-32B", 1),
        (LLAMA, 1),
        ("meta-llama/Llama-3.1-70B", 2),
        ("microsoft/Phi-mini-MoE-instruct", 1),
        ("mistralai/Mixtral-8x7B-v0.1", 2),
    ] {
        let keys = format!(r#", "num_npus": {npus}"#);
        let loaded = loaded(&cluster_of(&[vec![instance(name, &keys)]], LINKS));
        assert_eq!(loaded.deployment.instances[0].model.name, name);
    }
}
