//! Memory beside the NPUs' KV caches: placement, prefix tiers, pools, local memory and memory that computes.

mod common;

use common::{LINKS, LLAMA, cluster_of, instance, loaded};
use config::{Inputs, PrefixStorage, Source};
use engine::{PimSpec, Polling, TierSpec};
use model::Layer;
use network::{Location, Memory, MemoryDevices, MemorySpeed};

const QWEN_MOE: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";

const CXL: &str = r#""link_bw": 16, "link_latency": 1000,
    "cxl_mem": {"mem_size": 1024, "mem_bw": 60, "mem_latency": 250, "num_devices": 4}"#;

/// One instance of `model` with CXL memory in the cluster.
fn with_cxl(model: &str, keys: &str) -> Inputs {
    cluster_of(&[vec![instance(model, keys)]], CXL)
}

/// `inputs` with `from` replaced by `to` everywhere in the cluster.
fn replaced(mut inputs: Inputs, from: &str, to: &str) -> Inputs {
    let Source::Text { text, .. } = &mut inputs.cluster else { panic!("a cluster in a file") };
    assert!(text.contains(from), "no {from:?}");
    *text = text.replace(from, to);
    inputs
}

#[test]
fn placement_rules_by_precedence() {
    let keys = r#", "placement": {
        "default": {"weights": "cpu", "kv_loc": "npu"},
        "blocks": [
            {"blocks": "0-3, 7", "weights": "cxl:1"}, {"blocks": "6-3", "weights": "CXL:2"},
            {"blocks": 31, "weights": "npu"}, {"blocks": "30", "kv_evict_loc": "cpu"}
        ],
        "layers": {"lm_head": {"weights": "cxl"}, "qkv_proj": {"weights": "npu"}, "o_proj": {"kv_evict_loc": "cpu"}}
    }"#;
    let loaded = loaded(&with_cxl(LLAMA, keys));
    let placement = &loaded.deployment.instances[0].placement;
    let check = |layer, block, expected| assert_eq!(placement.weights_of(layer, block), expected, "{layer} {block:?}");
    check(Layer::Embedding, None, Location::Host(0));
    check(Layer::LmHead, None, Location::Pool(0));
    check(Layer::OProj, Some(2), Location::Pool(1));
    check(Layer::OProj, Some(3), Location::Pool(2));
    check(Layer::OProj, Some(6), Location::Pool(2));
    check(Layer::OProj, Some(7), Location::Pool(1));
    check(Layer::OProj, Some(8), Location::Host(0));
    check(Layer::OProj, Some(30), Location::Host(0));
    check(Layer::OProj, Some(31), Location::Npu);
    check(Layer::QkvProj, Some(2), Location::Npu);
    assert_eq!(loaded.notes, [""; 0]);

    let second =
        [vec![instance(LLAMA, "")], vec![instance(LLAMA, r#", "placement": {"default": {"weights": "cpu"}}"#)]];
    let deployment = common::loaded(&cluster_of(&second, LINKS)).deployment;
    assert_eq!(deployment.instances[1].placement.weights, Location::Host(1));
    assert_eq!(deployment.memory.host, MemoryDevices::new(7.9, 256.0, 2));

    let ignored = r#", "placement": {"layers": {"o_proj": {"kv_evict_loc": "cxl:3"}}}"#;
    let notes = common::loaded(&with_cxl(LLAMA, ignored)).notes;
    assert!(
        notes.len() == 1 && notes[0].starts_with("`kv_evict_loc` of blocks and layers is not followed"),
        "{notes:?}"
    );
}

/// All weights of Llama-3.1-8B take 16060522496 B: 1050673152 each for embedding and head, 436224000 a block, and
/// 8192 for the last norm.
#[test]
fn weights_elsewhere_leave_room_for_kv() {
    #[track_caller]
    fn check(keys: &str, weight_bytes: u64) {
        let mut inputs = with_cxl(LLAMA, keys);
        let exact = loaded(&inputs).deployment.instances[0].clone();
        assert_eq!(exact.weight_bytes, weight_bytes, "{keys}");
        let room = 92_771_293_593 - weight_bytes;
        assert_eq!(u64::from(exact.kv.num_blocks), room / exact.kv.bytes_per_block);
        inputs.flags.polling = Polling::Reference;
        let reference = loaded(&inputs).deployment.instances[0].clone();
        let stages = u64::from(exact.pp);
        assert_eq!(reference.weight_bytes, 2_101_354_496 + 32 / stages * 436_224_000, "{keys}");
    }
    let placement = |rules: &str| format!(r#", "placement": {{{rules}}}"#);
    check(&placement(r#""default": {"weights": "npu"}"#), 16_060_522_496);
    check(&placement(r#""default": {"weights": "cpu"}"#), 0);
    check(&placement(r#""layers": {"lm_head": {"weights": "cpu"}}"#), 15_009_849_344);
    let half = placement(r#""blocks": [{"blocks": "0-15", "weights": "cxl:0"}]"#);
    check(&half, 9_080_938_496);
    // The second stage has all of what is left; or each stage has a half.
    check(&format!(r#"{half}, "pp_size": 2"#), 9_080_938_496);
    let middle = placement(r#""blocks": [{"blocks": "8-23", "weights": "cxl:0"}]"#);
    check(&format!(r#"{middle}, "pp_size": 2"#), 5_591_146_496);
    // Stages of 10, 11 and 11 blocks are counted as 10, as LLMServingSim does.
    check(&format!(r#"{}, "pp_size": 3"#, placement("")), 6_463_594_496);
}

#[test]
fn memories_by_hand() {
    let host = MemoryDevices::new(7.9, 256.0, 1);
    let pool = MemoryDevices::new(250.0, 60.0, 4);
    assert_eq!(loaded(&with_cxl(LLAMA, "")).deployment.memory, Memory { pool: Some(pool), ..Memory::from(host) });
    let one = replaced(with_cxl(LLAMA, ""), r#", "num_devices": 4"#, "");
    assert_eq!(loaded(&one).deployment.memory.pool, Some(MemoryDevices::new(250.0, 60.0, 1)));

    // One instance that offloads makes the memory be there, that of the last node's first instance.
    let nodes = [
        vec![instance(LLAMA, r#", "enable_local_offloading": true"#), instance(LLAMA, "")],
        vec![instance(LLAMA, "").replace("1597.9", "936.5"), instance(LLAMA, "")],
    ];
    let deployment = loaded(&cluster_of(&nodes, LINKS)).deployment;
    assert_eq!(deployment.memory.npu, Some(MemorySpeed::new(0.0, 936.0)));
    let loads: Vec<_> = deployment.instances.iter().map(|spec| spec.placement.loads_npu_weights).collect();
    assert_eq!(loads, [true, false, false, false]);
    let mut inputs = cluster_of(&[vec![instance(LLAMA, r#", "enable_local_offloading": false"#)]], LINKS);
    inputs.flags.local_offloading = true;
    assert_eq!(loaded(&inputs).deployment.memory.npu, None);
}

#[test]
fn tiers_by_hand() {
    #[track_caller]
    fn check(keys: &str, storage: PrefixStorage, expected: Option<(u32, u32, u64)>) {
        let mut inputs = with_cxl(LLAMA, keys);
        inputs.flags.prefix_storage = storage;
        let deployment = loaded(&inputs).deployment;
        assert_eq!(deployment.instances[0].tier, expected.map(|_| 0));
        let block_size = deployment.instances[0].kv.block_size;
        let expected = expected.map(|(tokens_per_block, num_blocks, bytes_per_block)| TierSpec {
            tokens_per_block,
            npu_block_size: block_size,
            num_blocks,
            bytes_per_block,
        });
        assert_eq!(deployment.tiers, expected.into_iter().collect::<Vec<_>>(), "{keys}");
    }
    // 2·1024·32·2 = 131072 B a token; 512 GiB of host memory, 1024 of CXL memory.
    check("", PrefixStorage::None, None);
    check("", PrefixStorage::Cpu, Some((256, 16_384, 33_554_432)));
    check("", PrefixStorage::Cxl, Some((256, 32_768, 33_554_432)));
    check(r#", "tp_size": 2, "pp_size": 2"#, PrefixStorage::Cpu, Some((256, 16_384, 33_554_432)));
    // A third of it is 43690 B a rank.
    check(r#", "pp_size": 3"#, PrefixStorage::Cpu, Some((256, 16_384, 33_553_920)));
    check(r#", "kv_cache_dtype": "fp8""#, PrefixStorage::Cpu, Some((256, 32_768, 16_777_216)));
    check(r#", "dtype": "float32""#, PrefixStorage::Cpu, Some((256, 8192, 67_108_864)));
    check(r#", "block_size": 48"#, PrefixStorage::Cpu, Some((240, 17_476, 31_457_280)));
    check(r#", "block_size": 512"#, PrefixStorage::Cpu, Some((512, 8192, 67_108_864)));
    check(r#", "enable_prefix_caching": false"#, PrefixStorage::Cpu, None);
}

#[test]
fn who_shares_a_tier() {
    let off = r#", "enable_prefix_caching": false"#;
    let nodes = [vec![instance(LLAMA, ""), instance(LLAMA, off), instance(LLAMA, "")], vec![instance(LLAMA, "")]];
    let check = |storage, sharing, expected: [Option<usize>; 4], num_tiers| {
        let mut inputs = cluster_of(&nodes, CXL);
        inputs.flags.prefix_storage = storage;
        inputs.flags.prefix_sharing = sharing;
        let deployment = loaded(&inputs).deployment;
        let tiers: Vec<_> = deployment.instances.iter().map(|spec| spec.tier).collect();
        assert_eq!(tiers, expected);
        assert_eq!(deployment.tiers.len(), num_tiers);
    };
    check(PrefixStorage::Cpu, false, [Some(0), None, Some(1), Some(2)], 3);
    check(PrefixStorage::Cpu, true, [Some(0), None, Some(0), Some(1)], 2);
    check(PrefixStorage::Cxl, false, [Some(0), None, Some(1), Some(2)], 3);
    check(PrefixStorage::Cxl, true, [Some(0), None, Some(0), Some(0)], 1);
    check(PrefixStorage::None, true, [None; 4], 0);

    // However they split it.
    let mut inputs = cluster_of(&[vec![instance(LLAMA, r#", "pp_size": 3"#), instance(LLAMA, "")]], LINKS);
    inputs.flags.prefix_storage = PrefixStorage::Cpu;
    inputs.flags.prefix_sharing = true;
    let tiers = loaded(&inputs).deployment.tiers;
    assert_eq!(tiers.iter().map(|tier| tier.bytes_per_block).collect::<Vec<_>>(), [33_554_432]);
}

#[test]
fn where_prefixes_come_back_from() {
    let check = |storage, polling, evict: &str, expected| {
        let keys = format!(r#", "placement": {{"default": {{{evict}}}}}"#);
        let mut inputs = cluster_of(&[vec![instance(LLAMA, "")], vec![instance(LLAMA, &keys)]], CXL);
        inputs.flags.prefix_storage = storage;
        inputs.flags.polling = polling;
        let deployment = loaded(&inputs).deployment;
        assert_eq!(deployment.instances[1].placement.recall_from, expected, "{evict}");
        assert_eq!(deployment.memory.npu.is_some(), expected == Location::Npu);
    };
    use Polling::{Exact, Reference};
    use PrefixStorage::{Cpu, Cxl};
    check(Cpu, Exact, "", Location::Host(1));
    check(Cxl, Exact, "", Location::Pool(0));
    check(Cxl, Reference, "", Location::Host(1));
    check(Cxl, Exact, r#""kv_evict_loc": "cpu""#, Location::Host(1));
    check(Cpu, Exact, r#""kv_evict_loc": "cxl:2""#, Location::Pool(2));
    check(Cpu, Reference, r#""kv_evict_loc": "cxl:2""#, Location::Pool(2));
    check(Cpu, Exact, r#""kv_evict_loc": "npu""#, Location::Npu);
}

/// Memory of each type, of 512 GiB: channels, GB/s, ns, and attention of a model with these heads.
#[test]
fn memory_that_computes_by_hand() {
    #[track_caller]
    fn check(name: &str, model: &str, (bandwidth, latency_ns): (f64, f64), expected: PimSpec) {
        let keys = r#", "enable_attn_offloading": true"#;
        let own = format!(r#""mem_latency": 7.9, "pim_config": "{name}""#);
        let inputs = replaced(
            cluster_of(&[vec![instance(model, keys), instance(model, "")]], LINKS),
            r#""mem_latency": 7.9"#,
            &own,
        );
        let deployment = loaded(&inputs).deployment;
        assert_eq!(deployment.memory, Memory::from(MemoryDevices::new(latency_ns, bandwidth, 1)), "{name}");
        assert_eq!(deployment.instances[0].pim, Some(expected), "{name}");
        assert_eq!(deployment.instances[1].pim, None);
    }
    let pim = |num_channels, channel_split, ns_per_token, fixed_ns| PimSpec {
        num_channels,
        channel_split,
        ns_per_token,
        fixed_ns,
        interleaves_sub_batches: false,
    };
    // A page of 1024 columns of 16 bits, 65536 of them a bank, 8 banks, 4 devices a rank: 4 GiB. Two ranks a channel,
    // which moves 8 bytes 3200 times a microsecond. A read takes 22 clocks of 0.63 ns.
    let ddr4 = ("DDR4_8GB_3200_pim", (1638.4, 13.86));
    check(ddr4.0, LLAMA, ddr4.1, pim(64, 8, 333.2538, 30675.2739));
    // Twice the query heads for each KV head.
    check(ddr4.0, QWEN_MOE, ddr4.1, pim(64, 4, 666.5076, 30675.2739));
    // Twice the heads.
    check(ddr4.0, "Qwen/Qwen3-32B", ddr4.1, pim(64, 8, 666.5076, 61350.5478));
    check("HBM2_1GB_2000_pim", LLAMA, (16384.0, 14.0), pim(512, 8, 242.0548, 14513.5015));
    check("LPDDR4X_2GB_4266_pim", LLAMA, (2184.192, 16.848), pim(256, 8, 432.4458, 33918.1734));
    check("LPDDR5_2GB_6400_pim", LLAMA, (3276.8, 10.625), pim(256, 8, 282.4338, 15996.7018));
}

#[test]
fn memory_types_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = "bankgroups = 2\nbanks_per_group = 4\nrows = 65536\ncolumns = 1024\ndevice_width = 16\nbus_width = 64\n\
        channel_size = 8192\ndata_rate = 1600\nCL = 11\ntCK = 1.25\nidle_power = 600\npeak_power = 3000\n";
    std::fs::write(folder.path().join("DDR4_8GB_3200_pim.ini"), file).unwrap();
    // Speed may be left out where the type gives it.
    let own = r#""mem_size": 512, "pim_config": "DDR4_8GB_3200_pim""#;
    let speed = r#""mem_size": 512, "mem_bw": 256, "mem_latency": 7.9"#;
    let mut inputs = replaced(cluster_of(&[vec![instance(LLAMA, "")]], LINKS), speed, own);
    inputs.flags.attn_offloading = true;
    inputs.flags.sub_batch_interleaving = true;
    inputs.pim_dir = Some(folder.path().to_owned());
    let deployment = loaded(&inputs).deployment;
    assert_eq!(deployment.memory, Memory::from(MemoryDevices::new(13.75, 819.2, 1)));
    assert!(deployment.instances[0].pim.is_some_and(|pim| pim.interleaves_sub_batches));

    let kept = r#""mem_latency": 7.9, "pim_config": "DDR4_8GB_3200_pim""#;
    let unused = replaced(cluster_of(&[vec![instance(LLAMA, "")]], LINKS), r#""mem_latency": 7.9"#, kept);
    let loaded = loaded(&unused);
    assert_eq!(loaded.deployment.memory, Memory::from(MemoryDevices::new(7.9, 256.0, 1)));
    assert_eq!(loaded.notes, ["`pim_config` has no effect: no instance has `enable_attn_offloading`"]);
}
