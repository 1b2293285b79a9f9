//! Flags of LLMServingSim that are refused, each with its reason: silently doing something else would be worse.

use diagnostics::{Fault, Faults};

use crate::args::RunArgs;

/// Every flag given that can't be followed.
pub(crate) fn refused_flags(args: &RunArgs) -> Faults {
    let mut faults = Faults::new();
    let mut refuse = |is_given: bool, flag: &str, message: &str, hint: &str| {
        if is_given {
            faults.push(Fault::new(flag, message).hint(hint));
        }
    };
    let later = &args.later;
    let sharing = "a prefix cache that instances share is not modelled yet";
    let own_prefixes = "leave the flag out: each instance finds its own prefixes again";
    refuse(later.enable_prefix_sharing, "--enable-prefix-sharing", sharing, own_prefixes);
    let lower_tier = format!("a prefix cache in {} memory is not modelled yet", later.prefix_storage);
    let on_npu = "use `None`, the default: prefixes are kept in NPU memory";
    refuse(later.prefix_storage != "None", "--prefix-storage", &lower_tier, on_npu);
    let weights = "offloading of weights is not modelled yet";
    let weights_stay = "leave the flag out: weights stay in NPU memory";
    refuse(later.enable_local_offloading, "--enable-local-offloading", weights, weights_stay);
    let attention = "attention on processing-in-memory devices is not modelled yet";
    let attention_stays = "leave the flag out: attention runs on the NPU";
    refuse(later.enable_attn_offloading, "--enable-attn-offloading", attention, attention_stays);
    let halves = "interleaving of sub-batches is not modelled yet";
    let whole = "leave the flag out: a step runs as one batch";
    refuse(later.enable_sub_batch_interleaving, "--enable-sub-batch-interleaving", halves, whole);
    let decode_only = "decoding without prefill is not modelled yet";
    refuse(later.skip_prefill, "--skip-prefill", decode_only, "leave the flag out: prompts are computed");
    let custom = "a policy of one's own is not supported yet";
    let is_custom = |policy: &str| policy == "CUSTOM";
    let routing = &args.routing;
    let requests = "use LOAD, the default, RR or RAND";
    refuse(is_custom(&routing.request_routing_policy), "--request-routing-policy", custom, requests);
    let experts = "use BALANCED, the default, RR or RAND";
    refuse(is_custom(&routing.expert_routing_policy), "--expert-routing-policy", custom, experts);
    let ns3 = "servingsim times the network itself and has no ns-3 backend";
    refuse(args.engine.network_backend == "ns3", "--network-backend", ns3, "use `analytical`, the default");
    let no_files = "servingsim runs in one process and writes no intermediate files";
    let without = "leave the flag out";
    refuse(later.run_id.is_some(), "--run-id", no_files, without);
    refuse(later.inputs_root.is_some(), "--inputs-root", no_files, without);
    refuse(later.cleanup_inputs, "--cleanup-inputs", no_files, without);
    refuse(later.no_cleanup_inputs, "--no-cleanup-inputs", no_files, without);
    faults
}
