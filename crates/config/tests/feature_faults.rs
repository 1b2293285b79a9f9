//! What is said about features that don't fit each other: each row is a cluster, and the snapshot has all of it.

mod common;

use std::fmt::Write as _;

use common::{LINKS, LLAMA, cluster_of, instance, loaded};
use config::{Inputs, PrefixStorage, Source, load};
use engine::Polling;

const QWEN_MOE: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";

/// Adds a row to a snapshot: what is wrong, and what is said about it.
fn row(rows: &mut String, what: &str, inputs: &Inputs) {
    let faults = load(inputs).map(|_| ()).expect_err(what);
    // Places are tested elsewhere, and would change with the layout of the text.
    let said = faults.to_string();
    let said = said.lines().map(|line| match line.split_once(" at $") {
        Some((_, rest)) => format!("error: ${rest}\n"),
        None => format!("{line}\n"),
    });
    writeln!(rows, "# {what}\n{}", said.collect::<String>()).unwrap();
}

/// A node with instances of Llama-3.1-8B that have these keys.
fn llamas(keys: &[&str]) -> Inputs {
    cluster_of(&[keys.iter().map(|keys| instance(LLAMA, keys)).collect()], LINKS)
}

fn replace(inputs: &mut Inputs, from: &str, to: &str) {
    let Source::Text { text, .. } = &mut inputs.cluster else { panic!("a cluster in a file") };
    assert!(text.contains(from), "no {from:?}");
    *text = text.replace(from, to);
}

const PREFILL: &str = r#", "pd_type": "prefill""#;
const DECODE: &str = r#", "pd_type": "decode""#;

