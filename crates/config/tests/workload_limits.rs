//! Requests that a deployment can't serve, at the very edge of what it can.

use config::{Inputs, Source, WorkloadLimits, load};
use diagnostics::Faults;
use engine::{Call, Entry};
use units::{Duration, Instant, RequestId};

const CLUSTER: &str = include_str!("data/cluster.json");

fn inputs(cluster: &str) -> Inputs {
    Inputs::new(Source::Text { name: "cluster.json".to_owned(), text: cluster.to_owned() })
}

#[test]
fn requests_too_long() {
    /// A deployment of two instances, the second of which is given `own`.
    fn limits(own: &str) -> WorkloadLimits {
        let (head, tail) = CLUSTER.split_at(CLUSTER.rfind(r#""model_name""#).unwrap());
        let text = format!("{head}{}", tail.replace(r#""pd_type": null"#, own));
        WorkloadLimits::of(&load(&inputs(&text)).unwrap().deployment)
    }
    let check = |own: &str, (input_tokens, output_tokens): (u64, u64), expected: &str| {
        let call = Call { input_tokens, output_tokens, ..Call::default() };
        let calls = [Call { input_tokens: 1, output_tokens: 1, tool_time: Duration::ZERO, ..call.clone() }, call];
        let entry = Entry::session(Instant::ZERO, RequestId(7), calls).expect("two calls");
        let mut faults = Faults::new();
        limits(own).check("workload.jsonl", &entry, &mut faults);
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let prefix =
            format!("workload.jsonl at request 8: {input_tokens} input and {output_tokens} output tokens {expected}");
        match expected {
            "" => assert_eq!(said, [""; 0], "{own} {input_tokens}+{output_tokens}"),
            _ => assert!(said.len() == 1 && said[0].starts_with(&prefix), "{prefix}\nbut\n{said:?}"),
        }
    };
    let none = r#""pd_type": null"#;
    check(none, (262_143, 1), "");
    check(none, (262_144, 1), "exceed the 262144 that the model of instance 0 can hold");
    check(none, (u64::MAX, u64::MAX), "exceed the 262144 that the model of instance 0 can hold");

    let unsplit = r#""enable_chunked_prefill": false"#;
    check(unsplit, (2048, 1), "");
    check(unsplit, (2049, 1), "can never start: without chunked prefill, instance 1 computes at most 2048 tokens");
    // What it generates counts only after a preemption, and then the engine splits it.
    check(unsplit, (2000, 50), "");
    let unlimited = r#""enable_chunked_prefill": false, "max_num_batched_tokens": 0"#;
    check(unlimited, (200_000, 50), "");
    let capped = r#""enable_chunked_prefill": false, "long_prefill_token_threshold": 2048"#;
    check(capped, (200_000, 50), "");
    let capped_too_high = r#""enable_chunked_prefill": false, "long_prefill_token_threshold": 4096"#;
    check(capped_too_high, (3000, 50), "can never start");
}

#[test]
fn requests_larger_than_the_kv_cache() {
    let small = CLUSTER.replacen(r#""mem_size": 96"#, r#""mem_size": 96, "mem_util": 0.32"#, 1);
    let loaded = load(&inputs(&small)).unwrap();
    let tokens = loaded.instances[0].kv_tokens;
    assert!(tokens < loaded.instances[1].kv_tokens);
    let limits = WorkloadLimits::of(&loaded.deployment);
    let check = |output_tokens: u64, expected: usize| {
        let call = Call { input_tokens: tokens, output_tokens, ..Call::default() };
        let entry = Entry::plain(Instant::ZERO, RequestId(0), call);
        let mut faults = Faults::new();
        limits.check("workload.jsonl", &entry, &mut faults);
        assert_eq!(faults.iter().count(), expected, "{tokens} + {output_tokens}: {faults}");
    };
    check(1, 0);
    check(2, 1);
}

/// What a request must fit depends on the part of its life that each instance runs. The limits are those of a prefill,
/// a decode and a whole instance of Llama-3.1-8B, whose weights leave room for few blocks of 2 MiB.
#[test]
fn requests_to_instances_of_each_role() {
    let limits = |room: [f64; 3], own: &str, flags: fn(&mut config::Flags)| {
        let instance = |(role, room): (&str, f64)| {
            format!(
                r#"{{"model_name": "meta-llama/Llama-3.1-8B", "hardware": "RTXPRO6000", "pd_type": {role}, {own}
                    "npu_mem": {{"mem_size": {}, "mem_bw": 1597, "mem_latency": 0, "mem_util": 1}}}}"#,
                (16_060_522_496.0 + 2_097_152.0 * (room + 0.5)) / (1u64 << 30) as f64
            )
        };
        let roles = [r#""prefill""#, r#""decode""#, "null"];
        let instances: Vec<_> = roles.into_iter().zip(room).map(instance).collect();
        let mut inputs = inputs(&format!(
            r#"{{"num_nodes": 1, "link_bw": 16, "link_latency": 0, "nodes": [{{"num_instances": 3, "instances": [{}],
                "cpu_mem": {{"mem_size": 512, "mem_bw": 256, "mem_latency": 0}}}}]}}"#,
            instances.join(", ")
        ));
        flags(&mut inputs.flags);
        WorkloadLimits::of(&load(&inputs).unwrap().deployment)
    };
    let check = |limits: &WorkloadLimits, (input_tokens, output_tokens): (u64, u64), expected: &str| {
        let call = Call { input_tokens, output_tokens, ..Call::default() };
        let entry = Entry::plain(Instant::ZERO, RequestId(0), call);
        let mut faults = Faults::new();
        limits.check("workload.jsonl", &entry, &mut faults);
        let said = faults.to_string();
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected:?}\nbut\n{said}");
    };
    // The prefill instance holds prompts of 10 blocks.
    let small_prefill = limits([10.0, 20.0, 20.0], "", |_| {});
    check(&small_prefill, (160, 161), "");
    check(&small_prefill, (161, 1), "need KV for 161 tokens, and instance 0 has room for 160");
    check(&small_prefill, (160, 162), "need KV for 321 tokens, and instance 2 has room for 320");
    // The decode instance holds all but the last token, of requests that come to it.
    let small_decode = limits([20.0, 10.0, 20.0], "", |_| {});
    check(&small_decode, (320, 1), "");
    check(&small_decode, (159, 2), "");
    check(&small_decode, (160, 2), "need KV for 161 tokens, and instance 1 has room for 160");
    // Only who computes prompts must compute them in one step.
    let unsplit = r#""enable_chunked_prefill": false, "max_num_batched_tokens": 100,"#;
    check(&limits([20.0; 3], unsplit, |_| {}), (101, 1), "instance 0 computes at most 100 tokens in a step");
    check(&limits([20.0; 3], unsplit, |flags| flags.skip_prefill = true), (101, 1), "");
}
