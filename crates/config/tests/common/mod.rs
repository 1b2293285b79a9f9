//! Clusters for tests, put together from their parts.

use config::{Inputs, LatencySource, Loaded, Source, load};

pub(crate) const LLAMA: &str = "meta-llama/Llama-3.1-8B";

/// Links that are alike in all dimensions.
pub(crate) const LINKS: &str = r#""link_bw": 16, "link_latency": 1000"#;

/// One instance of `model` on an RTXPRO6000 with further keys.
pub(crate) fn instance(model: &str, keys: &str) -> String {
    format!(
        r#"{{"model_name": "{model}", "hardware": "RTXPRO6000",
            "npu_mem": {{"mem_size": 96, "mem_bw": 1597.9, "mem_latency": 0}} {keys}}}"#
    )
}

/// A cluster of nodes with these instances, and further keys beside them. Memory of later nodes is faster.
pub(crate) fn cluster_of(nodes: &[Vec<String>], keys: &str) -> Inputs {
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
    let text = format!(r#"{{"num_nodes": {}, {keys}, "nodes": [{}]}}"#, nodes.len(), listed.join(", "));
    let mut inputs = Inputs::new(Source::Text { name: "cluster.json".to_owned(), text });
    inputs.latency_source = LatencySource::Analytic;
    inputs
}

/// What `inputs` become, which are sound.
pub(crate) fn loaded(inputs: &Inputs) -> Loaded {
    load(inputs).unwrap_or_else(|faults| panic!("{faults}"))
}