#[test]
fn roles() {
    let mut rows = String::new();
    let mut check = |what: &str, inputs: &Inputs| row(&mut rows, what, inputs);
    check("nobody decodes", &llamas(&["", PREFILL]));
    check("nobody prefills", &llamas(&["", DECODE, DECODE]));
    let decode = |keys: &str| format!("{DECODE}, {keys}");
    check("KV types", &llamas(&[PREFILL, &decode(r#""kv_cache_dtype": "fp8""#)]));
    check("weight types", &llamas(&[PREFILL, &decode(r#""dtype": "float16""#)]));
    check("block sizes", &llamas(&[PREFILL, &decode(r#""block_size": 32"#)]));
    let models = cluster_of(&[vec![instance(LLAMA, PREFILL), instance(QWEN_MOE, DECODE)]], LINKS);
    check("models", &models);
    let grouped = |role: &str| format!(r#"{role}, "dp_group": "A""#);
    check("in a group", &llamas(&[&grouped(PREFILL), &grouped(DECODE)]));
    insta::assert_snapshot!("roles", rows);

    let sound = [r#""block_size": 32, "enable_prefix_caching": false"#, r#""dtype": "fp8", "kv_cache_dtype": "fp8""#];
    loaded(&llamas(&[PREFILL, &decode(sound[0])]));
    loaded(&llamas(&[&format!(r#"{PREFILL}, "kv_cache_dtype": "fp8""#), &decode(sound[1])]));
}

#[test]
fn stages_where_blocks_differ() {
    let check = |keys: &str, polling, is_sound: bool| {
        let keys = format!(r#", "pp_size": 2, "enable_block_copy": false {keys}"#);
        let mut inputs = cluster_of(&[vec![instance(QWEN_MOE, &keys)]], LINKS);
        inputs.flags.polling = polling;
        let said = load(&inputs).err().map(|faults| faults.to_string()).unwrap_or_default();
        assert_eq!(said.contains("LLMServingSim has no blocks for pipeline stages"), !is_sound, "{said}");
    };
    check("", Polling::Exact, true);
    check("", Polling::Reference, false);
    check(r#", "placement": {"blocks": [{"blocks": 1}]}"#, Polling::Reference, true);
}

#[test]
fn tiers() {
    let mut rows = String::new();
    let mut check = |what: &str, keys: &[&str], storage, change: fn(&mut Inputs)| {
        let mut inputs = llamas(keys);
        inputs.flags.prefix_storage = storage;
        inputs.flags.prefix_sharing = true;
        change(&mut inputs);
        row(&mut rows, what, &inputs);
    };
    use PrefixStorage::{Cpu, Cxl};
    check("no CXL memory", &[""], Cxl, |_| {});
    check("too small", &[""], Cpu, |inputs| replace(inputs, r#""mem_size": 512"#, r#""mem_size": 0.03"#));
    check("block sizes", &["", r#", "block_size": 32"#], Cpu, |_| {});
    check("types", &["", r#", "dtype": "fp8""#, r#", "kv_cache_dtype": "fp8""#], Cpu, |_| {});
    check("models", &["", ""], Cpu, |inputs| {
        let Source::Text { text, .. } = &mut inputs.cluster else { panic!("a cluster in a file") };
        *text = text.replacen(LLAMA, QWEN_MOE, 1);
    });
    insta::assert_snapshot!("tiers", rows);
}

#[test]
fn offloading() {
    let mut rows = String::new();
    let mut check = |what: &str, keys: &[&str], pim_config: &str, change: fn(&mut Inputs)| {
        let mut inputs = llamas(keys);
        let memory = format!(r#""mem_size": 512, "pim_config": "{pim_config}""#);
        replace(&mut inputs, r#""mem_size": 512, "mem_bw": 256, "mem_latency": 7.9"#, &memory);
        change(&mut inputs);
        row(&mut rows, what, &inputs);
    };
    const DDR4: &str = "DDR4_8GB_3200_pim";
    let offload = r#", "enable_attn_offloading": true"#;
    let halves = r#", "enable_attn_offloading": true, "enable_sub_batch_interleaving": true"#;
    check("unknown type", &[offload], "DDR5", |_| {});
    check("no type", &[offload], DDR4, |inputs| {
        replace(inputs, r#""pim_config": "DDR4_8GB_3200_pim""#, r#""mem_bw": 1, "mem_latency": 1"#);
    });
    check("less than a channel", &[offload], DDR4, |inputs| {
        replace(inputs, r#""mem_size": 512"#, r#""mem_size": 7.9"#)
    });
    check("no speed, and nobody offloads", &[""], DDR4, |_| {});
    check("halves without offloading", &[r#", "enable_sub_batch_interleaving": true"#], DDR4, |inputs| {
        replace(inputs, r#""pim_config": "DDR4_8GB_3200_pim""#, r#""mem_bw": 1, "mem_latency": 1"#);
    });
    check("halves and stages, by flag", &[r#", "pp_size": 2"#, r#", "pp_size": 2"#], DDR4, |inputs| {
        inputs.flags.attn_offloading = true;
        inputs.flags.sub_batch_interleaving = true;
    });
    let member = format!(r#"{halves}, "dp_group": "A""#);
    check("halves in a group", &[&member, &member], DDR4, |_| {});
    insta::assert_snapshot!("offloading", rows);
}

#[test]
fn power() {
    let mut rows = String::new();
    let mut check = |what: &str, power: &str| {
        let mut inputs = llamas(&["", ""]);
        replace(&mut inputs, r#""num_instances""#, &format!(r#""power": {power}, "num_instances""#));
        row(&mut rows, what, &inputs);
    };
    check("empty", "{}");
    check(
        "empty parts",
        r#"{"base_node_power": -1, "npu": {}, "cpu": {}, "dram": {}, "link": {}, "nic": {}, "storage": {}}"#,
    );
    check(
        "other hardware, no modules, a utilisation in percent",
        r#"{"base_node_power": 60, "npu": {"H100": {"idle_power": 1}}, "cpu": {"idle_power": 1, "active_power": 2,
            "util": 15}, "dram": {"energy_per_bit": 1, "dimms": 1}, "link": {"num_links": 1, "idle_power": 1,
            "energy_per_bit": 1}, "nic": {"num_nics": -1, "idle_power": 1}, "storage": {"num_devices": 1, "idle_power": 1}}"#,
    );
    check(
        "other hardware and no modules, all else sound",
        r#"{"base_node_power": 60, "npu": {}, "cpu": {"idle_power": 1, "active_power": 2, "util": 0.5},
            "dram": {"energy_per_bit": 1}, "link": {"num_links": 1, "idle_power": 1, "energy_per_bit": 1},
            "nic": {"num_nics": 1, "idle_power": 1}, "storage": {"num_devices": 1, "idle_power": 1}}"#,
    );
    insta::assert_snapshot!("power", rows);
}
