//! Recorded runs of vLLM on real GPUs, part of the reference data.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A run of vLLM 0.19.0 with 300 requests.
#[derive(Clone, Copy, Debug)]
pub struct Recording {
    /// What it is called.
    pub title: &'static str,
    /// Its folder in `golden/bench`.
    pub folder: &'static str,
    /// The requests, in `workloads`.
    workload: &'static str,
    /// Whether the preset that ships is fitted to it.
    pub is_fitted: bool,
}

impl Recording {
    /// A mixture-of-experts model: data-parallel attention, experts shared.
    pub const QWEN3_30B: Self = Self {
        title: "RTXPRO6000, Qwen3-30B-A3B, DP+EP",
        folder: "RTXPRO6000/Qwen3-30B-A3B-Instruct-2507",
        workload: "sharegpt-qwen3-30b-a3b-300-sps10.jsonl",
        is_fitted: false,
    };
    /// A dense model on one GPU.
    pub const LLAMA: Self = Self {
        title: "RTXPRO6000, Llama-3.1-8B",
        folder: "RTXPRO6000/Llama-3.1-8B",
        workload: "sharegpt-llama-3.1-8b-300-sps10.jsonl",
        is_fitted: false,
    };
    /// A dense model on two GPUs.
    pub const QWEN3_32B: Self = Self {
        title: "RTXPRO6000, Qwen3-32B, TP 2",
        folder: "RTXPRO6000/Qwen3-32B",
        workload: "sharegpt-qwen3-30b-a3b-300-sps10.jsonl",
        is_fitted: true,
    };
    /// A dense model on one GPU that is short of memory for it.
    pub const LLAMA_RTX4090: Self = Self {
        title: "RTX4090, Llama-3.1-8B",
        folder: "RTX4090/Llama-3.1-8B",
        workload: "sharegpt-llama-3.1-8b-300-sps10.jsonl",
        is_fitted: true,
    };
    /// All of them.
    pub const ALL: [Self; 4] = [Self::QWEN3_30B, Self::LLAMA, Self::QWEN3_32B, Self::LLAMA_RTX4090];

    /// One of its files.
    pub fn file(&self, reference: &Path, name: &str) -> PathBuf {
        reference.join("golden/bench").join(self.folder).join(name)
    }

    /// What vLLM measured of each request.
    pub fn measured(&self, reference: &Path) -> PathBuf {
        self.file(reference, "vllm/requests.jsonl")
    }

    /// The flags of `servingsim run` that stand for it, with `--engine vllm`: requests arrive when they did, or when they
    /// were planned to.
    ///
    /// # Errors
    /// When the settings it was recorded with can't be read.
    pub fn run_flags(&self, reference: &Path, is_planned: bool) -> Result<Vec<String>, String> {
        let meta = self.file(reference, "vllm/meta.json");
        let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", meta.display());
        let text = fs::read_to_string(&meta).map_err(|error| fault(&error))?;
        let settings: Value = serde_json::from_str(&text).map_err(|error| fault(&error))?;
        let limit = |key: &str| settings["engine_kwargs"][key].to_string();
        let path = |path: PathBuf| path.display().to_string();
        let mut flags = vec![
            ("--engine", "vllm".to_owned()),
            ("--cluster-config", path(self.file(reference, "config.json"))),
            ("--dataset", path(reference.join("workloads").join(self.workload))),
            ("--profile-dir", path(reference.join("profiles"))),
            ("--model-dir", path(reference.join("models"))),
            ("--dtype", "bfloat16".to_owned()),
            ("--max-num-seqs", limit("max_num_seqs")),
            ("--max-num-batched-tokens", limit("max_num_batched_tokens")),
        ];
        if !is_planned {
            flags.push(("--arrivals-from", path(self.measured(reference))));
        }
        Ok(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect())
    }
}
