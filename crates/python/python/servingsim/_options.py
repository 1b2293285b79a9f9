"""The options of a run. Written by `tests/options.py` from the flags of the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, TypedDict

from ._native import ExpertBlock, InstanceLoad, RoutedRequest


class Options(TypedDict, total=False):
    """Keywords of :func:`run`: the flags of `servingsim run`. `None` is as good as not given."""

    example: str | None
    """Run a built-in example (`servingsim examples` lists them)."""

    arrivals_from: str | os.PathLike[str] | None
    """Have requests arrive as they did in a measured run (requests.jsonl of a recording, or a CSV), not as the workload
    plans."""

    num_reqs: int | None
    """Read only so many entries of the workload, a session counting as one; 0 for all."""

    num_req: int | None
    """Another name of `num_reqs`."""

    profile_dir: str | os.PathLike[str] | None
    """Measured latency: a tree `<hardware>/<org>/<model>/<variant>/`."""

    model_dir: str | os.PathLike[str] | None
    """Model configurations: a tree `<org>/<model>.json`, in Hugging Face's format."""

    architecture_dir: str | os.PathLike[str] | None
    """Model families: `<model_type>.yaml`, for families that are not built in."""

    dtype: Literal["float16", "bfloat16", "float32", "fp8", "int8"] | None
    """Type of weights and activations [default: the model's own]."""

    kv_cache_dtype: Literal["auto", "fp8"] | None
    """Type of the KV cache."""

    block_size: int | None
    """Tokens of a KV block."""

    npu_memory_utilization: float | None
    """Share of NPU memory for weights and KV cache, with `--engine vllm` for activations and the runtime too."""

    latency_source: Literal["profile", "analytic"] | None
    """Where operator times come from [default: profile where there is one, else analytic]."""

    gpu_constants: str | os.PathLike[str] | None
    """Constants of the analytic latency model, as `profile fit` writes them."""

    prefix_storage: Literal["None", "CPU", "CXL"] | None
    """Keep prefixes that the NPUs lose in another memory too."""

    enable_prefix_sharing: bool | None
    """Let the instances of a node (CPU) or of the cluster (CXL) share that memory's prefixes."""

    enable_local_offloading: bool | None
    """Load weights from the NPU's memory before each layer, for profiles that leave this out."""

    enable_attn_offloading: bool | None
    """Compute attention of decodes in host memory (PIM), of the type that the cluster names as `pim_config`."""

    enable_sub_batch_interleaving: bool | None
    """Run each step as two halves that alternate between NPU and memory; needs attention offloading."""

    pim_dir: str | os.PathLike[str] | None
    """Memory types: `<type>.ini`, before those that are built in."""

    max_num_seqs: int | None
    """Most sequences running at once in an instance; 0 for no limit."""

    max_num_batched_tokens: int | None
    """Most tokens of one step; 0 for no limit."""

    long_prefill_token_threshold: int | None
    """Most tokens of one prompt in one step; 0 for no limit."""

    enable_chunked_prefill: bool | None
    """Split long prompts over several steps (default)."""

    no_enable_chunked_prefill: bool | None
    """Run every prompt in one step."""

    enable_prefix_caching: bool | None
    """Find KV blocks of shared prefixes again (default)."""

    no_enable_prefix_caching: bool | None
    """Compute every prompt anew."""

    reserve_full_isl: bool | None
    """Admit a request only when its whole prompt fits the KV cache (default)."""

    no_reserve_full_isl: bool | None
    """Admit a request when its first chunk fits."""

    skip_prefill: bool | None
    """Let requests bring the KV of their prompts along, so that only the last prompt token is computed."""

    request_routing_policy: Literal["LOAD", "RR", "RAND", "CUSTOM"] | Callable[[RoutedRequest, list[InstanceLoad]], SupportsIndex] | None
    """How requests find an instance: least loaded, round robin, random."""

    expert_routing_policy: Literal["BALANCED", "COPY", "UNIFORM", "RR", "RAND", "CUSTOM"] | Callable[[ExpertBlock], Any] | None
    """How tokens find experts: balanced gate, all equally likely, the first experts, random; COPY is an older name of
    BALANCED [default: BALANCED, and UNIFORM with --engine vllm]."""

    request_routing_file: str | os.PathLike[str] | None
    """Send each request where this file says (CSV: `request,instance`)."""

    expert_routing_file: str | os.PathLike[str] | None
    """Route tokens to experts as recorded in this file: shares by layer (CSV), or choices (JSONL)."""

    enable_block_copy: bool | None
    """Let one block's expert routing serve all blocks (default)."""

    no_enable_block_copy: bool | None
    """Route every block's experts anew."""

    all2all_backend: Literal["allgather_reducescatter", "alltoall"] | None
    """Which collectives carry tokens to experts and back."""

    engine: Literal["reference", "vllm"] | None
    """How an engine steps: one step after the other, or as vLLM's engine core does, which forms the next batch while
    one runs."""

    no_async_scheduling: bool | None
    """With `--engine vllm`, let it form a batch when the one before is through."""

    preset: str | os.PathLike[str] | None
    """With `--engine vllm`, what its host takes: a preset that ships, `none`, or a file as `servingsim calibrate`
    writes [default: vllm-0.19]."""

    cudagraph_capture_sizes: Sequence[int] | str | None
    """With `--engine vllm`, steps that are launched as one graph, in tokens [default: as vLLM chooses]."""

    enforce_eager: bool | None
    """With `--engine vllm`, launch every step piece by piece."""

    warm_up: float | None
    """With `--engine vllm`, by how much the first step is late, in milliseconds: kernels are loaded on first use."""

    without: Sequence[str] | str | None
    """With `--engine vllm`, leave out a part of it, to see what it is worth."""

    polling: Literal["exact", "reference"] | None
    """When an idle instance sees work: at once, or when LLMServingSim would ask it."""

    network_model: Literal["unaware", "aware"] | None
    """Whether messages slow each other down: unaware (never) or aware (a link carries one at a time)."""

    seed: int | None
    """Seed of everything random."""

    network_backend: Literal["analytical", "ns3"] | None
    """How the network is simulated."""

    output: str | os.PathLike[str] | None
    """Write one row a request to this file (CSV; Parquet where it ends in .parquet)."""

    output_stamps: bool | None
    """Add to the rows of `--output` when the engine saw a request, first put it into a batch and had its first token,
    and when the client had it (columns queued, first_scheduled, first_token, first_delivered)."""

    no_itl: bool | None
    """Leave the inter-token latencies of each request out of `--output`; they are most of the file."""

    interval_output: str | os.PathLike[str] | None
    """Write what instances, groups and nodes did in each log interval to this file (CSV; Parquet where it ends in
    .parquet)."""

    report: str | os.PathLike[str] | None
    """Write everything onto one page that draws it (HTML): what happened over time, latencies, where steps spend their
    time, who waited for whom, every request."""

    chakra_dir: str | os.PathLike[str] | None
    """Write Chakra traces of the steps into this folder, which must be empty or not there, with what they can be
    replayed on."""

    chakra_batches: Sequence[int | str] | str | None
    """Of which steps of each group, counted from 0, such as `0-9,20` [default: all]."""

    chakra_schema: Literal["llmservingsim", "mlcommons"] | None
    """How node types are numbered: as LLMServingSim's fork of Chakra does, or as MLCommons does."""

    trace: str | os.PathLike[str] | None
    """Write who did what when to this file, for Perfetto's page (ui.perfetto.dev): requests, batches, NPUs, counters.
    Compressed if the name ends with `.gz`."""

    trace_window: str | None
    """Of the run, only so much simulated time, such as `1.5s..2s`, `..500ms` or `30s..`."""

    trace_steps: str | None
    """Of the run, only these steps of each group, counted from 0, such as `100..120`, the last one included."""

    trace_level: Literal["requests", "steps", "layers"] | None
    """In what detail: requests and counters; batches and steps of NPUs as well; layers, collectives, memory accesses
    and waits of NPUs as well [default: steps, and layers with --trace-window or --trace-steps]."""

    log_interval: float | None
    """Simulated seconds of a log interval: between two lines on the console, and two rows of the interval file."""

    run_id: str | None
    """Kept for LLMServingSim's sake; it changes nothing."""

    inputs_root: str | os.PathLike[str] | None
    """Kept for LLMServingSim's sake; it changes nothing."""

    cleanup_inputs: bool | None
    """Kept for LLMServingSim's sake; it changes nothing."""

    no_cleanup_inputs: bool | None
    """Kept for LLMServingSim's sake; it changes nothing."""
