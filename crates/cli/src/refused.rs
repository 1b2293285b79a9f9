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
    let without = "leave the flag out";
    let not_yet = "not modelled yet";
    refuse(later.enable_prefix_sharing, "--enable-prefix-sharing", not_yet, without);
    let lower_tier = format!("a prefix cache in {} memory is not modelled yet", later.prefix_storage);
    refuse(later.prefix_storage != "None", "--prefix-storage", &lower_tier, "use `None`: prefixes are kept on the NPU");
    refuse(later.enable_local_offloading, "--enable-local-offloading", not_yet, without);
    refuse(later.enable_attn_offloading, "--enable-attn-offloading", not_yet, without);
    refuse(later.enable_sub_batch_interleaving, "--enable-sub-batch-interleaving", not_yet, without);
    refuse(later.skip_prefill, "--skip-prefill", not_yet, without);
    let custom = "custom policies are not supported yet";
    let is_custom = |policy: &str| policy == "CUSTOM";
    let routing = &args.routing;
    let requests = "use LOAD, RR or RAND";
    refuse(is_custom(&routing.request_routing_policy), "--request-routing-policy", custom, requests);
    let experts = "use BALANCED, RR or RAND";
    refuse(is_custom(&routing.expert_routing_policy), "--expert-routing-policy", custom, experts);
    let ns3 = "servingsim simulates the network itself and has no ns-3 backend";
    refuse(args.engine.network_backend == "ns3", "--network-backend", ns3, "use `analytical`");
    let no_files = "servingsim runs in one process and writes no intermediate files";
    refuse(later.run_id.is_some(), "--run-id", no_files, without);
    refuse(later.inputs_root.is_some(), "--inputs-root", no_files, without);
    refuse(later.cleanup_inputs, "--cleanup-inputs", no_files, without);
    refuse(later.no_cleanup_inputs, "--no-cleanup-inputs", no_files, without);
    faults
}
