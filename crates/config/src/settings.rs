//! Run-time settings: the flags, and what each instance sets for itself instead.

use std::str::FromStr;

use diagnostics::{Fault, Faults};
use documents::Bounds;
use engine::{All2AllBackend, CaptureSizes, Engine, Polling, RequestRouting, RunOptions, SchedulerSpec};
use model::{Dtype, KvCacheDtype, Model};
use units::Duration;

use crate::instances::Instance;

/// Most tokens of a KV block.
pub(crate) const BLOCK_SIZE_MOST: u64 = 1 << 20;

/// Where the prefix cache below the NPUs' is; by name `None`, `CPU` or `CXL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixStorage {
    /// There is none.
    #[default]
    None,
    /// In host memory.
    Cpu,
    /// In CXL memory.
    Cxl,
}

impl FromStr for PrefixStorage {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "None" => Ok(PrefixStorage::None),
            "CPU" => Ok(PrefixStorage::Cpu),
            "CXL" => Ok(PrefixStorage::Cxl),
            _ => Err(()),
        }
    }
}

/// Run-time flags, named as LLMServingSim and vLLM name them. The default is their default.
#[derive(Clone, Debug, PartialEq)]
pub struct Flags {
    /// `--network-model`: whether messages slow each other down.
    pub network_model: network::NetworkModel,
    /// `--dtype`: type of weights and activations; `None` for the model's own.
    pub dtype: Option<Dtype>,
    /// `--kv-cache-dtype`.
    pub kv_cache_dtype: KvCacheDtype,
    /// `--block-size`: tokens of a KV block, at least 1.
    pub block_size: u64,
    /// `--max-num-seqs`: most sequences running in an instance; 0 for no limit.
    pub max_num_seqs: u64,
    /// `--max-num-batched-tokens`: most tokens of a step; 0 for no limit but the model's longest sequence.
    pub max_num_batched_tokens: u64,
    /// `--long-prefill-token-threshold`: most tokens of one prompt in a step; 0 for no limit.
    pub long_prefill_token_threshold: u64,
    /// `--enable-chunked-prefill`: whether a prompt may be split over steps.
    pub chunked_prefill: bool,
    /// `--enable-prefix-caching`: whether KV blocks are found again by what they hold.
    pub prefix_caching: bool,
    /// `--prefix-storage`: where prefixes are kept beside the NPUs.
    pub prefix_storage: PrefixStorage,
    /// `--enable-prefix-sharing`: whether the instances of a node (CPU) or of the cluster (CXL) share it.
    pub prefix_sharing: bool,
    /// `--reserve-full-isl`: whether a request is admitted only when all of it fits.
    pub reserve_full_isl: bool,
    /// `--enable-block-copy`: whether one block's expert routing serves all blocks.
    pub block_copy: bool,
    /// `--enable-local-offloading`: whether weights on the NPU are loaded from its memory before each layer.
    pub local_offloading: bool,
    /// `--enable-attn-offloading`: whether attention of decodes is computed in host memory.
    pub attn_offloading: bool,
    /// `--enable-sub-batch-interleaving`: whether a step runs as two halves that alternate between NPU and memory.
    pub sub_batch_interleaving: bool,
    /// `--skip-prefill`: whether requests bring the KV of their prompts along, all but the last token's.
    pub skip_prefill: bool,
    /// `--npu-memory-utilization`: the share of NPU memory for weights and KV, above 0 and at most 1.
    pub npu_memory_utilization: f64,
    /// `--request-routing-policy`.
    pub request_routing: RequestRouting,
    /// `--expert-routing-policy`.
    pub expert_routing: moe::Policy,
    /// `--all2all-backend`.
    pub all2all_backend: All2AllBackend,
    /// `--polling`.
    pub polling: Polling,
    /// `--engine`.
    pub engine: Engine,
    /// `--cudagraph-capture-sizes`: steps, in tokens, that are launched as one graph; `None` for vLLM's own choice.
    pub capture_sizes: Option<Vec<u64>>,
    /// `--log-interval`: simulated seconds between two interval reports, at least 1 ns.
    pub log_interval_s: f64,
    /// `--seed`: of every random stream.
    pub seed: u64,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            network_model: network::NetworkModel::default(),
            dtype: None,
            kv_cache_dtype: KvCacheDtype::Auto,
            block_size: 16,
            max_num_seqs: 128,
            max_num_batched_tokens: 2048,
            long_prefill_token_threshold: 0,
            chunked_prefill: true,
            prefix_caching: true,
            prefix_storage: PrefixStorage::default(),
            prefix_sharing: false,
            reserve_full_isl: true,
            block_copy: true,
            local_offloading: false,
            attn_offloading: false,
            sub_batch_interleaving: false,
            skip_prefill: false,
            npu_memory_utilization: 0.9,
            request_routing: RequestRouting::default(),
            expert_routing: moe::Policy::default(),
            all2all_backend: All2AllBackend::default(),
            polling: Polling::default(),
            engine: Engine::default(),
            capture_sizes: None,
            log_interval_s: 1.0,
            seed: 0,
        }
    }
}

