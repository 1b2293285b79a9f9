//! Flags of LLMServingSim that are refused, each with its reason: silently doing something else would be worse.

use diagnostics::{Fault, Faults};

use crate::args::{EngineArgs, EngineName, RunArgs};

/// Every flag given that can't be followed.
pub(crate) fn refused_flags(args: &RunArgs) -> Faults {
    let mut faults = Faults::new();
    let mut refuse = |is_given: bool, flag: &str, message: &str, hint: &str| {
        if is_given {
            faults.push(Fault::new(flag, message).hint(hint));
        }
    };
    let routing = &args.routing;
    let expert_policy = routing.expert_routing_policy.as_deref().unwrap_or_default();
    let lacks_file = |policy: &str, has_file: bool| policy == "CUSTOM" && !has_file;
    let custom = "a policy of one's own takes a file of recorded routes, or a program that uses the library";
    refuse(
        lacks_file(&routing.request_routing_policy, routing.request_routing_file.is_some()),
        "--request-routing-policy",
        custom,
        "name the file with --request-routing-file, or use LOAD, the default, RR or RAND",
    );
    refuse(
        lacks_file(expert_policy, routing.expert_routing_file.is_some()),
        "--expert-routing-policy",
        custom,
        "name the file with --expert-routing-file, or use BALANCED, the default, UNIFORM, RR or RAND",
    );
    let overruled = "a file of recorded routes is given too, and is followed instead";
    let has_another = |policy: &str, others: &[&str], has_file: bool| has_file && !others.contains(&policy);
    refuse(
        has_another(&routing.request_routing_policy, &["CUSTOM", "LOAD"], routing.request_routing_file.is_some()),
        "--request-routing-policy",
        overruled,
        "leave out either",
    );
    refuse(
        has_another(expert_policy, &["CUSTOM", ""], routing.expert_routing_file.is_some()),
        "--expert-routing-policy",
        overruled,
        "leave out either",
    );
    refuse(
        routing.enable_block_copy && routing.expert_routing_file.is_some(),
        "--enable-block-copy",
        "a file of recorded experts has a routing for each block",
        "leave out either",
    );
    let EngineArgs { engine, no_async_scheduling, ref polling, .. } = args.engine;
    let is_vllm = engine == EngineName::Vllm;
    let no_graphs = "only vLLM's engine core launches captured graphs";
    for (is_given, flag, message) in [
        (no_async_scheduling, "--no-async-scheduling", "only vLLM's engine core forms batches ahead"),
        (args.engine.preset.is_some(), "--preset", "only vLLM's engine core has a host that takes time"),
        (args.engine.cudagraph_capture_sizes.is_some(), "--cudagraph-capture-sizes", no_graphs),
        (args.engine.enforce_eager, "--enforce-eager", no_graphs),
        (args.engine.warm_up.is_some(), "--warm-up", "only vLLM's engine core warms up"),
        (!args.engine.without.is_empty(), "--without", "only what vLLM's engine core adds can be left out"),
    ] {
        refuse(is_given && !is_vllm, flag, message, "add --engine vllm");
    }
    let polls = "LLMServingSim's polling has no engine core of vLLM's";
    refuse(is_vllm && polling == "reference", "--engine vllm", polls, "leave out --polling reference");
    let ahead = "traces hold one step after the other, and this engine has the next one waiting already";
    refuse(is_vllm && args.output.chakra_dir.is_some(), "--chakra-dir", ahead, "use --engine reference");
    let ns3 = "servingsim times the network itself and has no ns-3 backend";
    refuse(args.engine.network_backend == "ns3", "--network-backend", ns3, "use `analytical`, the default");
    faults
}
