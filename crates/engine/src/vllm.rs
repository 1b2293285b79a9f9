//! What is particular to vLLM's engine core (V1), beside the order of its steps.

use std::sync::Arc;

use units::Duration;

use crate::deployment::SchedulerSpec;

/// How vLLM's engine core goes about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vllm {
    /// Whether the next batch is formed while one runs (`step_with_batch_queue`), or when it is through (`step`).
    pub async_scheduling: bool,
    /// What its host takes.
    pub host: HostTimes,
    /// By how much a group's first step is late: kernels are loaded and tuned on first use.
    pub warm_up: Duration,
    /// Which of its ways with a GPU are followed.
    pub kernels: Kernels,
    /// Whether members of a group that shares experts agree on being done only now and then, and keep pace until they do.
    pub waves: bool,
    /// Whether requests are routed by the loads that engines published last, not by what they are.
    pub published_loads: bool,
}

/// Ways in which a step on vLLM's GPUs differs from the sum of what was profiled. Each can be left out, to see what it
/// is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// Prompt chunks of one step attend each to its own history, not as one long chunk; and decodes that differ in
    /// length cost what is left of the longest when most are through (see [`latency::VarlenAttention`]).
    pub varlen_attention: bool,
    /// Steps are padded to a captured size, and to that of a group's other members only where all are launched as graphs;
    /// logits are taken of real sequences only.
    pub graph_padding: bool,
    /// Experts compute the tokens of all members of their group, not of one.
    pub group_experts: bool,
}

/// Time that an engine's host takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTimes {
    /// To schedule a step and prepare its launch, whatever it holds. It passes beside the GPU's work where a batch is
    /// formed ahead.
    pub step: Duration,
    /// More for each sequence of the step.
    pub sequence: Duration,
    /// More for each request that starts in it.
    pub new_request: Duration,
    /// For which the GPU waits in each block of a step that is not a single captured graph.
    pub block: Duration,
    /// From a request's arrival at the front end until its engine can see it.
    pub frontend_request: Duration,
    /// From a token's being computed until the client has it.
    pub frontend_token: Duration,
}

/// Sizes, in tokens, for which a step's graph was captured, in ascending order; without any, steps are launched piece by
/// piece (`--enforce-eager`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureSizes(Arc<[u64]>);

/// The largest step that vLLM captures unless told otherwise.
const MOST_CAPTURED: u64 = 512;

impl Default for Vllm {
    fn default() -> Self {
        Self {
            async_scheduling: true,
            host: HostTimes::default(),
            warm_up: Duration::ZERO,
            kernels: Kernels { varlen_attention: true, graph_padding: true, group_experts: true },
            waves: true,
            published_loads: true,
        }
    }
}

impl Vllm {
    /// A core that has one batch in flight, takes no time itself and runs what was profiled.
    pub const PLAIN: Self = Self {
        async_scheduling: false,
        host: HostTimes {
            step: Duration::ZERO,
            sequence: Duration::ZERO,
            new_request: Duration::ZERO,
            block: Duration::ZERO,
            frontend_request: Duration::ZERO,
            frontend_token: Duration::ZERO,
        },
        warm_up: Duration::ZERO,
        kernels: Kernels { varlen_attention: false, graph_padding: false, group_experts: false },
        waves: false,
        published_loads: false,
    };
}

impl Vllm {
    /// The parts that can be left out, by name, and whether each is in.
    pub fn parts_mut(&mut self) -> [(&'static str, &mut bool); 5] {
        let Kernels { varlen_attention, graph_padding, group_experts } = &mut self.kernels;
        [
            ("varlen-attention", varlen_attention),
            ("graph-padding", graph_padding),
            ("group-experts", group_experts),
            ("waves", &mut self.waves),
            ("published-loads", &mut self.published_loads),
        ]
    }

    /// The names of those that are left out.
    pub fn left_out(mut self) -> Vec<&'static str> {
        self.parts_mut().into_iter().filter(|(_, is_in)| !**is_in).map(|(name, _)| name).collect()
    }
}

impl HostTimes {
    /// The times by name.
    pub fn named(mut self) -> [(&'static str, Duration); 6] {
        self.named_mut().map(|(name, time)| (name, *time))
    }

    /// The same, to be changed.
    pub fn named_mut(&mut self) -> [(&'static str, &mut Duration); 6] {
        let Self { step, sequence, new_request, block, frontend_request, frontend_token } = self;
        [
            ("step", step),
            ("sequence", sequence),
            ("new_request", new_request),
            ("block", block),
            ("frontend_request", frontend_request),
            ("frontend_token", frontend_token),
        ]
    }
}

impl CaptureSizes {
    /// These sizes.
    ///
    /// # Panics
    /// When they are not in ascending order.
    pub fn new(sizes: impl Into<Arc<[u64]>>) -> Self {
        let sizes = sizes.into();
        assert!(sizes.is_sorted(), "captured sizes in ascending order");
        Self(sizes)
    }

    /// vLLM's own choice: 1, 2, 4, then every 8 up to 256, then every 16 up to 512, but none beyond twice the sequences
    /// that may run or beyond a step's budget (`VllmConfig._set_cudagraph_sizes`).
    pub fn default_for(scheduler: &SchedulerSpec) -> Self {
        let twice = scheduler.max_num_seqs.map_or(MOST_CAPTURED, |most| most.saturating_mul(2));
        let most = MOST_CAPTURED.min(twice).min(scheduler.max_num_batched_tokens);
        let sizes = [1, 2, 4].into_iter().chain((8..256).step_by(8)).chain((256..=MOST_CAPTURED).step_by(16));
        Self(sizes.filter(|&size| size <= most).collect())
    }

    /// Whether no step is launched as one graph.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a step of `tokens` tokens is padded to; `None` where it is larger than all.
    pub(crate) fn padded(&self, tokens: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|&size| size < tokens)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_to_the_next_captured_size() {
        let sizes = CaptureSizes::new([1, 2, 4, 8]);
        assert_eq!([0, 1, 3, 8, 9].map(|tokens| sizes.padded(tokens)), [Some(1), Some(1), Some(4), Some(8), None]);
        assert_eq!(CaptureSizes::default().padded(1), None);
    }

    #[test]
    fn sizes_captured_by_default() {
        let sizes = |max_num_seqs, max_num_batched_tokens| {
            CaptureSizes::default_for(&SchedulerSpec {
                max_num_seqs,
                max_num_batched_tokens,
                long_prefill_token_threshold: 0,
                chunked_prefill: true,
                reserve_full_isl: true,
            })
        };
        // As a run of vLLM 0.19.0 with 256 sequences told them: 51 sizes, up to 512.
        let CaptureSizes(of_256) = sizes(Some(256), 2048);
        assert_eq!((of_256.len(), of_256[35], of_256[50]), (51, 272, 512));
        assert_eq!(sizes(None, 2048), sizes(Some(256), 2048));
        assert_eq!(sizes(Some(4), 2048), CaptureSizes::new([1, 2, 4, 8]));
        assert_eq!(sizes(Some(256), 20), CaptureSizes::new([1, 2, 4, 8, 16]));
    }
}
