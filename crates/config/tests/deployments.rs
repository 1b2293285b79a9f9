//! What sound inputs become: capacities worked out by hand, topologies, settings and who wins.

mod common;

use common::{LINKS, LLAMA, cluster_of, instance, loaded};
use config::{Inputs, LatencySource, LatencyUsed, Source, load};
use engine::{Engine, Role, SchedulerSpec, Vllm};
use model::Dtype;
use network::{DimMask, Memory, MemoryDevices};

const QWEN_MOE: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";

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
    // Half the blocks each, and a quarter of the KV on each of four NPUs: 8030527488 - 16 · 218120192 B, of blocks of
    // 524288 B.
    check(LLAMA, r#", "tp_size": 2, "num_npus": 4"#, 1, 4_540_604_416, 168_286);
    // KV of one byte an element: twice the blocks.
    check(QWEN_MOE, r#", "ep_size": 2, "dp_group": "A", "kv_cache_dtype": "fp8""#, 2, 32_073_191_424, 77_181);
}

/// Data-parallel instances of a dense model share a load balancer, and nothing else, where vLLM runs them.
#[test]
fn dense_groups_of_vllm_come_apart() {
    let groups = |model: &str, keys: &str, engine: Engine| {
        let mut inputs = cluster_of(&[vec![instance(model, keys); 2]], LINKS);
        inputs.flags.engine = engine;
        let groups = loaded(&inputs).deployment.groups;
        groups.iter().map(|group| (group.members.len(), group.topology.dims().len())).collect::<Vec<_>>()
    };
    let dense = r#", "tp_size": 2, "dp_group": "A""#;
    let vllm = Engine::Vllm(Vllm::default());
    assert_eq!(groups(LLAMA, dense, Engine::Reference), [(2, 2)]);
    assert_eq!(groups(LLAMA, dense, vllm), [(1, 1); 2]);
    let experts = r#", "tp_size": 2, "ep_size": 2, "dp_group": "A""#;
    assert_eq!(groups(QWEN_MOE, experts, vllm), groups(QWEN_MOE, experts, Engine::Reference));
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
    // Experts are never spread over pipeline stages.
    let stages = r#", "pp_size": 2, "ep_size": 2, "dp_group": "A""#;
    check(QWEN_MOE, stages, 2, (&[1, 2, 2], 1, &[true], &[false, false, true]));
    let stages = r#", "tp_size": 2, "num_npus": 4, "ep_size": 4, "dp_group": "A""#;
    check(QWEN_MOE, stages, 2, (&[2, 2, 2], 2, &[true], &[true, false, true]));
    let stages = r#", "tp_size": 2, "pp_size": 2, "ep_size": 2, "dp_group": "A""#;
    check(QWEN_MOE, stages, 2, (&[2, 2, 2], 1, &[true], &[true]));
    check(QWEN_MOE, r#", "pp_size": 3, "dp_group": "A""#, 1, (&[1, 3], 1, &[true], &[true]));
    check(QWEN_MOE, r#", "tp_size": 2, "pp_size": 3"#, 1, (&[2, 3], 2, &[true], &[true]));
}

#[test]
fn degrees_are_inferred() {
    #[track_caller]
    fn check(keys: &str, (tp, pp, ep): (u32, u32, u32)) {
        let deployment = loaded(&cluster_of(&[vec![instance(QWEN_MOE, keys)]], LINKS)).deployment;
        let spec = &deployment.instances[0];
        assert_eq!((spec.tp, spec.pp, spec.ep), (tp, pp, ep), "{keys}");
        assert_eq!(deployment.groups[0].topology.num_npus(), (tp * pp) as usize, "{keys}");
    }
    check("", (1, 1, 1));
    check(r#", "num_npus": 4"#, (4, 1, 4));
    check(r#", "pp_size": 4"#, (1, 4, 1));
    check(r#", "num_npus": 8, "pp_size": 4"#, (2, 4, 2));
    check(r#", "num_npus": 8, "tp_size": 2"#, (2, 4, 2));
    check(r#", "num_npus": 8, "tp_size": 2, "pp_size": 4, "ep_size": 1"#, (2, 4, 1));
    check(r#", "pp_size": 48"#, (1, 48, 1));
}

/// The dimensions of each group, and which of the cluster's links each has.
#[test]
fn links_are_those_of_the_grid_of_all_instances() {
    #[track_caller]
    fn check(instances: &[&str], num_dims: usize, expected: &[(&[u32], &[f64])]) {
        let latencies = &["100", "200", "300"][..num_dims];
        let keys = format!(r#""link_bw": 16, "link_latency": [{}]"#, latencies.join(", "));
        let instances = instances.iter().map(|keys| instance(QWEN_MOE, keys)).collect();
        let deployment = loaded(&cluster_of(&[instances], &keys)).deployment;
        assert_eq!(deployment.groups.len(), expected.len());
        for (group, (npus, latencies)) in deployment.groups.iter().zip(expected) {
            let dims = group.topology.dims();
            assert_eq!(dims.iter().map(|dim| dim.npus).collect::<Vec<_>>(), *npus);
            assert_eq!(dims.iter().map(|dim| dim.latency_ns).collect::<Vec<_>>(), *latencies);
            let owned = group.members.iter().map(|id| deployment.instances[id.index()].num_npus_with_peers());
            assert_eq!(group.topology.num_npus() as u32, owned.sum::<u32>());
        }
    }
    let (row, plane) = (&[100.0][..], &[100.0, 200.0][..]);
    check(&[r#", "pp_size": 4"#], 1, &[(&[4], row)]);
    check(&[r#", "tp_size": 2, "pp_size": 2"#], 2, &[(&[2, 2], plane)]);
    check(&["", ""], 2, &[(&[1], row), (&[1], row)]);
    check(&[r#", "pp_size": 2"#, r#", "pp_size": 2"#], 2, &[(&[2], row), (&[2], row)]);
    // Stages are neighbours in the first dimension unless an instance is tensor-parallel.
    check(&[r#", "pp_size": 2"#, r#", "tp_size": 2"#], 2, &[(&[1, 2], plane), (&[2], row)]);
    // Peers are as far as another instance.
    let (prefill, decode) = (r#", "pd_type": "prefill""#, r#", "pd_type": "decode""#);
    check(&[prefill, decode], 2, &[(&[1, 2], plane), (&[1], row)]);
    let wide = |role: &str, keys: &str| format!("{role}{keys}");
    let (tp2, pp2) = (r#", "tp_size": 2"#, r#", "pp_size": 2"#);
    check(&[&wide(prefill, tp2), &wide(decode, tp2)], 2, &[(&[2, 2], plane), (&[2], row)]);
    check(&[&wide(prefill, pp2), decode], 2, &[(&[2, 2], plane), (&[1], row)]);
    let both = format!("{tp2}{pp2}");
    check(&[&wide(prefill, &both), &wide(decode, tp2)], 2, &[(&[2, 4], plane), (&[2], row)]);
    // Where one group has stages, the members of another are in the third dimension all the same.
    let group = |name: &str, pp: u32| format!(r#", "dp_group": "{name}", "ep_size": 2, "pp_size": {pp}"#);
    let (a, b) = (group("A", 1), group("B", 2));
    let space = &[100.0, 200.0, 300.0][..];
    check(&[&a, &a, &b, &b], 3, &[(&[1, 1, 2], space), (&[1, 2, 2], space)]);
}

#[test]
fn roles() {
    let roles = [("prefill", Role::Prefill), ("decode", Role::Decode), ("decode", Role::Decode)];
    let mut instances: Vec<_> =
        roles.iter().map(|(name, _)| instance(LLAMA, &format!(r#", "pd_type": "{name}""#))).collect();
    instances.push(instance(LLAMA, r#", "pd_type": null"#));
    let mut inputs = cluster_of(&[instances], LINKS);
    let got: Vec<_> = loaded(&inputs).deployment.instances.iter().map(|spec| spec.role).collect();
    assert_eq!(got, [Role::Prefill, Role::Decode, Role::Decode, Role::Whole]);

    inputs.flags.skip_prefill = true;
    assert!(loaded(&inputs).deployment.instances.iter().all(|spec| spec.skips_prefill));
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
    assert_eq!(deployment.memory, Memory::from(MemoryDevices::new(7.9, 256.0, 2)));
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
fn harmless_values() {
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

#[test]
fn measured_collectives() {
    use network::CollectiveKind::{AllGather, AllReduce};
    let text = include_str!("data/cluster.json").replacen(
        r#""link_bw""#,
        r#""link_model": [null, {"all_gather": [[1024, 10000], [2048, 14000.5]]}], "link_bw""#,
        1,
    );
    let inputs = Inputs::new(Source::Text { name: "cluster.json".to_owned(), text });
    let deployment = load(&inputs).expect("a sound cluster").deployment;
    let measured = deployment.system.measured.expect("measured collectives");
    assert_eq!(measured.curves().collect::<Vec<_>>(), [(1, AllGather)]);
    let curve = measured.get(1, AllGather).expect("a curve");
    assert_eq!(curve.time(1536).ns(), 12_000);
    assert_eq!(measured.get(0, AllReduce), None);
}
