//! Clusters and workloads of any size, made up for measuring: the same call gives the same bytes.

use std::fs;
use std::io;
use std::path::Path;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Requests that arrive as a Poisson process, with lengths that are uniformly distributed, and no token ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeneratedWorkload {
    /// How many there are.
    pub num_requests: u64,
    /// How many arrive in a second, on average.
    pub requests_per_s: f64,
    /// Of lengths and arrivals.
    pub seed: u64,
}

/// One request of a [`GeneratedWorkload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedRequest {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens to generate.
    pub output_tokens: u64,
    /// When it arrives.
    pub arrival_ns: u64,
}

/// Tokens of a prompt: at least, and at most.
const INPUT_TOKENS: (u64, u64) = (128, 1024);
/// Tokens to generate: at least, and at most.
const OUTPUT_TOKENS: (u64, u64) = (32, 256);

impl GeneratedWorkload {
    /// The requests, in order of arrival.
    pub fn requests(&self) -> impl Iterator<Item = GeneratedRequest> + use<> {
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed);
        let mean_gap_ns = 1e9 / self.requests_per_s;
        let mut now_ns = 0.0;
        (0..self.num_requests).map(move |_| {
            // Above 0 and at most 1, in steps of 2^-53.
            let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            now_ns -= uniform.ln() * mean_gap_ns;
            let mut between = |(least, most): (u64, u64)| least + rng.next_u64() % (most - least + 1);
            GeneratedRequest {
                input_tokens: between(INPUT_TOKENS),
                output_tokens: between(OUTPUT_TOKENS),
                arrival_ns: now_ns as u64,
            }
        })
    }

    /// Writes them as a workload file, one a line.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = io::BufWriter::new(fs::File::create(path)?);
        for GeneratedRequest { input_tokens, output_tokens, arrival_ns } in self.requests() {
            use io::Write as _;
            writeln!(
                file,
                r#"{{"input_toks":{input_tokens},"output_toks":{output_tokens},"arrival_time_ns":{arrival_ns}}}"#
            )?;
        }
        io::Write::flush(&mut file)
    }
}

/// Instances of one model on one RTXPRO6000 each, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedCluster {
    /// The model.
    pub model: &'static str,
    /// How many instances there are.
    pub num_instances: u64,
    /// How many of them share a node; the last node may have fewer.
    pub per_node: u64,
    /// Whether they are one data-parallel group that shares its experts, or independent.
    pub shares_experts: bool,
}

impl GeneratedCluster {
    /// Independent instances of Llama-3.1-8B, eight to a node.
    pub fn llama(num_instances: u64) -> Self {
        Self { model: "meta-llama/Llama-3.1-8B", num_instances, per_node: 8, shares_experts: false }
    }

    /// One group of Qwen3-30B-A3B on one node: attention in each member, experts shared by all.
    pub fn qwen_group(num_members: u64) -> Self {
        let model = "Qwen/Qwen3-30B-A3B-Instruct-2507";
        Self { model, num_instances: num_members, per_node: num_members, shares_experts: true }
    }

    /// Its cluster file.
    pub fn json(&self) -> Value {
        let mut instance = json!({
            "model_name": self.model,
            "hardware": "RTXPRO6000",
            "npu_mem": {"mem_size": 96, "mem_bw": 1597, "mem_latency": 0},
            "num_npus": 1,
            "tp_size": 1,
            "pd_type": null,
        });
        if self.shares_experts {
            instance["ep_size"] = self.num_instances.into();
            instance["dp_group"] = "A".into();
        }
        let node = |first: u64| {
            let num_instances = self.per_node.min(self.num_instances - first);
            json!({
                "num_instances": num_instances,
                "cpu_mem": {"mem_size": 512, "mem_bw": 256, "mem_latency": 0},
                "instances": vec![instance.clone(); num_instances as usize],
            })
        };
        let nodes: Vec<Value> = (0..self.num_instances).step_by(self.per_node as usize).map(node).collect();
        json!({"num_nodes": nodes.len(), "link_bw": 16, "link_latency": 20000, "nodes": nodes})
    }

    /// Writes its cluster file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, format!("{:#}\n", self.json()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_the_rate_and_lengths_that_were_asked_for() {
        let workload = GeneratedWorkload { num_requests: 10_000, requests_per_s: 10.0, seed: 1 };
        let requests: Vec<_> = workload.requests().collect();
        assert_eq!(requests, workload.requests().collect::<Vec<_>>(), "the same every time");
        assert!(requests.is_sorted_by_key(|request| request.arrival_ns));
        // The sum of 10,000 gaps is within 3 % of its mean but once in 370 seeds.
        let seconds = requests[9_999].arrival_ns as f64 / 1e9;
        assert!((970.0..1_030.0).contains(&seconds), "{seconds} s");
        let lengths = |tokens: fn(&GeneratedRequest) -> u64| {
            let tokens = requests.iter().map(tokens);
            (tokens.clone().min(), tokens.max())
        };
        assert_eq!(lengths(|request| request.input_tokens), (Some(128), Some(1024)));
        assert_eq!(lengths(|request| request.output_tokens), (Some(32), Some(256)));
    }

    #[test]
    fn nodes_hold_all_instances() {
        let instances = |cluster: GeneratedCluster| -> Vec<usize> {
            let json = cluster.json();
            json["nodes"]
                .as_array()
                .expect("nodes")
                .iter()
                .map(|node| node["instances"].as_array().unwrap().len())
                .collect()
        };
        assert_eq!(instances(GeneratedCluster::llama(1)), [1]);
        assert_eq!(instances(GeneratedCluster::llama(20)), [8, 8, 4]);
        assert_eq!(instances(GeneratedCluster::qwen_group(64)), [64]);
    }
}
