//! What shall arrive.

use serde::Serialize;

/// What shall arrive.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadSection {
    /// Requests, every call of a session counted.
    pub requests: u64,
    /// Sessions of several calls.
    pub sessions: u64,
    /// Prompt tokens.
    pub prompt: Tokens,
    /// Tokens to generate.
    pub output: Tokens,
    /// When the first arrives.
    pub first_arrival_s: f64,
    /// When the last arrives; later calls of sessions follow.
    pub last_arrival_s: f64,
    /// All requests by the time between the two; left out where no time passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// The same of prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s: Option<f64>,
    /// The same of generated tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
    /// Time that tools of sessions take.
    pub tool_time_s: f64,
    /// Whether prompts list token ids, without which no prefix is found.
    pub has_token_ids: bool,
    /// How much of what instances can do is asked of them.
    pub load: Vec<Load>,
}

/// Tokens of requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tokens {
    /// Of all.
    pub total: u64,
    /// Of one on average.
    pub mean: f64,
    /// Of the shortest.
    pub min: u64,
    /// Of the longest.
    pub max: u64,
}

/// What is asked of the instances of one role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// `whole`, `prefill` or `decode`.
    pub role: &'static str,
    /// Prompt tokens that they could compute in full steps and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s_max: Option<f64>,
    /// Tokens that they could generate in the largest decode steps and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s_max: Option<f64>,
    /// The time that the workload's tokens take at these rates, by the time in which they arrive. Above 1, requests pile
    /// up. Prefix hits are not counted, nor is that steps mix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}