impl Flags {
    /// Tells the flags whose values make no sense.
    pub(crate) fn check(&self, faults: &mut Faults) {
        if !(1..=BLOCK_SIZE_MOST).contains(&self.block_size) {
            let message = format!("expected a number of tokens from 1 to {BLOCK_SIZE_MOST}, found {}", self.block_size);
            faults.push(Fault::new("--block-size", message).hint("16 is usual"));
        }
        let utilization = self.npu_memory_utilization;
        if !Bounds::FRACTION.contain(utilization) {
            let message = format!("expected a number {}, found {utilization}", Bounds::FRACTION);
            let hint = "it is a share of NPU memory: 0.9 rather than 90";
            faults.push(Fault::new("--npu-memory-utilization", message).hint(hint));
        }
        if let Some(sizes) = &self.capture_sizes
            && (sizes.contains(&0) || !sizes.is_sorted_by(|a, b| a < b))
        {
            let message = "expected numbers of tokens of at least 1, each greater than the one before";
            faults.push(Fault::new("--cudagraph-capture-sizes", message).hint("write 1,2,4,8,16 for example"));
        }
        let seconds = Bounds::From { least: 1e-9, most: 1e9 };
        if !seconds.contain(self.log_interval_s) {
            let message = format!("expected a number of seconds {seconds}, found {}", self.log_interval_s);
            faults.push(Fault::new("--log-interval", message).hint("1 is usual"));
        }
    }

    /// Steps that an instance with this scheduler launches as one graph.
    pub(crate) fn capture_sizes(&self, scheduler: &SchedulerSpec) -> CaptureSizes {
        match &self.capture_sizes {
            // vLLM drops those beyond a step's budget.
            Some(sizes) => {
                let sizes = sizes.iter().copied().filter(|&size| size <= scheduler.max_num_batched_tokens);
                CaptureSizes::new(sizes.collect::<Vec<_>>())
            }
            None => CaptureSizes::default_for(scheduler),
        }
    }

    /// How the run goes.
    pub(crate) fn run_options(&self) -> RunOptions {
        RunOptions {
            request_routing: self.request_routing,
            expert_routing: self.expert_routing,
            all2all_backend: self.all2all_backend,
            polling: self.polling,
            engine: self.engine,
            log_interval: Duration::from_ns((self.log_interval_s * 1e9) as u64),
            seed: self.seed,
        }
    }
}

/// The settings of one instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) scheduler: SchedulerSpec,
    pub(crate) block_size: u64,
    pub(crate) prefix_caching: bool,
    pub(crate) dtype: Dtype,
    pub(crate) kv_cache_dtype: KvCacheDtype,
    pub(crate) memory_utilization: f64,
    pub(crate) block_copy: bool,
    pub(crate) local_offloading: bool,
    pub(crate) attn_offloading: bool,
    pub(crate) sub_batch_interleaving: bool,
}

impl Settings {
    /// What `instance` says, else what the flags say, else what suits `model`.
    pub(crate) fn of(instance: &Instance, flags: &Flags, model: &Model) -> Self {
        let own = &instance.overrides;
        let unless_zero = |limit: u64| (limit != 0).then_some(limit);
        let max_num_seqs = own.max_num_seqs.unwrap_or(flags.max_num_seqs);
        let max_num_batched_tokens = own.max_num_batched_tokens.unwrap_or(flags.max_num_batched_tokens);
        let longest = model.max_position_embeddings;
        Self {
            scheduler: SchedulerSpec {
                max_num_seqs: unless_zero(max_num_seqs),
                max_num_batched_tokens: unless_zero(max_num_batched_tokens).map_or(longest, |most| most.min(longest)),
                long_prefill_token_threshold: own
                    .long_prefill_token_threshold
                    .unwrap_or(flags.long_prefill_token_threshold),
                chunked_prefill: own.chunked_prefill.unwrap_or(flags.chunked_prefill),
                reserve_full_isl: own.reserve_full_isl.unwrap_or(flags.reserve_full_isl),
            },
            block_size: own.block_size.unwrap_or(flags.block_size),
            prefix_caching: own.prefix_caching.unwrap_or(flags.prefix_caching),
            dtype: own.dtype.or(flags.dtype).or(model.torch_dtype).unwrap_or(Dtype::Bfloat16),
            kv_cache_dtype: own.kv_cache_dtype.unwrap_or(flags.kv_cache_dtype),
            memory_utilization: instance.npu_memory.utilisation.unwrap_or(flags.npu_memory_utilization),
            block_copy: own.block_copy.unwrap_or(flags.block_copy),
            local_offloading: own.local_offloading.unwrap_or(flags.local_offloading),
            attn_offloading: own.attn_offloading.unwrap_or(flags.attn_offloading),
            sub_batch_interleaving: own
                .sub_batch_interleaving
                .as_ref()
                .map_or(flags.sub_batch_interleaving, |switch| switch.value),
        }
    }

    /// Bytes of one element of a key or value.
    pub(crate) fn kv_element_bytes(&self) -> u64 {
        self.kv_cache_dtype.bytes(self.dtype)
    }

    /// The type of keys and values.
    pub(crate) fn kv_dtype(&self) -> Dtype {
        match self.kv_cache_dtype {
            KvCacheDtype::Auto => self.dtype,
            KvCacheDtype::Fp8 => Dtype::Fp8,
        }
    }
}
